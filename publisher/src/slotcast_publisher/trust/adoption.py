"""Takes over what another copy of a repository signed and published, from brokers' notices.

For a backup that was put back when the newer copy is lost: devices remember the versions that
they saw, so this copy must go on above them (ADR 0065). What the notices carry is taken as it is;
where both copies signed under one version, theirs counts, for devices have seen it, and is signed
again above both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from slotcast_publisher.errors import Conflict, KeyUnavailable
from slotcast_publisher.trust.precedence import Comparison, Standing, compare
from slotcast_publisher.trust.role_reading import SignedRoles
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice
from slotcast_schemas.trust import OFFERS_ROLE, release_role

Files = Mapping[str, Metadata[Any]]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was taken over.

    Attributes:
        models: what each notice was beside this repository; only those that were taken over.
        unsigned: roles that the other copy had signed further, and whose key is not here.
    """

    models: Mapping[str, Comparison]
    unsigned: tuple[str, ...] = ()


def adopt(notices: Mapping[str, bytes], roles: Roles) -> Adoption:
    """Take over notices that are newer than this repository, or split from it.

    Afterwards the online roles must be renewed, which signs above all of them.

    Raises:
        Conflict: both copies signed another root: they cannot be united.
        KeyUnavailable: what both signed must be signed again, with a key that is not here.
    """
    compared = {model: compare(data, model, roles) for model, data in notices.items()}
    found = {
        model: comparison
        for model, comparison in compared.items()
        if comparison.standing in {Standing.NEWER, Standing.SPLIT}
    }
    files = {model: _files(notices[model]) for model in found}
    newest_first = sorted(files, key=lambda m: files[m]["timestamp.json"].signed.version)[::-1]
    for number, model in enumerate(newest_first):
        _take_roots(files[model], roles)
        names = [release_role(model)]
        if number == 0:  # what all models share is taken from the notice that was signed last
            names = ["targets", *names, OFFERS_ROLE, Snapshot.type, Timestamp.type]
        for name in names:
            _take_role(name, files[model], roles)
    if not newest_first:
        return Adoption({})
    return Adoption(found, _catch_up(_role(files[newest_first[0]], Snapshot.type).signed, roles))


def _files(data: bytes) -> Files:
    metadata = wire.decode(data, Notice).metadata
    return {name: Metadata.from_bytes(blob) for name, blob in metadata.items()}


def _role(files: Files, name: str) -> Metadata[Any]:
    return next(
        file
        for key, file in files.items()
        if key in {f"{name}.json", f"{file.signed.version}.{name}.json"}
    )


def _take_roots(files: Files, roles: Roles) -> None:
    for version in sorted(f.signed.version for f in files.values() if isinstance(f.signed, Root)):
        theirs = files[f"{version}.root.json"]
        ours = roles.find_version(Root.type, version)
        if ours is None:
            roles.put(Root.type, theirs)
        elif ours.to_dict() != theirs.to_dict():
            raise Conflict(
                f"both copies of this repository signed a root {version}: they cannot be united;"
                " decide for one, and provision the devices of the other again"
            )


def _take_role(name: str, files: Files, roles: Roles) -> None:
    theirs = _role(files, name)
    here = roles.newest_version(name)
    is_split = _is_split(name, theirs, roles)
    if theirs.signed.version > here or (is_split and name != Timestamp.type):
        roles.put(name, theirs)
    if is_split and isinstance(theirs.signed, Targets):
        roles.sign_above(name, theirs, max(here, theirs.signed.version))


def _is_split(name: str, theirs: Metadata[Any], roles: SignedRoles) -> bool:
    ours = roles.find_version(name, theirs.signed.version)
    return ours is not None and ours.signed.to_dict() != theirs.signed.to_dict()


def _catch_up(snapshot: Snapshot, roles: Roles) -> tuple[str, ...]:
    """Sign again what the other copy had signed further, and no notice carried.

    Names what cannot be signed here. The next snapshot names its old version all the same, since
    devices refuse one that goes back; its own model waits for a new key.
    """
    unsigned = []
    for file, meta in snapshot.meta.items():
        name = file.removesuffix(".json")
        if 0 < roles.newest_version(name) < meta.version:
            try:
                roles.sign_above(name, roles.newest(name), meta.version)
            except KeyUnavailable:
                unsigned.append(name)
    return tuple(unsigned)
