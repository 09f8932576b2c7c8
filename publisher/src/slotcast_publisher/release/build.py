"""Builds a release: takes the files in, checks the model, writes down what devices must know.

A release is immutable: its folder appears whole under its final name, and from there on nothing
in it changes but its list of payloads. Signing and payloads are left to others.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from slotcast_publisher.durable import copy_file, link_tree, storage_errors, write_atomic
from slotcast_publisher.errors import Conflict
from slotcast_publisher.image_files import image_sha256
from slotcast_publisher.release.chosen_limits import ChosenLimits
from slotcast_publisher.release.command_samples import take_samples
from slotcast_publisher.release.device_features import features_needed, in_words
from slotcast_publisher.release.device_probe import probe_as_devices_do
from slotcast_publisher.release.given_files import Given, collect, name_changes
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model
from slotcast_publisher.release.model_format import (
    check_options,
    choose_entry,
    command_notes,
    features_of,
)
from slotcast_publisher.release.rebase.release_step import RebaseWanted, Rebasing, rebase_files
from slotcast_publisher.release.statement import Statement, check_support
from slotcast_publisher.store import ReleaseFolder, Store, check_model_name
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File, Probe, Runtime, Trial
from slotcast_schemas.model_formats import is_run_by_command
from slotcast_schemas.probe import SlotModel
from slotcast_schemas.samples import read_samples
from slotcast_schemas.value_types import Rows

SAMPLES_PATH: Final = "samples.npz"
"""The path in a release of the samples that devices must reproduce."""

Role = Literal["model", "data", "samples"]
"""What a file of a release is for."""


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


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is on disk, and whether it was made just now."""

    folder: ReleaseFolder
    is_new: bool
    warnings: tuple[str, ...] = ()
    rebasing: Rebasing | None = None


def build_release(store: Store, request: ReleaseRequest, now_s: float, *, above: int = 0) -> Built:
    """Build a release, or find that the very same was built before.

    Args:
        store: where.
        request: what to release.
        now_s: seconds since 1970.
        above: the highest sequence that is signed already.

    Raises:
        UsageError: a version, a file or an option that cannot be used.
        Conflict: the version exists with other content, or means the same as another.
        ModelFailed: onnx or onnxruntime refuses the model, or devices would.
        ProbeNotHeld: devices' probe could not be asked.
        StorageFailed: no room, or a failing disk.
    """
    check_model_name(request.model)
    _check_specifier(_choose_runtime(request).onnxruntime)
    given = _describe_request(request)
    existing = _find_existing(store, request)
    store.drop_staging(request.model)
    if existing is not None:
        _check_same(existing, given, request)
        return Built(folder=existing, is_new=False)
    check_support(request.statement, now_s)
    staged = store.staging(request.model)
    warnings: tuple[str, ...] = ()
    rebasing: Rebasing | None = None
    try:
        if request.same_as is not None:
            release = _take_over(store, request, staged, now_s, above)
        else:
            release, warnings, rebasing = _take_in(store, request, staged, now_s, above)
        warnings = (*warnings, *_name_changes(store, release))
        if request.is_probed and not is_run_by_command(release.runtime.format):
            before = _active(store, request.model)
            warnings = (*warnings, *probe_as_devices_do(release, staged / "files", before))
        write_atomic(staged / "release.msgpack", _encode(release))
        write_atomic(staged / "given.json", msgspec.json.format(msgspec.json.encode(given)))
        folder = store.commit_release(request.model, request.version, staged)
    finally:
        store.drop_staging(request.model)
    return Built(folder=folder, is_new=True, warnings=warnings, rebasing=rebasing)


# --- what is asked for ------------------------------------------------------------------------


def _describe_request(request: ReleaseRequest) -> dict[str, Any]:
    """Write down all that decides a release's content, to know the same request again."""
    _, trial, runtime = _apply_limits(request, Probe())
    options: list[Any] = (
        [request.entry, request.seed, trial, runtime.onnxruntime, runtime.memory_bytes]
        + ([] if request.rebase is None else [request.rebase])
        + ([{"probe": request.limits.probe}] if request.limits.probe else [])
        + ([{"shapes": request.shapes}] if request.shapes else [])
        + ([{"ranges": request.ranges}] if request.ranges else [])
        + ([{"format": request.format}] if request.format else [])
        + ([{"compiled": True}] if runtime.compiled else [])
        + ([{"statement": said}] if (said := request.statement.fields()) else [])
    )
    return {
        "files": {path: _sha256(file).hex() for path, file in collect(request.files).items()},
        "samples": _sha256(request.samples).hex() if request.samples else None,
        "same_as": request.same_as,
        "sequence": request.sequence,
        "notes": request.notes,
        # As it is read again: JSON has no tuples.
        "options": msgspec.json.decode(msgspec.json.encode(options)),
    }


def _sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as exc:
        raise UsageError(f"could not read {path}: {exc.strerror}") from exc


def _apply_limits(request: ReleaseRequest, probe: Probe) -> tuple[Probe, Trial, Runtime]:
    """Give what a release asks of a device: what was found or is usual, under what was chosen."""
    usual = Runtime(onnxruntime=request.runtime, memory_bytes=request.memory_bytes)
    return request.limits.apply_to(probe, request.trial, usual)


def _choose_runtime(request: ReleaseRequest) -> Runtime:
    """Give what a release asks of the runtime, which nothing found in the model changes."""
    return _apply_limits(request, Probe())[2]


def _check_labels(request: ReleaseRequest, facts: ModelFacts) -> None:
    """An accuracy can be asked for where there are labels, and of an output that there is."""
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


def _check_specifier(text: str) -> None:
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


# --- what is there ----------------------------------------------------------------------------


def _find_existing(store: Store, request: ReleaseRequest) -> ReleaseFolder | None:
    """Give the release if it exists; no other may mean the same version."""
    wanted = parse_version(request.version)
    for version in store.versions(request.model):
        if version == request.version:
            return store.folder(request.model, version)
        if parse_version(version) == wanted:
            raise Conflict(
                f"{request.model} {request.version}: to people this is {version}, which exists"
            )
    return None


def _check_same(existing: ReleaseFolder, given: dict[str, Any], request: ReleaseRequest) -> None:
    """A second release of a version must ask for the very same."""
    before = existing.given()
    different = [key for key in given if given[key] != before.get(key)]
    if different:
        raise Conflict(
            f"{request.model} {request.version} exists and is immutable; this request differs in"
            f" {', '.join(different)}: give it a new version"
        )


def _name_changes(store: Store, release: Release) -> list[str]:
    """Compare with the release before: applications may open its files by name."""
    before = store.releases(release.model)
    return name_changes(before[-1].load(), release) if before else []


def _active(store: Store, model: str) -> SlotModel | None:
    """Give the release before, which devices compare a new one with."""
    before = store.releases(model)
    if not before:
        return None
    release = before[-1].load()
    runtime = release.runtime
    if is_run_by_command(runtime.format):
        return None
    return SlotModel(
        str(before[-1].files_dir.absolute()),
        release.entry,
        runtime.format,
        is_compiled=runtime.compiled,
    )


def _next_sequence(store: Store, request: ReleaseRequest, above: int) -> int:
    last = max((r.load().sequence for r in store.releases(request.model)), default=above)
    last = max(last, above)
    if request.sequence is None:
        return last + 1
    most = min(last + limits.SEQUENCE_JUMP_MAX, limits.SAFE_INTEGER_MAX)
    if not last < request.sequence <= most:
        raise UsageError(
            f"--sequence: expected more than {last} and at most {most}, got {request.sequence}"
        )
    return request.sequence


# --- taking in --------------------------------------------------------------------------------


def _take_over(
    store: Store, request: ReleaseRequest, staged: Path, now_s: float, above: int
) -> Release:
    """Release the files of an earlier version again: a deliberate downgrade costs no download."""
    if request.files or request.samples or request.rebase:
        raise UsageError("--same-as takes the files of that release as they are; give none")
    folder = store.folder(request.model, str(request.same_as))
    link_tree(folder.files_dir, staged / "files")
    old = folder.load()
    probe, trial, runtime = request.limits.apply_to(old.probe, old.trial, old.runtime)
    known = features_of(old.runtime)
    return msgspec.structs.replace(
        old,
        requires=(*(name for name in old.requires if name not in known), *features_of(runtime)),
        probe=probe,
        trial=trial,
        runtime=runtime,
        version=request.version,
        sequence=_next_sequence(store, request, above),
        created=int(now_s),
        notes=request.notes,
        **msgspec.structs.asdict(request.statement),
    )


def _take_in(
    store: Store, request: ReleaseRequest, staged: Path, now_s: float, above: int
) -> tuple[Release, tuple[str, ...], Rebasing | None]:
    """Copy the files, check the model among them, and describe both."""
    collected = collect(request.files)
    if not collected:
        raise UsageError("expected at least one file")
    model_format, entry = choose_entry(request.format, request.entry, collected)
    runtime = _choose_runtime(request)
    check_options(
        model_format, has_rebase=request.rebase is not None, onnxruntime=runtime.onnxruntime
    )
    files_dir = staged / "files"
    for path, source in collected.items():
        copy_file(source, files_dir / path)
    rebasing = _rebase_files(store, request, staged, entry)
    facts = _check_files(
        request, files_dir, entry, model_format=model_format, is_compiled=runtime.compiled
    )
    probe, trial, _ = _apply_limits(request, facts.probe)
    runtime = msgspec.structs.replace(runtime, opsets=facts.opsets, format=model_format)
    _check_labels(request, facts)
    roles = _assign_roles(files_dir, entry, facts, has_samples=facts.probe.samples is not None)
    files = [_describe_file(files_dir, path, role) for path, role in roles.items()]
    _make_read_only(files_dir)
    values = features_needed(
        facts.inputs, facts.outputs, _samples_in(files_dir, probe), is_corrected=facts.is_corrected
    )
    requires = (*values, *features_of(runtime))
    release = Release(
        requires=requires,
        model=request.model,
        version=request.version,
        sequence=_next_sequence(store, request, above),
        created=int(now_s),
        files=tuple(files),
        image_size_bytes=sum(file.size_bytes for file in files),
        image_sha256=image_sha256(files_dir / file.path for file in files),
        entry=entry,
        inputs=facts.inputs,
        outputs=facts.outputs,
        runtime=runtime,
        probe=probe,
        trial=trial,
        notes=request.notes,
        rebased=None if rebasing is None else rebasing.says,
        **msgspec.structs.asdict(request.statement),
    )
    notes = (*in_words(requires), *command_notes(model_format))
    return release, (*facts.warnings, *notes), rebasing


def _samples_in(files_dir: Path, probe: Probe) -> dict[str, Rows] | None:
    if probe.samples is None:
        return None
    samples = read_samples(files_dir / probe.samples)
    return {**samples.inputs, **samples.outputs}


def _rebase_files(
    store: Store, request: ReleaseRequest, staged: Path, entry: str
) -> Rebasing | None:
    """Rebase the model's files where asked; what devices probe with is made of the result."""
    if request.rebase is None:
        return None
    files_dir = staged / "files"
    given = check_model(files_dir, entry)
    model_files = [
        path
        for path, role in _assign_roles(files_dir, entry, given, has_samples=False).items()
        if role == "model"
    ]
    return rebase_files(
        files_dir,
        model_files,
        store.releases(request.model),
        request.rebase,
        request.samples,
        staged / "rebasing",
    )


def _check_files(
    request: ReleaseRequest, files_dir: Path, entry: str, *, model_format: str, is_compiled: bool
) -> ModelFacts:
    if is_run_by_command(model_format):
        return _take_as_it_is(request, files_dir)
    return check_model(
        files_dir,
        entry,
        samples=_samples_wanted(request, files_dir),
        model_format=model_format,
        is_compiled=is_compiled,
    )


def _samples_wanted(request: ReleaseRequest, files_dir: Path) -> SamplesWanted | None:
    is_asked = bool(request.samples or request.shapes or request.ranges) or request.seed is not None
    if not is_asked and (not request.is_probed or (files_dir / SAMPLES_PATH).exists()):
        return None
    _keep_name_of_samples(files_dir)
    return SamplesWanted(
        out=SAMPLES_PATH,
        user=None if request.samples is None else str(request.samples.absolute()),
        seed=request.seed or 0,
        only_if_needed=not is_asked,
        shapes=request.shapes,
        ranges=request.ranges,
    )


def _keep_name_of_samples(files_dir: Path) -> None:
    if (files_dir / SAMPLES_PATH).exists():
        raise UsageError(f"{SAMPLES_PATH!r} is the name of the file that --samples makes")


def _take_as_it_is(request: ReleaseRequest, files_dir: Path) -> ModelFacts:
    """Say what is known of a model that nothing here runs: its samples, where they are given."""
    if request.seed is not None or request.shapes or request.ranges:
        raise UsageError(
            "--seed, --shape and --range make inputs for a runtime here, and none runs this format"
        )
    probe = Probe()
    if request.samples is not None:
        _keep_name_of_samples(files_dir)
        probe = take_samples(request.samples, files_dir / SAMPLES_PATH)
    return ModelFacts(opsets={}, external=(), inputs=(), outputs=(), load_s=0.0, probe=probe)


def _assign_roles(
    files_dir: Path, entry: str, facts: ModelFacts, *, has_samples: bool
) -> dict[str, Role]:
    """Give each file's role, in the order of the image: what the runtime opens comes first.

    Raises:
        UsageError: external data is missing.
    """
    folder = Path(entry).parent
    external = [str(folder / name) for name in facts.external]
    present = sorted(str(p.relative_to(files_dir)) for p in files_dir.rglob("*") if p.is_file())
    missing = sorted(set(external) - set(present))
    if missing:
        raise UsageError(f"{entry} keeps tensors in {missing}, which was not given")
    models = [entry, *(path for path in external if path != entry)]
    roles: dict[str, Role] = dict.fromkeys(models, "model")
    for path in present:
        if path not in roles:
            roles[path] = "samples" if has_samples and path == SAMPLES_PATH else "data"
    return roles


def _describe_file(files_dir: Path, path: str, role: Role) -> File:
    file = files_dir / path
    return File(path=path, size_bytes=file.stat().st_size, sha256=_sha256(file), role=role)


def _make_read_only(files_dir: Path) -> None:
    with storage_errors(files_dir):
        for path in files_dir.rglob("*"):
            if path.is_file():
                path.chmod(0o444)


def _encode(release: Release) -> bytes:
    try:
        return wire.encode(release)
    except MalformedMessage as exc:
        raise UsageError(f"this cannot be released: {exc}") from exc
