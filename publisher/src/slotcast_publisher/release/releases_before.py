"""What a repository has of a model already, as far as a new release must know it."""

from __future__ import annotations

from typing import Any

from slotcast_publisher.errors import Conflict
from slotcast_publisher.release.given_files import name_changes
from slotcast_publisher.release.release_request import ReleaseRequest, parse_version
from slotcast_publisher.store import ReleaseFolder, Store
from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.model_formats import is_run_by_command
from slotcast_schemas.probe import SlotModel


def find_existing(store: Store, request: ReleaseRequest) -> ReleaseFolder | None:
    """Give the release if it exists; no other may mean the same version.

    Raises:
        Conflict: another one does.
        UsageError: the version is none of PEP 440.
    """
    wanted = parse_version(request.version)
    for version in store.versions(request.model):
        if version == request.version:
            return store.folder(request.model, version)
        if parse_version(version) == wanted:
            raise Conflict(
                f"{request.model} {request.version}: to people this is {version}, which exists"
            )
    return None


def check_same(existing: ReleaseFolder, given: dict[str, Any], request: ReleaseRequest) -> None:
    """Check that a second release of a version asks for the very same.

    Args:
        existing: the release that is there.
        given: what decides the content of the new one (`describe_request`).
        request: what is asked for.

    Raises:
        Conflict: it does not.
    """
    before = existing.given()
    different = [key for key in given if given[key] != before.get(key)]
    if different:
        raise Conflict(
            f"{request.model} {request.version} exists and is immutable; this request differs in"
            f" {', '.join(different)}: give it a new version"
        )


def changes_of_names(store: Store, release: Release) -> list[str]:
    """Compare with the release before: applications may open its files by name."""
    before = store.releases(release.model)
    return name_changes(before[-1].load(), release) if before else []


def model_before(store: Store, model: str) -> SlotModel | None:
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


def next_sequence(store: Store, request: ReleaseRequest, above: int, most: int) -> int:
    """Give a new release's place in the order of the model's releases.

    Args:
        store: where the releases before it are.
        request: what is asked for.
        above: the highest sequence that is signed already, of those that count.
        most: the highest that counts.

    Raises:
        UsageError: the sequence that is asked for is not above theirs, or too far above;
            or none is left.
    """
    here = [folder.load().sequence for folder in store.releases(request.model)]
    last = max(above, *(number for number in here if number <= most), 0)
    most = min(last + limits.SEQUENCE_JUMP_MAX, most)
    if last >= most:
        raise UsageError(
            f"{request.model}: no sequence is left above {last} of those that count; the targets"
            f" key must say which do: `slotcast keys floor REPO {request.model}`"
        )
    if request.sequence is None:
        return last + 1
    if not last < request.sequence <= most:
        raise UsageError(
            f"--sequence: expected more than {last} and at most {most}, got {request.sequence}"
        )
    return request.sequence
