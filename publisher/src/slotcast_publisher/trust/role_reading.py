"""Reads what one set of roles has signed: who may sign what, what each says, what a notice needs.

A set speaks for one model, or, in a repository of before, for several (ADR 0111); which does for
whom is said by `repository_roles`. Changes nothing and needs no key. Signing is left to
`role_signing`, where the files are to `metadata_files`; what the roles mean is in docs/trust.md.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Delegations,
    Metadata,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from slotcast_publisher.errors import NotFound, RepositoryDamaged
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_schemas.floor_word import FloorWord, read_floor_word
from slotcast_schemas.trust import OFFERS_ROLE, offer_target, release_role, release_target

ROOTS_MAX: Final = 32
"""The number of roots that a notice carries at most; a device whose pinned root is older than all
of them must be provisioned again."""

TOP_LEVEL: Final = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
"""The four roles that the root itself names, in the words of The Update Framework."""

ONLINE: Final = (OFFERS_ROLE, Snapshot.type, Timestamp.type)
"""The roles that the online key signs, so that `slotcast serve` can date them again by itself."""

SIGNED_AT: Final = "slotcast-signed-at"
"""The extra field of the timestamp that says when it was signed, in ISO 8601; the clients of The
Update Framework pass over fields that they do not know."""

MODEL: Final = "slotcast-model"
"""The extra field of targets that speak for one model alone: its name."""

RECIPIENTS: Final = "slotcast-recipients"
"""The extra field of a model's release role: the digest of the list of its recipients."""

_KINDS: Final[dict[str, Any]] = {
    Root.type: Root,
    Snapshot.type: Snapshot,
    Timestamp.type: Timestamp,
}
"""The class that python-tuf reads each role with; every other role is one of targets."""


class SignedRoles:
    """One set of roles, as it is signed.

    Args:
        files: where the signed metadata is.
        model: the model that it speaks for alone; None for the set that models may share.
        shared: that set, of which the model may once have been.
    """

    def __init__(
        self, files: MetadataFiles, model: str | None = None, shared: SignedRoles | None = None
    ) -> None:
        self._files = files
        self._model = model
        self._shared = shared

    @property
    def timestamp_file(self) -> Path:
        """The file that changes whenever anything of what devices see has."""
        return self._files.timestamp_file

    # --- who signs what -----------------------------------------------------------------------

    def root(self) -> Metadata[Root]:
        """Give the newest root."""
        return self._files.read(Root.type, Root)

    def targets(self) -> Metadata[Targets]:
        """Give the newest top-level targets, which hold the delegations."""
        return self._files.read(Targets.type, Targets)

    def role_of(self, name: str) -> Role:
        """Give a role's key ids and threshold, as its parent says.

        Raises:
            NotFound: no such role.
        """
        if name in TOP_LEVEL:
            return self.root().signed.roles[name]
        roles = delegations_of(self.targets().signed).roles or {}
        if name not in roles:
            raise NotFound(f"no role {name!r}; there are {', '.join(self.names())}")
        return roles[name]

    def public_key(self, keyid: str) -> Key:
        """Give a public key that some role uses."""
        delegated = delegations_of(self.targets().signed).keys
        return {**self.root().signed.keys, **delegated}[keyid]

    def keys_of(self, name: str) -> tuple[list[Key], int]:
        """Give a role's public keys, and how many of them must sign."""
        role = self.role_of(name)
        return [self.public_key(keyid) for keyid in role.keyids], role.threshold

    def names(self) -> list[str]:
        """Name every role, top-level ones first."""
        return [*TOP_LEVEL, *(delegations_of(self.targets().signed).roles or {})]

    # --- what is signed -----------------------------------------------------------------------

    def signed_names(self) -> set[str]:
        """Name the roles that have signed metadata."""
        is_dated = bool(self._files.versions(Timestamp.type))
        return self._files.roles() | ({Timestamp.type} if is_dated else set())

    def expires(self, name: str) -> datetime:
        """Say until when a role's newest metadata counts."""
        expires: datetime = self._read(name).signed.expires
        return expires

    def version(self, name: str) -> int:
        """Give the version of a role's newest metadata."""
        version: int = self._read(name).signed.version
        return version

    def find_version(self, name: str, version: int) -> Metadata[Any] | None:
        """Give one version of a role's metadata, or None if it is not here (any more).

        Of the timestamp only the newest is kept.
        """
        try:
            found = self._read(name, None if name == Timestamp.type else version)
        except NotFound:
            return None
        return found if found.signed.version == version else None

    def newest_version(self, name: str) -> int:
        """Give the version of a role's newest metadata; 0 if there is none."""
        return max(self._files.versions(name), default=0)

    def newest(self, name: str) -> Metadata[Any]:
        """Give a role's newest metadata.

        Raises:
            NotFound: there is none.
        """
        return self._read(name)

    def highest_sequence(self, model: str) -> int:
        """Give the highest sequence that is signed for a model and counts; 0 if none does."""
        role, word = self.releases(model), self.floor_word(model)
        signed = map(sequence_of, role.targets.values() if role is not None else ())
        counting = (n for n in signed if word is None or word.counts(n))
        return max(counting, default=0 if word is None else word.sequence)

    def floor_word(self, model: str) -> FloorWord | None:
        """Give what the targets key said of a model's floor; None where it said nothing."""
        if Targets.type not in self._files.roles():
            return None
        fields = self.targets().signed.unrecognized_fields
        return read_floor_word(fields, model, self.root().signed.version)

    def releases(self, model: str) -> Targets | None:
        """Give what a model's release role says, or None if it said nothing yet."""
        if release_role(model) not in self._files.roles():
            return None
        return self._files.read(release_role(model), Targets).signed

    def recipients_sha256(self, model: str) -> bytes | None:
        """Give the digest of the model's recipients that its release role signed, or None.

        Raises:
            RepositoryDamaged: what says so is not signed by the keys of the role, or something
                newer was signed, and is not here any more.
        """
        name = release_role(model)
        if name not in self._files.roles():
            return None
        role = self._files.read(name, Targets)
        if role.signed.version < self.floor(name):
            raise RepositoryDamaged(
                f"the recipients of {model}: version {role.signed.version} of {name} is here, and"
                f" {self.floor(name)} was signed: somebody has set back the repository's files;"
                " bring them from a backup, or run `slotcast adopt`"
            )
        said = role.signed.unrecognized_fields.get(RECIPIENTS)
        if said is None:
            return None
        if not self._is_vouched(name, role) or not isinstance(said, str):
            raise RepositoryDamaged(f"the recipients of {model} are not signed by its release key")
        try:
            return bytes.fromhex(said)
        except ValueError as exc:
            raise RepositoryDamaged(
                f"the recipients of {model}: {said!r:.80} is no digest"
            ) from exc

    def signed_release(self, model: str, version: str) -> TargetFile | None:
        """Give what the release role says about a release, or None."""
        role = self.releases(model)
        return None if role is None else role.targets.get(release_target(model, version))

    def signed_offer(self, model: str) -> TargetFile | None:
        """Give what the online role says about a model's offer, or None."""
        if OFFERS_ROLE not in self._files.roles():
            return None
        return self._files.read(OFFERS_ROLE, Targets).signed.targets.get(offer_target(model))

    def announced_offer(self, model: str) -> TargetFile | None:
        """Give the offer of a model that the signed snapshot stands for, or None.

        It differs from `signed_offer` only while a command signs, or after one was stopped.
        """
        if not self.is_announced():
            return None
        version = self._announced_versions().get(OFFERS_ROLE)
        if version is None:
            return None
        return self._files.read(OFFERS_ROLE, Targets, version).signed.targets.get(
            offer_target(model)
        )

    def is_announced(self) -> bool:
        """Say whether there is a timestamp, without which devices can be told nothing."""
        return self._files.timestamp_file.exists()

    def models(self) -> list[str]:
        """Name the models that this set of roles speaks for."""
        if Targets.type not in self._files.roles():
            return []
        prefix = release_role("")
        names = delegations_of(self.targets().signed).roles or {}
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def signed_at(self) -> datetime | None:
        """Say when the newest timestamp was signed; None for one of an older version of this."""
        if not self._files.versions(Timestamp.type):
            return None
        told = self._files.read(Timestamp.type, Timestamp).signed.unrecognized_fields
        try:
            return datetime.fromisoformat(str(told[SIGNED_AT]))
        except (KeyError, ValueError):
            return None

    # --- what devices get ---------------------------------------------------------------------

    def notice_metadata(self, model: str) -> dict[str, bytes]:
        """Give the metadata that a model's devices need, by the names a TUF client asks for.

        Raises:
            NotFound: the model has no signed release.
        """
        if not self.is_announced():
            raise NotFound(f"{model!r} has no signed timestamp: nothing was published")
        named = self._announced_versions()
        names = [Timestamp.type, Snapshot.type, Targets.type, release_role(model), OFFERS_ROLE]
        missing = [name for name in names if name not in named]
        if missing:
            raise NotFound(f"{model!r} has no signed {missing[0]} role that a snapshot stands for")
        newest = self._announced_root(named)
        roots = [v for v in self._files.versions(Root.type) if 1 < v <= newest][-ROOTS_MAX:]
        found = {f"{v}.root.json": self._files.read_bytes(Root.type, v) for v in roots}
        for name in names:
            version = named[name]
            found[self._files.name(name, version)] = self._files.read_bytes(name, version)
        return found

    def _announced_root(self, named: dict[str, int]) -> int:
        """Give the newest root whose keys signed what is named: of a ceremony half done, the last.

        Where none did, the newest: the notice is refused with TUF's own words for it.
        """
        top = (Timestamp.type, Snapshot.type, Targets.type)
        files = {name: self._read(name, named[name]) for name in top}
        versions = self._files.versions(Root.type)
        for version in reversed(versions):
            root = self._files.read(Root.type, Root, version).signed
            if all(is_signed_for(root, name, file) for name, file in files.items()):
                return version
        return versions[-1]

    def root_bytes(self, version: int | None = None) -> bytes:
        """Give a root's signed bytes, the newest unless told."""
        return self._files.read_bytes(Root.type, version)

    def oldest_root(self) -> bytes:
        """Give the oldest root from which a notice's chain of roots leads to the newest."""
        return self.root_bytes(max(1, self.root().signed.version - ROOTS_MAX))

    # --- reading ------------------------------------------------------------------------------

    def _announced_versions(self) -> dict[str, int]:
        """Give the versions that the signed timestamp and its snapshot name.

        What was signed since (a release that is not published yet, half of a ceremony) is newer,
        and belongs in no notice before the next snapshot stands for it.
        """
        timestamp = self._files.read(Timestamp.type, Timestamp)
        version = timestamp.signed.snapshot_meta.version
        snapshot = self._files.read(Snapshot.type, Snapshot, version)
        named = {name.removesuffix(".json"): meta for name, meta in snapshot.signed.meta.items()}
        return {
            Timestamp.type: timestamp.signed.version,
            Snapshot.type: version,
            **{name: meta.version for name, meta in named.items()},
        }

    def floor(self, name: str) -> int:
        """Give the version that devices may have seen of a role: nothing is signed below it.

        It is above what is here after another copy's metadata was taken over in part, and where
        the model was in the shared set.
        """
        here = version_in(self.snapshot(), name)
        if self._shared is None or not self.was_shared():
            return here
        return max(here, self._shared.floor(name), self._shared.newest_version(name))

    def was_shared(self) -> bool:
        """Say whether the one model of this set is, or was, in the shared set."""
        if self._shared is None or self._model is None:
            return False
        return version_in(self._shared.snapshot(), release_role(self._model)) > 0

    def names_seen(self) -> dict[str, int]:
        """Give the roles, and their versions, that no snapshot of this set may lose any more.

        Devices refuse a snapshot without a name that one before it had, unless today's keys do
        not vouch for that one: then they have forgotten it.
        """
        found: dict[str, int] = {}
        newest = self.newest_version(Snapshot.type)
        for version in self._files.versions(Snapshot.type)[::-1]:
            snapshot = self._files.read(Snapshot.type, Snapshot, version)
            if not self._is_vouched(Snapshot.type, snapshot):
                continue
            for file, meta in snapshot.signed.meta.items():
                name = file.removesuffix(".json")
                found[name] = max(found.get(name, 0), meta.version)
            if version == newest:
                break  # it has all that those before it had
        return found

    def snapshot(self) -> Snapshot | None:
        """Give the newest snapshot, or None."""
        if Snapshot.type not in self._files.roles():
            return None
        return self._files.read(Snapshot.type, Snapshot).signed

    def _read(self, name: str, version: int | None = None) -> Metadata[Any]:
        return self._files.read(name, _KINDS.get(name, Targets), version)

    def _is_vouched(self, name: str, metadata: Metadata[Any]) -> bool:
        parent: Root | Targets = self.root().signed if name in TOP_LEVEL else self.targets().signed
        return is_signed_for(parent, name, metadata)


def version_in(snapshot: Snapshot | None, name: str) -> int:
    """Give the version of a role that a snapshot names; 0 if it names none."""
    named = None if snapshot is None else snapshot.meta.get(f"{name}.json")
    return 0 if named is None else named.version


def is_signed_for(parent: Root | Targets, name: str, metadata: Metadata[Any]) -> bool:
    """Say whether enough of the keys that a parent names for a role signed this.

    Args:
        parent: the root, or the targets that delegate the role.
        name: the role.
        metadata: what is to be signed by its keys.
    """
    try:
        parent.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def delegations_of(targets: Targets) -> Delegations:
    """Give the roles and keys that the top-level targets delegate to.

    Raises:
        RepositoryDamaged: there are none, though every repository has at least `offers`.
    """
    if targets.delegations is None:
        raise RepositoryDamaged("the targets role has no delegations; expected at least 'offers'")
    return targets.delegations


def sequence_of(target: TargetFile) -> int:
    """Give the sequence of a release that a release role lists; 0 if it says none."""
    return int(target.custom["sequence"]) if target.custom else 0
