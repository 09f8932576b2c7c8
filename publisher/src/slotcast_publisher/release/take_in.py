"""Takes the files of a new release in: copies them, checks the model among them, describes both."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from slotcast_publisher.durable import copy_file, storage_errors
from slotcast_publisher.image_files import image_sha256
from slotcast_publisher.release.command_samples import take_samples
from slotcast_publisher.release.device_features import features_needed, in_words
from slotcast_publisher.release.given_files import SAMPLES_PATH
from slotcast_publisher.release.given_signature import check_given_signature, notes_of_signature
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model
from slotcast_publisher.release.model_format import (
    check_magic,
    check_options,
    check_prepared_name,
    choose_entry,
    command_notes,
    features_of,
)
from slotcast_publisher.release.rebase.release_step import rebase_files
from slotcast_publisher.release.rebase.wanted import Rebasing
from slotcast_publisher.release.release_request import (
    ReleaseRequest,
    apply_limits,
    check_labels,
    choose_runtime,
    collect_model,
    sha256_of,
)
from slotcast_publisher.store import Store
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import File, Probe
from slotcast_schemas.model_formats import is_run_by_command
from slotcast_schemas.samples import read_samples
from slotcast_schemas.value_types import Rows

Role = Literal["model", "data", "samples"]
"""What a file of a release is for."""


def take_in(
    store: Store, request: ReleaseRequest, staged: Path, now_s: float, sequence: int
) -> tuple[Release, tuple[str, ...], Rebasing | None]:
    """Copy the files, check the model among them, and describe both.

    Args:
        store: where the releases before it are.
        request: what to release.
        staged: the folder in which the release is put together.
        now_s: seconds since 1970.
        sequence: its place in the order of the model's releases.

    Returns:
        The release, what its publisher should know, and how it was rebased, if it was.

    Raises:
        UsageError: a file or an option that cannot be used.
        ModelFailed: onnx or onnxruntime refuses the model.
        StorageFailed: no room, or a failing disk.
    """
    given, collected = collect_model(request)
    if not given:
        raise UsageError("expected at least one file")
    model_format, entry = choose_entry(request.format, request.entry, given)
    runtime = choose_runtime(request)
    check_options(
        model_format, has_rebase=request.rebase is not None, onnxruntime=runtime.onnxruntime
    )
    files_dir = staged / "files"
    for path, source in collected.items():
        copy_file(source, files_dir / path)
    signed = check_given_signature(request, files_dir, now_s)
    rebasing = _rebase_files(store, request, staged, entry)
    facts = _check_files(
        request, files_dir, entry, model_format=model_format, is_compiled=runtime.compiled
    )
    probe, trial, _ = apply_limits(request, facts.probe)
    runtime = msgspec.structs.replace(runtime, opsets=facts.opsets, format=model_format)
    check_labels(request, facts)
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
        sequence=sequence,
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
    added = probe.samples is not None and probe.samples not in given
    notes = (
        *in_words(requires),
        *command_notes(model_format),
        *notes_of_signature(signed, has_added_samples=added),
    )
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
    given = check_model(files_dir, entry, chosen_timeout_s=request.limits.probe.get("timeout_s"))
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
        check_magic(model_format, files_dir / entry)
        return _take_as_it_is(request, files_dir)
    check_prepared_name(model_format, files_dir / entry)
    return check_model(
        files_dir,
        entry,
        samples=_samples_wanted(request, files_dir),
        model_format=model_format,
        is_compiled=is_compiled,
        chosen_timeout_s=request.limits.probe.get("timeout_s"),
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
        label_output=request.limits.probe.get("label_output"),
        allow_nonfinite=request.limits.probe.get("allow_nonfinite", False),
        allow_constant=request.limits.probe.get("allow_constant", False),
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
        label_output = request.limits.probe.get("label_output")
        probe = take_samples(request.samples, files_dir / SAMPLES_PATH, label_output)
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
    return File(path=path, size_bytes=file.stat().st_size, sha256=sha256_of(file), role=role)


def _make_read_only(files_dir: Path) -> None:
    with storage_errors(files_dir):
        for path in files_dir.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
