"""Takes over what another copy of a repository signed and published, from brokers' notices.

For a backup that was put back when the newer copy is lost: devices remember the versions that
they saw, so this copy must go on above them (ADR 0065). What the notices carry is taken as it is;
where both copies signed under one version, theirs counts, for devices have seen it, and is signed
again above both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from slotcast_publisher.errors import Conflict, KeyUnavailable
from slotcast_publisher.trust.precedence import Comparison, Standing, compare
from slotcast_publisher.trust.repository_roles import RepositoryRoles
from slotcast_publisher.trust.role_reading import MODEL, SignedRoles
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice
from slotcast_schemas.trust import OFFERS_ROLE, release_role

Files = Mapping[str, Metadata[Any]]


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """One model that was taken over from another copy of the repository.

    Attributes:
        version: what that copy offers.
        sequence: of it.
        has_files: whether its files are here, so that it can be published from here.
        has_key: whether its release key is here, without which nothing of it is signed again.
    """

    model: str
    version: str
    sequence: int
    has_files: bool
    has_key: bool = True


def adopt(notices: Mapping[str, bytes], roles: RepositoryRoles) -> dict[str, Comparison]:
    """Take over notices that are newer than this repository, or split from it; says which were.

    Afterwards the online roles must be renewed, which signs above all of them.

    Raises:
        Conflict: both copies signed what cannot be united.
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
    sets = {model: _set_for(model, files[model], roles) for model in newest_first}
    for each in dict.fromkeys(sets.values()):
        models = [model for model in newest_first if sets[model] is each]
        _take_set(models, files, each)
    return found


def _set_for(model: str, files: Files, roles: RepositoryRoles) -> Roles:
    """Give the set of roles here that a notice's goes into.

    Raises:
        Conflict: the model has left the shared set here, and the other copy went on in it.
    """
    if MODEL in _role(files, Targets.type).signed.unrecognized_fields:
        return roles.own(model)
    here = roles.of(model)
    if here is not roles.shared and here.models():
        raise Conflict(
            f"{model} has roles of its own here, and the other copy signed on in the set that"
            " models shared: they cannot be united; decide for one, and have the other's devices"
            " provisioned again"
        )
    return roles.shared


def _take_set(models: Sequence[str], files: Mapping[str, Files], roles: Roles) -> None:
    """Take over what one set of roles says in notices.

    Args:
        models: whose notices, what was signed last first.
        files: the metadata of each.
        roles: the set here.
    """
    for number, model in enumerate(models):
        _take_roots(files[model], roles)
        names = [release_role(model)]
        if number == 0:  # what models share is taken from the notice that was signed last
            names = ["targets", *names, OFFERS_ROLE, Snapshot.type, Timestamp.type]
        for name in names:
            _take_role(name, files[model], roles)
    _catch_up(_role(files[models[0]], Snapshot.type).signed, roles)


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


def _catch_up(snapshot: Snapshot, roles: Roles) -> None:
    """Sign again what the other copy had signed further, and no notice carried.

    What cannot be signed here waits for a new key. The next snapshot names its old version all
    the same, since devices refuse one that goes back, and so it holds up no other model.
    """
    for file, meta in snapshot.meta.items():
        name = file.removesuffix(".json")
        if 0 < roles.newest_version(name) < meta.version:
            with contextlib.suppress(KeyUnavailable):
                roles.sign_above(name, roles.newest(name), meta.version)
