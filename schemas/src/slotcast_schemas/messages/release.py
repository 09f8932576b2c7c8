"""The release: one immutable version of a model. Signed by the model's release key.

It says *what*: the files, what they need to run, how the model is probed and put on trial.
To whom it goes and how it travels is the offer's business.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import (
    Count,
    FilePath,
    Finite,
    Format,
    ModelName,
    Ratio,
    Requires,
    Seconds,
    Sequence,
    Sha256,
    Share,
    ShortText,
    SizeBytes,
    UnixTime,
    Version,
    Word,
)
from slotcast_schemas.model_formats import COMPILED_FEATURE, FEATURE, ONNX
from slotcast_schemas.wire import Message

PROBE2: Final = "probe2"
"""Required where a probe must do what that of the first devices could not: make or read inputs of
rank 0, of types that numpy has not, sequences, optionals, maps, inputs of more than some MB, or
samples with other shapes from run to run; take outputs that are not as the file declares them, long
names, or many inputs and outputs."""

CHANGES: Final = ("mends_vulnerability", "mends_fault", "adds_function")
"""The words for what a release changes, as people are told; devices take others, too."""

ADVISORY_MAX_CHARS: Final = 2000
"""The most characters of an advisory: it comes with every notice."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a release. The image is the files laid end to end in this order.

    `role` says what the device does with it: `model` files are for the runtime, `samples` feed
    the probe, `data` (labels, tokenizer) is for the application.
    """

    path: FilePath
    size_bytes: SizeBytes
    sha256: Sha256
    role: Literal["model", "data", "samples"] = "data"


TensorName = Annotated[str, Meta(max_length=limits.TENSOR_NAME_MAX_CHARS)]
"""The name of an input or output, as the model has it."""


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input or output of the model: onnxruntime's name and type, and the shape.

    A dimension is a size, a name (free, but equal where the name is equal) or null (free).
    """

    name: TensorName
    dtype: Annotated[str, Meta(pattern=r"^[a-z0-9_(),]+\Z", max_length=128)]
    shape: Annotated[tuple[Count | ShortText | None, ...], Meta(max_length=limits.RANK_MAX)]


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What a device must have to run the model."""

    onnxruntime: Annotated[
        ShortText,
        Meta(description="PEP 440 specifier of the runtime's version; empty means any."),
    ] = ""
    opsets: Annotated[
        dict[ShortText, Count],
        Meta(
            max_length=16,
            description="Domain to opset version that the model imports; '' is the standard one.",
        ),
    ] = {}
    memory_bytes: Annotated[
        SizeBytes,
        Meta(description="Free memory needed to load it beside the old one; 0 if not known."),
    ] = 0
    format: Annotated[
        Word,
        Meta(
            description="What kind of file the model is: `onnx`, `litert`, or one that a command of"
            " the device's owner runs, such as `gguf`, `opaque` or `opaque_ncnn`."
        ),
    ] = ONNX
    compiled: Annotated[
        bool,
        Meta(
            description="The model is, or holds, what a runtime prepared or compiled for itself"
            " (`.ort`, `EPContext`): it is loaded although no check can look into it."
        ),
    ] = False


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How a device checks the model before the switch; absent limits are not checked.

    Ratios are against the active model, measured on the same device at the same time.
    """

    samples: Annotated[
        FilePath | None,
        Meta(
            description="Path of the release's file with golden samples (.npz: `input:NAME`,"
            " `output:NAME`, optionally `labels`); null for none.",
        ),
    ] = None
    rtol: Annotated[
        Ratio,
        Meta(description="Golden outputs: `|got - want| <= atol + rtol * |want|`, each element."),
    ] = 1e-3
    atol: Annotated[Ratio, Meta(description="The absolute part of the same.")] = 1e-4
    min_cosine: Annotated[
        Share | None,
        Meta(description="Of each golden output with the one that the device computes."),
    ] = None
    min_accuracy: Annotated[
        Share | None, Meta(description="Share of labelled samples that must be right.")
    ] = None
    label_output: Annotated[
        ShortText | None,
        Meta(description="The output whose largest element is compared with `labels`."),
    ] = None
    allow_nonfinite: Annotated[bool, Meta(description="Accept NaN and infinity in outputs.")] = (
        False
    )
    allow_constant: Annotated[
        bool, Meta(description="Accept outputs that are the same whatever goes in.")
    ] = False
    runs: Annotated[
        int,
        Meta(
            ge=1, le=10_000, description="Runs of each model that time is measured over, at least."
        ),
    ] = 20
    timeout_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="After this, waits for a processor left out, the probe has failed.",
        ),
    ] = 60.0
    max_load_s: Annotated[
        Seconds | None, Meta(description="Until the runtime has loaded the model.")
    ] = None
    max_latency_p95_s: Annotated[
        Seconds | None, Meta(description="Of 95 in 100 runs of the model.")
    ] = None
    max_latency_ratio: Annotated[
        Ratio | None, Meta(description="Time of a run, to the active model's.")
    ] = 2.0
    max_memory_bytes: Annotated[
        SizeBytes | None, Meta(description="Peak memory of loading and running the model.")
    ] = None
    max_memory_ratio: Annotated[
        Ratio | None, Meta(description="The same, to the active model's.")
    ] = None
    output_atol: Annotated[
        dict[TensorName, Ratio],
        Meta(
            max_length=limits.TENSORS_MAX,
            description="`atol` of outputs that have one of their own, by name: what is of small"
            " numbers beside others is held to its own scale.",
        ),
    ] = {}


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """How long, and under which limits, the new model serves before it is committed.

    The trial ends well when `duration_s` has passed and `min_requests` were answered; where no
    application reports, `min_requests` is met by repeated probes.
    """

    duration_s: Annotated[
        float, Meta(ge=0, le=30 * 86400, description="How long it serves before the commit.")
    ] = 0.0
    min_requests: Annotated[
        Count, Meta(description="Requests that it must have answered before the commit.")
    ] = 0
    deadline_s: Annotated[
        float,
        Meta(
            gt=0,
            le=90 * 86400,
            description="By when they must be answered, or it is rolled back; `duration_s` if that"
            " is longer.",
        ),
    ] = 86400.0
    max_error_share: Annotated[
        Share, Meta(description="Calls that raised, above the old release's share.")
    ] = 0.01
    max_nonfinite_share: Annotated[
        Share, Meta(description="Outputs with NaN or infinity, of those that were looked at.")
    ] = 0.0
    max_latency_ratio: Annotated[
        Ratio | None, Meta(description="Time of a request, to the old release's.")
    ] = 3.0
    max_memory_bytes: Annotated[
        SizeBytes | None, Meta(description="Memory of the application's process.")
    ] = None
    max_restarts: Annotated[
        int,
        Meta(ge=1, le=1000, description="So many restarts, of agent or application, roll it back."),
    ] = 3


class Rebased(msgspec.Struct, frozen=True, kw_only=True):
    """Says that the publisher rebuilt the model from old + quantised difference.

    `given_sha256` is the image that was handed to the publisher; `measure` and `distance` say
    how far the released one is from it (such as `mean_cosine`, 0.99999), `step` how coarse.
    """

    given_sha256: Sha256
    measure: ShortText
    distance: Finite
    step: Finite


class Encryption(msgspec.Struct, frozen=True, kw_only=True):
    """Says that the release's payloads are encrypted (docs/encryption.md).

    `key_commitment` is the digest by which a device knows the content key, whoever gave it.
    """

    key_commitment: Sha256


class Release(Message, frozen=True, kw_only=True, tag_field="kind", tag="release"):
    """One immutable version of a model: its files, what it needs, how it is put on trial.

    Attributes:
        version: PEP 440, for people.
        sequence: only grows; devices refuse one that is not above their floor.
        image_sha256: digest of the image (all files end to end).
        entry: path of the file that the runtime opens.
        advisory: for people: what those who run older releases should know.
        changes: for people: `mends_vulnerability`, `mends_fault`, `adds_function`; several may be.
        supported_until: for people: when its support ends; 0 where nothing is promised.
        encryption: for a release whose payloads are encrypted; null where they are not.
    """

    KIND = "release"
    MAX_BYTES = limits.TARGET_MAX_BYTES
    FEATURES = frozenset({"rebased", PROBE2, FEATURE, COMPILED_FEATURE})

    format: Format = 1
    requires: Requires = ()
    model: ModelName
    version: Version
    sequence: Sequence
    created: UnixTime
    files: Annotated[tuple[File, ...], Meta(min_length=1, max_length=limits.FILES_MAX)]
    image_size_bytes: SizeBytes
    image_sha256: Sha256
    entry: FilePath
    inputs: Annotated[tuple[Tensor, ...], Meta(max_length=limits.TENSORS_MAX)] = ()
    outputs: Annotated[tuple[Tensor, ...], Meta(max_length=limits.TENSORS_MAX)] = ()
    runtime: Runtime = Runtime()
    probe: Probe = Probe()
    trial: Trial = Trial()
    rebased: Rebased | None = None
    notes: Annotated[str, Meta(max_length=2000)] = ""
    advisory: Annotated[str, Meta(max_length=ADVISORY_MAX_CHARS)] = ""
    changes: Annotated[tuple[Word, ...], Meta(max_length=8)] = ()
    supported_until: UnixTime = 0
    encryption: Encryption | None = None

    def __post_init__(self) -> None:
        """Check what no single field can say.

        Raises:
            ValueError: which `wire.decode` turns into `MalformedMessage`.
        """
        paths = [file.path for file in self.files]
        if len(set(paths)) != len(paths):
            raise ValueError("two files have the same path")
        parents = {path[:i] for path in paths for i, char in enumerate(path) if char == "/"}
        if parents & set(paths):
            raise ValueError("a file's path is another file's folder")
        total = sum(file.size_bytes for file in self.files)
        if total != self.image_size_bytes:
            raise ValueError(
                f"expected image_size_bytes to be the files' {total}, got {self.image_size_bytes}"
            )
        if self.entry not in paths:
            raise ValueError(f"entry {self.entry!r} is not among the files")
        if self.probe.samples is not None and self.probe.samples not in paths:
            raise ValueError(f"probe.samples {self.probe.samples!r} is not among the files")
