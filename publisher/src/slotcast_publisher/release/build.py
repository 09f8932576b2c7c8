"""Builds a release: takes the files in, checks the model, writes down what devices must know.

A release is immutable: its folder appears whole under its final name, and from there on nothing
in it changes but its list of payloads. Signing and payloads are left to others.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from slotcast_publisher.durable import link_tree, write_atomic
from slotcast_publisher.release.device_probe import probe_as_devices_do
from slotcast_publisher.release.encryption import make_content_key
from slotcast_publisher.release.given_signature import check_given_signature
from slotcast_publisher.release.model_format import features_of
from slotcast_publisher.release.rebase.wanted import Rebasing
from slotcast_publisher.release.release_request import (
    ReleaseRequest,
    check_specifier,
    choose_runtime,
    describe_request,
)
from slotcast_publisher.release.releases_before import (
    changes_of_names,
    check_same,
    find_existing,
    model_before,
    next_sequence,
)
from slotcast_publisher.release.statement import check_support
from slotcast_publisher.release.take_in import take_in
from slotcast_publisher.store import PayloadRecord, ReleaseFolder, Store, check_model_name
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.model_formats import is_run_by_command


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A release that is on disk, and whether it was made just now."""

    folder: ReleaseFolder
    is_new: bool
    warnings: tuple[str, ...] = ()
    rebasing: Rebasing | None = None


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """What `Repository.build_release` did."""

    release: Release
    payloads: tuple[PayloadRecord, ...]
    is_new: bool
    warnings: tuple[str, ...] = ()
    rebasing: Rebasing | None = None


def build_release(
    store: Store,
    request: ReleaseRequest,
    now_s: float,
    *,
    above: int = 0,
    most: int = limits.SAFE_INTEGER_MAX,
) -> Built:
    """Build a release, or find that the very same was built before.

    Args:
        store: where.
        request: what to release.
        now_s: seconds since 1970.
        above: the highest sequence that is signed already.
        most: the highest sequence that counts.

    Raises:
        UsageError: a version, a file or an option that cannot be used.
        Conflict: the version exists with other content, or means the same as another.
        ModelFailed: onnx or onnxruntime refuses the model, or devices would.
        ProbeNotHeld: devices' probe could not be asked.
        StorageFailed: no room, or a failing disk.
    """
    check_model_name(request.model)
    check_specifier(choose_runtime(request).onnxruntime)
    given = describe_request(request)
    existing = find_existing(store, request)
    store.drop_staging(request.model)
    if existing is not None:
        check_same(existing, given, request)
        check_given_signature(request, existing.files_dir, now_s)
        return Built(folder=existing, is_new=False)
    check_support(request.statement, now_s)
    sequence = next_sequence(store, request, above, most)
    staged = store.staging(request.model)
    warnings: tuple[str, ...] = ()
    rebasing: Rebasing | None = None
    try:
        if request.same_as is not None:
            release = _take_over(store, request, staged, now_s, sequence)
        else:
            release, warnings, rebasing = take_in(store, request, staged, now_s, sequence)
        if request.encrypt:
            release = make_content_key(staged, release)
        warnings = (*warnings, *changes_of_names(store, release))
        if request.is_probed and not is_run_by_command(release.runtime.format):
            before = model_before(store, request.model)
            warnings = (*warnings, *probe_as_devices_do(release, staged / "files", before))
        write_atomic(staged / "release.msgpack", _encode(release))
        write_atomic(staged / "given.json", msgspec.json.format(msgspec.json.encode(given)))
        folder = store.commit_release(request.model, request.version, staged)
    finally:
        store.drop_staging(request.model)
    return Built(folder=folder, is_new=True, warnings=warnings, rebasing=rebasing)


def _take_over(
    store: Store, request: ReleaseRequest, staged: Path, now_s: float, sequence: int
) -> Release:
    """Release the files of an earlier version again: a deliberate downgrade costs no download."""
    if request.files or request.samples or request.rebase:
        raise UsageError("--same-as takes the files of that release as they are; give none")
    if request.signature:
        raise UsageError(
            "--same-as takes the files of an earlier release, and --oms judges files that are"
            " given: give them, or release without --oms"
        )
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
        sequence=sequence,
        created=int(now_s),
        notes=request.notes,
        encryption=None,
        **msgspec.structs.asdict(request.statement),
    )


def _encode(release: Release) -> bytes:
    try:
        return wire.encode(release)
    except MalformedMessage as exc:
        raise UsageError(f"this cannot be released: {exc}") from exc
