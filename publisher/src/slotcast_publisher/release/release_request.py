"""What somebody wants released: read, checked by itself, and written down to be known again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from slotcast_publisher.release.chosen_limits import ChosenLimits
from slotcast_publisher.release.given_files import Given, GivenFile, collect
from slotcast_publisher.release.model_check import ModelFacts
from slotcast_publisher.release.rebase.wanted import RebaseWanted
from slotcast_publisher.release.statement import Statement
from slotcast_publisher.supply.check import BUNDLE_PATH
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe, Runtime, Trial


class SignatureWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Who must have signed the model.

    Attributes:
        bundle: the file of the bundle.
        policy: the file that says who may sign it.
    """

    bundle: Path
    policy: Path


class ReleaseRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants released.

    Attributes:
        files: files or folders, each under its own name or one that is given (`given_files`); a
            folder's files keep their paths below it.
        entry: the file that the runtime opens; may be left out where there is only one.
        format: what kind of model it is (`model_formats`); by the files' names unless given.
        samples: inputs (.npz) whose outputs devices must reproduce.
        seed: without samples of one's own: make inputs from this seed.
        shapes, ranges: what made inputs shall be like, by their names.
        sequence: at least this; the next free one unless given.
        same_as: an earlier version whose files are released again under this one.
        trial, runtime, memory_bytes: what counts where `limits` says nothing.
        limits: what was chosen for probe, trial and runtime.
        rebase: release a model moved onto what devices hold, as near to the given one as asked.
        is_probed: whether devices' probe is asked what it will say; what it refuses is not built.
        statement: what the release says to people of what it changes and of its support.
        encrypt: whether its payloads are encrypted; None as the model's recipients say.
        signature: the model-signing bundle that is checked and becomes a file of the release.
    """

    model: str
    version: str
    files: tuple[Given, ...] = ()
    entry: str | None = None
    format: str | None = None
    samples: Path | None = None
    seed: int | None = None
    same_as: str | None = None
    sequence: int | None = None
    trial: Trial = Trial()
    runtime: str = ""
    memory_bytes: int = 0
    limits: ChosenLimits = ChosenLimits()
    notes: str = ""
    rebase: RebaseWanted | None = None
    is_probed: bool = True
    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, tuple[float, float]] = {}
    statement: Statement = Statement()
    encrypt: bool | None = None
    signature: SignatureWanted | None = None


def collect_model(request: ReleaseRequest) -> tuple[dict[str, Path], dict[str, Path]]:
    """Give the model's files by their names in the release, and all that go into it.

    The bundle of a signature is no file of the model, also where it lies among them.

    Raises:
        UsageError: a file cannot be used, or another one has the bundle's name.
    """
    given = collect(request.files)
    if request.signature is None:
        return given, given
    signature = collect([GivenFile(name=BUNDLE_PATH, path=request.signature.bundle)])
    beside = given.pop(BUNDLE_PATH, None)
    if beside is not None and not beside.samefile(request.signature.bundle):
        raise UsageError(
            f"{beside}: {BUNDLE_PATH} is the name of the bundle that --oms names; give the file"
            " another one (NAME=FILE)"
        )
    return given, given | signature


def describe_request(request: ReleaseRequest) -> dict[str, Any]:
    """Write down all that decides a release's content, to know the same request again.

    Raises:
        UsageError: a file cannot be read, or an option cannot be used.
    """
    _, trial, runtime = apply_limits(request, Probe())
    options: list[Any] = (
        [request.entry, request.seed, trial, runtime.onnxruntime, runtime.memory_bytes]
        + ([] if request.rebase is None else [request.rebase])
        + ([{"probe": request.limits.probe}] if request.limits.probe else [])
        + ([{"shapes": request.shapes}] if request.shapes else [])
        + ([{"ranges": request.ranges}] if request.ranges else [])
        + ([{"format": request.format}] if request.format else [])
        + ([{"compiled": True}] if runtime.compiled else [])
        + ([{"statement": said}] if (said := request.statement.fields()) else [])
        + ([{"encrypt": True}] if request.encrypt else [])
    )
    return {
        "files": {path: sha256_of(file).hex() for path, file in collect_model(request)[1].items()},
        "samples": sha256_of(request.samples).hex() if request.samples else None,
        "same_as": request.same_as,
        "sequence": request.sequence,
        "notes": request.notes,
        # As it is read again: JSON has no tuples.
        "options": msgspec.json.decode(msgspec.json.encode(options)),
    }


def sha256_of(path: Path) -> bytes:
    """Give the digest of a file's content.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as exc:
        raise UsageError(f"could not read {path}: {exc.strerror}") from exc


def apply_limits(request: ReleaseRequest, probe: Probe) -> tuple[Probe, Trial, Runtime]:
    """Give what a release asks of a device: what was found or is usual, under what was chosen."""
    usual = Runtime(onnxruntime=request.runtime, memory_bytes=request.memory_bytes)
    return request.limits.apply_to(probe, request.trial, usual)


def choose_runtime(request: ReleaseRequest) -> Runtime:
    """Give what a release asks of the runtime, which nothing found in the model changes."""
    return apply_limits(request, Probe())[2]


def check_labels(request: ReleaseRequest, facts: ModelFacts) -> None:
    """Check that an accuracy is asked for where there are labels, and of an output that there is.

    Raises:
        UsageError: there are no labels, or no such output.
    """
    chosen = request.limits.probe
    if {"min_accuracy", "label_output"} & set(chosen) and facts.probe.label_output is None:
        raise UsageError(
            "probe.min_accuracy and probe.label_output need --samples with `labels` among them"
        )
    names = [output.name for output in facts.outputs]
    if names and chosen.get("label_output") not in {None, *names}:
        raise UsageError(
            f"probe.label_output: expected one of {', '.join(names)},"
            f" got {chosen['label_output']!r:.80}"
        )


def check_specifier(text: str) -> None:
    """Check which versions of onnxruntime a release asks for.

    Raises:
        UsageError: it is no PEP 440 specifier.
    """
    try:
        SpecifierSet(text)
    except InvalidSpecifier as exc:
        raise UsageError(
            f"--runtime: expected a PEP 440 specifier such as '>=1.17': {exc}"
        ) from exc


def parse_version(text: str) -> Version:
    """Read a PEP 440 version.

    Raises:
        UsageError: it is none.
    """
    try:
        return Version(text)
    except InvalidVersion as exc:
        raise UsageError(
            f"version: expected PEP 440, such as 1.4.0 or 2.0rc1, got {text!r}"
        ) from exc
