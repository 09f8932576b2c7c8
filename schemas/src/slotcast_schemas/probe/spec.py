"""What the probe's two processes say to each other.

The parent writes one `ProbeRequest` as JSON to the child's standard input. The child writes lines
of JSON: each a `Note` that says where it is and adds to what it has found, so that after a crash
the parent knows everything up to that moment.
The child runs a model that nobody here has run before; what it says is validated and bounded.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Annotated, BinaryIO, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import Count, Detail, FilePath, Seconds, Share, ShortText, Word
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe.speed import ROUNDS_MAX
from slotcast_schemas.probe.waits import CLEAN_SHARE

NOTES_MAX_BYTES: Final = 256 * 1024
"""All that a child may say; a usual one says about 8 KB."""

TIMES_MAX: Final = 1024
"""Runs of which a child says the time."""

_CORES_MAX: Final = 1 << 16
"""More processors than a device has."""

DEVICE_SEED: Final = 1
"""From which seed a device makes inputs for a model whose release has no samples."""


CPU_PROVIDER: Final = "CPUExecutionProvider"
"""onnxruntime's execution provider that needs no device."""


class SlotModel(msgspec.Struct, frozen=True):
    """A model in a slot: the slot's folder, and the path in it that the runtime opens.

    Attributes:
        format: which runtime that is (`model_formats`).
        command: the device's owner's, which runs it instead; none where a runtime here does.
        is_compiled: a runtime prepared or compiled it for itself, and it may be loaded unseen.
        memory: numbers of open files in memory that hold the slot's files, by their paths in it,
            where the slot is encrypted and this process has no key; else the slot itself is read.
    """

    slot: str
    entry: FilePath
    format: Word = ONNX
    command: Annotated[tuple[Annotated[str, Meta(max_length=4096)], ...], Meta(max_length=64)] = ()
    is_compiled: bool = False
    memory: Annotated[
        dict[FilePath, Annotated[int, Meta(ge=0)]], Meta(max_length=limits.FILES_MAX)
    ] = {}

    @property
    def path(self) -> Path:
        """The file that the runtime opens."""
        if self.memory:
            return path_of_open_file(self.memory[self.entry])
        return Path(self.slot) / self.entry

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that whoever loads the model must read: none for one in memory."""
        return () if self.memory else (Path(self.slot),)

    def open_file(self, name: str) -> BinaryIO:
        """Open one of the slot's files, from its beginning.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        if not self.memory:
            return (Path(self.slot) / name).open("rb")
        if name not in self.memory:
            raise FileNotFoundError(errno.ENOENT, "not a file of the release", name)
        return path_of_open_file(self.memory[name]).open("rb")

    def read_file(self, name: str) -> bytes:
        """Read one of the slot's files.

        Raises:
            OSError: there is none, or it cannot be read.
        """
        with self.open_file(name) as file:
            return file.read()


def path_of_open_file(number: int) -> Path:
    """Give a path by which this process opens a file anew that it has open (Linux).

    Args:
        number: of the open file.
    """
    return Path(f"/proc/self/fd/{number}")


class ProbeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to probe, and within which limits.

    Attributes:
        candidate: the model that is to become active.
        active: the model that serves now, measured by the same child for comparison; or null.
        inputs, outputs: the signature that the release declares; empty means not declared.
        memory_limit_bytes: what both models together may take in the child; 0 means four fifths
            of what the device has free, so that an allocation without end ends in the child.
        providers: onnxruntime's execution providers; none means the CPU.
        threads: of each session; 0 is as many as the runtime takes, which is one for each core.
        seed: of the inputs that are made when the release has no samples.
        closed: paths that the child must not read even where it may read all else, as for the
            owner's command: the agent's state, and files with secrets. The models' slots are read.
    """

    candidate: SlotModel
    active: SlotModel | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    probe: Probe = Probe()
    memory_limit_bytes: Count = 0
    providers: tuple[ShortText, ...] = ()
    threads: Annotated[int, Meta(ge=0, le=1024)] = 0
    seed: Count = DEVICE_SEED
    closed: Annotated[tuple[str, ...], Meta(max_length=256)] = ()

    def __post_init__(self) -> None:
        """Check what the type cannot say.

        Raises:
            UsageError: a slot that is not an absolute path; the child works elsewhere.
        """
        for model in (self.candidate, self.active):
            if model is not None and not Path(model.slot).is_absolute():
                raise UsageError(f"probe: expected an absolute slot folder, got {model.slot!r}")


class ProbeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one model cost in the child; None where it was not measured.

    Attributes:
        load_s: time to load it, without waits for a processor.
        peak_memory_bytes: most memory that loading and running took.
    """

    load_s: Seconds | None = None
    peak_memory_bytes: Count | None = None


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate's outputs beside the expected ones.

    Attributes:
        runs: samples compared.
        worst: largest `|got - want| / (atol + rtol * |want|)`; within tolerance up to 1.
        cosine: smallest cosine of an output with the expected one.
        detail: where the worst is, and which outputs the release leaves out.
        spread: root mean square of what `worst` is the largest of, in the output where it is most.
    """

    runs: Count
    worst: float
    cosine: float | None = None
    detail: Detail = ""
    spread: float | None = None


class ProbeTiming(msgspec.Struct, frozen=True, kw_only=True):
    """What runs of the candidate took, beside those of the active model.

    Attributes:
        by: `clock`, or `processor` where the device was short of it.
        threads: of the sessions that were timed; 0 is as many as the runtime took.
        cores: how many of them a run in service may keep busy at once.
        rounds: the best run of each model, candidate first; empty where there is no active one.
        times_s: the candidate's runs.
        active_p95_s: of the active model's.
        waited_share: of the time of these runs, what was spent waiting for a processor.
    """

    by: Literal["clock", "processor"]
    threads: Count
    cores: Annotated[int, Meta(ge=1, le=_CORES_MAX)] = 1
    rounds: Annotated[tuple[tuple[Seconds, Seconds], ...], Meta(max_length=ROUNDS_MAX)] = ()
    times_s: Annotated[tuple[Seconds, ...], Meta(max_length=TIMES_MAX)] = ()
    active_p95_s: Seconds | None = None
    waited_share: Share = 0.0

    @property
    def is_device_busy(self) -> bool:
        """Whether the device was short of processor.

        Waking the threads of a small model many times is a wait too, so that runs of several
        threads may not count by the clock on a device that has nothing else to do.
        """
        return self.by == "processor" and self.waited_share > CLEAN_SHARE


class ProbeFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why the child stopped, in its own words."""

    reason: Word
    detail: Detail = ""


Name = ShortText


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One line from the child: fields that are null say nothing new."""

    at: Word
    failure: ProbeFailure | None = None
    contract: Annotated[tuple[Detail, ...], Meta(max_length=16)] | None = None
    made_inputs: bool | None = None
    not_run: Detail | None = None
    nonfinite: Detail | None = None
    constant: Detail | None = None
    golden: Golden | None = None
    accuracy: float | None = None
    candidate: ProbeFigures | None = None
    active: ProbeFigures | None = None
    timing: ProbeTiming | None = None


class ProbeFindings(msgspec.Struct, kw_only=True):
    """All notes of one child, put together. `at` is where it was when it last spoke.

    `contract` lists what differs from the release; `not_run` says why no sample can feed the model,
    which is then judged by the rest; `nonfinite` and `constant` describe the first
    case, and are empty where there is none; None everywhere means "not reached".
    """

    at: str = "start"
    failure: ProbeFailure | None = None
    contract: tuple[str, ...] | None = None
    made_inputs: bool | None = None
    not_run: str | None = None
    nonfinite: str | None = None
    constant: str | None = None
    golden: Golden | None = None
    accuracy: float | None = None
    candidate: ProbeFigures = ProbeFigures()
    active: ProbeFigures | None = None
    timing: ProbeTiming | None = None

    def add(self, note: Note) -> None:
        """Take over what a note says."""
        for name in note.__struct_fields__:
            value = getattr(note, name)
            if value is not None:
                setattr(self, name, value)


make_decoders(ProbeRequest, Note)
