"""Says what a broker's notice is beside what this repository has signed.

Two machines, or a backup that was restored, may hold copies of one repository that went separate
ways. Devices remember every version that they saw, so whoever replaces a newer notice with an
older one makes the whole fleet refuse it. So a publisher compares first (ADR 0063): role by role,
by version, and by content where two copies signed under the same version.

Only what today's keys vouch for counts: anybody who may write to the broker can put junk there.
Dates do not matter here; a notice may be newer and yet past its date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from slotcast_publisher.trust.repository_roles import RepositoryRoles
from slotcast_publisher.trust.role_reading import SIGNED_AT, SignedRoles, is_signed_for
from slotcast_schemas import wire
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Notice, Offer
from slotcast_schemas.trust import OFFERS_ROLE, offer_target, release_role


class Standing(Enum):
    """What a broker's notice is, beside what is signed here."""

    OURS = "ours"
    """Signed here, and the newest."""
    OLDER = "older"
    """Signed here, or by a copy that is behind: it may be replaced."""
    NEWER = "newer"
    """Signed by the same keys elsewhere, or here before a backup was restored."""
    SPLIT = "split"
    """Two copies signed different things under the same version."""
    FOREIGN = "foreign"
    """Not vouched for by this repository's keys; no device of ours believes it."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a notice is, why, and the offer that it makes, if it can be read."""

    standing: Standing
    detail: str = ""
    offer: Offer | None = None


def compare(data: bytes, model: str, roles: RepositoryRoles) -> Comparison:
    """Compare a broker's notice of a model with what is signed here.

    Args:
        data: the notice's bytes.
        model: its model.
        roles: what is signed here.
    """
    own = roles.of(model)
    try:
        notice = wire.decode(data, Notice)
        offer = wire.decode(notice.targets[offer_target(model)], Offer)
        theirs = {name: Metadata.from_bytes(blob) for name, blob in notice.metadata.items()}
    except (RefusedRelease, DeserializationError, RepositoryError, KeyError) as exc:
        return Comparison(Standing.FOREIGN, f"it cannot be read: {exc}")
    found = _Comparing(model, theirs, own).compare()
    return Comparison(found.standing, found.detail, offer)


class _Comparing:
    """One comparison: the notice's metadata by file name, and the roles of this repository."""

    def __init__(
        self, model: str, metadata: Mapping[str, Metadata[Any]], roles: SignedRoles
    ) -> None:
        self._model = model
        self._metadata = metadata
        self._roles = roles

    def compare(self) -> Comparison:
        root = self._root()
        if isinstance(root, Comparison):
            return root
        by_role = self._vouched(root)
        if by_role is None:
            return Comparison(
                Standing.FOREIGN, "it is not signed by the keys that count in this repository"
            )
        newer = self._newer(root.version, by_role)
        split = [name for name, signed in by_role.items() if self._is_split(name, signed)]
        if split:
            return Comparison(Standing.SPLIT, self._split_detail(split[0], by_role[split[0]]))
        if newer:
            return Comparison(Standing.NEWER, f"it has {'; '.join(newer)}")
        same = by_role[Timestamp.type].version == self._roles.newest_version(Timestamp.type)
        return Comparison(Standing.OURS if same else Standing.OLDER)

    def _root(self) -> Root | Comparison:
        """Follow the notice's chain of roots from one that is here; give the newest of both."""
        newest = self._roles.root().signed
        for version in sorted(_root_versions(self._metadata)):
            theirs = self._metadata[f"{version}.root.json"]
            before = self._roles.find_version(Root.type, version - 1)
            parent = before.signed if before is not None else newest
            if not _follows(theirs, parent):
                return Comparison(Standing.FOREIGN, "its root is not one that ours leads to")
            ours = self._roles.find_version(Root.type, version)
            if ours is not None and _content(ours.signed) != _content(theirs.signed):
                return Comparison(Standing.SPLIT, f"root {version} was signed twice")
            if version > newest.version:
                newest = theirs.signed
        return newest

    def _vouched(self, root: Root) -> dict[str, Any] | None:
        """Give what each role says, if the keys of the day signed all of it; else None."""
        top = {
            name: _file_of_role(self._metadata, name)
            for name in (Timestamp.type, Snapshot.type, "targets")
        }
        below = {name: _file_of_role(self._metadata, name) for name in self._delegated_names()}
        if not all(_is_signed(root, name, file) for name, file in top.items()):
            return None
        targets = top["targets"]
        if targets is None or not isinstance(targets.signed, Targets):
            return None
        if not all(_is_signed(targets.signed, name, file) for name, file in below.items()):
            return None
        return {name: file.signed for name, file in {**top, **below}.items() if file is not None}

    def _delegated_names(self) -> tuple[str, str]:
        return release_role(self._model), OFFERS_ROLE

    def _newer(self, root_version: int, by_role: Mapping[str, Any]) -> list[str]:
        """Say which roles are newer there than here, those of other models included."""
        versions = {name: signed.version for name, signed in by_role.items()}
        for file, meta in by_role[Snapshot.type].meta.items():
            name = file.removesuffix(".json")
            versions[name] = max(versions.get(name, 0), meta.version)
        versions[Root.type] = root_version
        return [
            f"{name} {version} (here {here})"
            for name, version in versions.items()
            if version > (here := self._version_here(name))
        ]

    def _version_here(self, name: str) -> int:
        return max(self._roles.newest_version(name), self._roles.floor(name))

    def _is_split(self, name: str, theirs: Any) -> bool:
        ours = self._roles.find_version(name, theirs.version)
        return ours is not None and _content(ours.signed) != _content(theirs)

    def _split_detail(self, name: str, theirs: Any) -> str:
        if isinstance(theirs, Targets) and name.startswith(release_role("")):
            there, here = _by_sequence(theirs), _by_sequence(self._roles.releases(self._model))
            for number in sorted(there.keys() & here.keys()):
                if there[number] != here[number]:
                    return f"sequence {number} is {there[number]} there and {here[number]} here"
        return f"version {theirs.version} of role {name!r} was signed twice, with different content"


def _by_sequence(role: Targets | None) -> dict[int, str]:
    """Name the version of each sequence that a release role has signed."""
    targets = role.targets.values() if role is not None else ()
    return {
        int(target.custom["sequence"]): target.path.rpartition("/")[2].removesuffix(".release")
        for target in targets
        if target.custom and "sequence" in target.custom
    }


def _content(signed: Any) -> dict[str, Any]:
    """Give what a role says, without when: dating again changes nothing that devices compare."""
    fields: dict[str, Any] = signed.to_dict()
    return {k: v for k, v in fields.items() if k not in {"expires", SIGNED_AT}}


def _follows(theirs: Metadata[Any], parent: Any) -> bool:
    return (
        isinstance(theirs.signed, Root)
        and isinstance(parent, Root)
        and _is_signed(parent, Root.type, theirs)
        and _is_signed(theirs.signed, Root.type, theirs)
    )


def _is_signed(parent: Root | Targets, name: str, file: Metadata[Any] | None) -> bool:
    return file is not None and is_signed_for(parent, name, file)


def _file_of_role(metadata: Mapping[str, Metadata[Any]], name: str) -> Metadata[Any] | None:
    """Give a role's file; a notice has one of each, but for roots."""
    if name == Timestamp.type:
        return metadata.get("timestamp.json")
    found = [
        file
        for key, file in metadata.items()
        if key.partition(".")[2] == f"{name}.json" and key.partition(".")[0].isdecimal()
    ]
    return found[0] if len(found) == 1 else None


def _root_versions(metadata: Mapping[str, Metadata[Any]]) -> list[int]:
    names = (key.partition(".") for key in metadata)
    return [int(head) for head, _, rest in names if rest == "root.json" and head.isdecimal()]
