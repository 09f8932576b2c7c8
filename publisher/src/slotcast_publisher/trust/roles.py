"""The roles of docs/trust.md, built and signed with python-tuf, unmodified.

Decides what each role says and when it must be signed again; where keys and files are is left to
`keys` and `files`. Each step writes one whole file, and `heal` signs again whatever the keys of
the day no longer vouch for: so a command that was stopped between two steps is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization import SerializationError

from slotcast_publisher.errors import Conflict, KeyUnavailable, NotFound, RepositoryDamaged
from slotcast_publisher.settings import Expiry
from slotcast_publisher.trust import clock
from slotcast_publisher.trust.keys import KeyRing
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_schemas.trust import (
    OFFERS_PATHS,
    OFFERS_ROLE,
    offer_target,
    release_paths,
    release_role,
    release_target,
)

RELEASES_SIGNED_MAX: Final = 64
"""Releases that a role's metadata lists; older ones are dropped, devices are past them."""

ROOTS_MAX: Final = 32
"""Roots that a notice carries: a device pinned to an older one must be provisioned again."""

VERSIONS_KEPT: Final = 10
"""Of each role: what a broker has must be here, to be told from what another copy signed."""

TOP_LEVEL: Final = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
ONLINE: Final = (OFFERS_ROLE, Snapshot.type, Timestamp.type)

SIGNED_AT: Final = "slotcast-signed-at"
"""Extra field of the timestamp (TUF's clients pass over it): when it was signed, ISO 8601."""

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Roles:
    """The signed roles of one repository."""

    def __init__(
        self,
        files: MetadataFiles,
        ring: KeyRing,
        expiry: Expiry,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock_is_right: bool = False,
    ) -> None:
        self._files = files
        self._ring = ring
        self._expiry = expiry
        self._now = now
        self._clock_is_right = clock_is_right

    # --- what is there ------------------------------------------------------------------------

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
        roles = _delegations(self.targets().signed).roles or {}
        if name not in roles:
            raise NotFound(f"no role {name!r}; there are {', '.join(self.names())}")
        return roles[name]

    def key(self, keyid: str) -> Key:
        """Give a public key that some role uses."""
        delegated = _delegations(self.targets().signed).keys
        return {**self.root().signed.keys, **delegated}[keyid]

    def names(self) -> list[str]:
        """Name every role, top-level ones first."""
        return [*TOP_LEVEL, *(_delegations(self.targets().signed).roles or {})]

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

    def held(self, name: str, version: int) -> Metadata[Any] | None:
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

    def present(self, name: str) -> Metadata[Any]:
        """Give a role's newest metadata.

        Raises:
            NotFound: there is none.
        """
        return self._read(name)

    def highest_sequence(self, model: str) -> int:
        """Give the highest sequence that is signed for a model; 0 if none is."""
        role = self.releases(model)
        targets = role.targets.values() if role is not None else ()
        return max(map(_sequence, targets), default=0)

    def releases(self, model: str) -> Targets | None:
        """Give what a model's release role says, or None if it said nothing yet."""
        if release_role(model) not in self._files.roles():
            return None
        return self._files.read(release_role(model), Targets).signed

    def signed_release(self, model: str, version: str) -> TargetFile | None:
        """Give what the release role says about a release, or None."""
        role = self.releases(model)
        return None if role is None else role.targets.get(release_target(model, version))

    def signed_offer(self, model: str) -> TargetFile | None:
        """Give what the online role says about a model's offer, or None."""
        return self._files.read(OFFERS_ROLE, Targets).signed.targets.get(offer_target(model))

    def announced_offer(self, model: str) -> TargetFile | None:
        """Give the offer of a model that the signed snapshot stands for, or None.

        It differs from `signed_offer` only while a command signs, or after one was stopped.
        """
        version = self._named().get(OFFERS_ROLE)
        if version is None:
            return None
        return self._files.read(OFFERS_ROLE, Targets, version).signed.targets.get(
            offer_target(model)
        )

    def signed_at(self) -> datetime | None:
        """Say when the newest timestamp was signed; None for one of an older version of this."""
        if not self._files.versions(Timestamp.type):
            return None
        told = self._files.read(Timestamp.type, Timestamp).signed.unrecognized_fields
        try:
            return datetime.fromisoformat(str(told[SIGNED_AT]))
        except (KeyError, ValueError):
            return None

    def signing_time(self) -> datetime:
        """Give the time to sign with.

        Raises:
            ClockWrong: this machine's clock cannot be right.
        """
        return clock.signing_time(self._now(), self.signed_at(), is_right=self._clock_is_right)

    def _named(self) -> dict[str, int]:
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

    # --- the first time -----------------------------------------------------------------------

    def create(
        self, root: Sequence[Key], threshold: int, targets: Sequence[Key], online: Key
    ) -> None:
        """Sign the first root and an empty set of roles.

        Raises:
            KeyUnavailable: too few of the keys can sign from here.
        """
        by_role = {
            Root.type: root,
            Targets.type: targets,
            Snapshot.type: [online],
            Timestamp.type: [online],
        }
        signed = Root(version=1, expires=self._until(Root.type), consistent_snapshot=True)
        for role, keys in by_role.items():
            for key in keys:
                signed.add_key(key, role)
        signed.roles[Root.type].threshold = threshold
        first = Metadata(signed)
        self._sign(Root.type, first, [signed.roles[Root.type]])
        self._files.write(Root.type, first)
        delegations = Delegations(keys={}, roles={})
        top = Targets(version=1, expires=self._until(Targets.type), delegations=delegations)
        _delegate(top, OFFERS_ROLE, OFFERS_PATHS, [online])
        self._write(Targets.type, Metadata(top))
        self.renew()

    def ensure_model(self, model: str, make_key: Callable[[], Key]) -> bool:
        """Delegate a model's releases to a key, unless that was done; says whether it was new.

        Raises:
            KeyUnavailable: the targets key cannot be used from here.
        """
        name = release_role(model)
        if name in self.names():
            return False
        top = self.targets()
        _delegate(top.signed, name, release_paths(model), [make_key()])
        self._bump(Targets.type, top)
        return True

    # --- everyday -----------------------------------------------------------------------------

    def add_release(self, model: str, version: str, data: bytes, sequence: int) -> bool:
        """Sign a release; says whether that was new. A signed release never changes.

        Raises:
            Conflict: the version is signed already, with other bytes.
            KeyUnavailable: the model's release key cannot be used from here.
        """
        name, path = release_role(model), release_target(model, version)
        role = self._read_or_new(name)
        target = _target(path, data, {"sequence": sequence})
        present = role.signed.targets.get(path)
        if present is not None:
            if present.hashes != target.hashes:
                raise Conflict(f"{model} {version} is signed already, with other content")
            return False
        same = [t.path for t in role.signed.targets.values() if _sequence(t) == sequence]
        if same:
            raise Conflict(f"sequence {sequence} of {model} is signed already, as {same[0]!r}")
        role.signed.targets[path] = target
        newest = sorted(role.signed.targets.values(), key=_sequence)[-RELEASES_SIGNED_MAX:]
        role.signed.targets = {target.path: target for target in newest}
        self._bump(name, role)
        return True

    def set_offer(self, model: str, data: bytes) -> bool:
        """Sign a model's offer; says whether anything had to be signed.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        role = self._read_or_new(OFFERS_ROLE)
        target = _target(offer_target(model), data, {})
        present = role.signed.targets.get(target.path)
        if present is not None and present.hashes == target.hashes:
            return False
        role.signed.targets[target.path] = target
        self._bump(OFFERS_ROLE, role)
        return True

    def renew(self, *, force: bool = False) -> bool:
        """Bring the online roles up to date; says whether anything had to be signed.

        A role is signed again when what it vouches for changed, when its keys did, or when half
        of its life is over.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        changed = self.heal()
        if OFFERS_ROLE not in self._files.roles() or force or self._is_stale(OFFERS_ROLE):
            self._bump(OFFERS_ROLE, self._read_or_new(OFFERS_ROLE))
        changed |= self._renew_snapshot(force=force)
        return self._renew_timestamp(force=force) or changed

    def renew_offline(self) -> list[str]:
        """Date root, targets and release roles again; names those that were.

        Raises:
            KeyUnavailable: one of their keys cannot be used from here.
        """
        root = self.root()
        self._write_root(root, root.signed.roles[Root.type])
        names = [name for name in self.names() if name not in {Root.type, *ONLINE}]
        present = self._files.roles()
        for name in names:
            if name in present:
                self._bump(name, self._files.read(name, Targets))
        return [Root.type, *names]

    def heal(self) -> bool:
        """Sign again every role that today's keys do not vouch for; says whether any was.

        Raises:
            KeyUnavailable: a key that is needed cannot be used from here.
        """
        present, healed = self._files.roles(), False
        for name in self.names():
            if name in {Root.type, Snapshot.type, Timestamp.type} or name not in present:
                continue
            role = self._files.read(name, Targets)
            if not self._is_vouched(name, role):
                self._bump(name, role)
                healed = True
        return healed

    # --- what another copy signed -------------------------------------------------------------

    def put(self, name: str, metadata: Metadata[Any]) -> None:
        """Keep metadata that another copy of this repository signed, as it is."""
        self._files.write(name, metadata)

    def sign_above(self, name: str, metadata: Metadata[Any], version: int) -> None:
        """Sign what metadata says again, under a version above this one.

        Raises:
            KeyUnavailable: too few of the role's keys can be used from here.
        """
        metadata.signed.version = version
        self._bump(name, metadata)

    # --- keys ---------------------------------------------------------------------------------

    def change_keys(
        self, names: Iterable[str], edit: Callable[[list[str], int], tuple[list[Key], int]]
    ) -> None:
        """Change who signs for the named roles; root goes from N to N+1, signed by both.

        Args:
            names: roles to change.
            edit: from a role's key ids and threshold to its new keys and threshold.

        Raises:
            KeyUnavailable: too few of the keys that must sign can be used from here.
        """
        chosen = list(dict.fromkeys(names))
        roles = {name: self.role_of(name) for name in chosen}
        wanted = {name: edit(list(role.keyids), role.threshold) for name, role in roles.items()}
        for name, (keys, threshold) in wanted.items():
            if len({key.keyid for key in keys}) < threshold:
                raise Conflict(
                    f"role {name}: {len(keys)} keys cannot reach its threshold of {threshold};"
                    " add or rotate a key first"
                )
        self._change_root({n: w for n, w in wanted.items() if n in TOP_LEVEL})
        self._change_delegations({n: w for n, w in wanted.items() if n not in TOP_LEVEL})
        self.renew()

    def _change_root(self, wanted: dict[str, tuple[list[Key], int]]) -> None:
        if not wanted:
            return
        root = self.root()
        old = Role(
            list(root.signed.roles[Root.type].keyids), root.signed.roles[Root.type].threshold
        )
        for name, (keys, threshold) in wanted.items():
            for keyid in list(root.signed.roles[name].keyids):
                root.signed.revoke_key(keyid, name)
            for key in keys:
                root.signed.add_key(key, name)
            root.signed.roles[name].threshold = threshold
        self._write_root(root, old)

    def _change_delegations(self, wanted: dict[str, tuple[list[Key], int]]) -> None:
        if not wanted:
            return
        top = self.targets()
        roles = _delegations(top.signed).roles or {}
        for name, (keys, threshold) in wanted.items():
            for keyid in list(roles[name].keyids):
                top.signed.revoke_key(keyid, name)
            for key in keys:
                top.signed.add_key(key, name)
            roles[name].threshold = threshold
        self._bump(Targets.type, top)

    # --- the notice ---------------------------------------------------------------------------

    def bundle(self, model: str) -> dict[str, bytes]:
        """Give the metadata that a model's devices need, by the names a TUF client asks for.

        Raises:
            NotFound: the model has no signed release.
        """
        named = self._named()
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
        kinds: dict[str, Any] = {Timestamp.type: Timestamp, Snapshot.type: Snapshot}
        files = {
            name: self._files.read(name, kinds.get(name, Targets), named[name])
            for name in (Timestamp.type, Snapshot.type, Targets.type)
        }
        versions = self._files.versions(Root.type)
        for version in reversed(versions):
            root = self._files.read(Root.type, Root, version).signed
            if all(_is_signed_for(root, name, file) for name, file in files.items()):
                return version
        return versions[-1]

    def root_bytes(self, version: int | None = None) -> bytes:
        """Give a root's signed bytes, the newest unless told."""
        return self._files.read_bytes(Root.type, version)

    def oldest_root(self) -> bytes:
        """Give the oldest root from which a notice's chain of roots leads to the newest."""
        return self.root_bytes(max(1, self.root().signed.version - ROOTS_MAX))

    def prune(self, keep: int = VERSIONS_KEPT) -> None:
        """Remove old metadata, but no root: the chain is needed for ever."""
        for name in self._files.roles() - {Root.type}:
            self._files.prune(name, keep)

    # --- one role -----------------------------------------------------------------------------

    def _renew_snapshot(self, *, force: bool) -> bool:
        present = self._files.roles()
        names = [n for n in self.names() if n not in {Root.type, Snapshot.type, Timestamp.type}]
        versions = {name: max(self.newest_version(name), self._floor(name)) for name in names}
        meta = {f"{name}.json": MetaFile(v) for name, v in versions.items() if v}
        if Snapshot.type not in present:
            snapshot = _unsigned(Snapshot(expires=self._now()))
        else:
            snapshot = self._files.read(Snapshot.type, Snapshot)
            vouched = self._is_vouched(Snapshot.type, snapshot)
            same = snapshot.signed.meta == meta and vouched
            if same and not force and not self._is_stale(Snapshot.type):
                return False
        snapshot.signed.meta = meta
        self._bump(Snapshot.type, snapshot)
        return True

    def _floor(self, name: str) -> int:
        """Give the version that the newest snapshot names: nothing may be signed below it.

        It is above what is here only after another copy's metadata was taken over in part.
        """
        if Snapshot.type not in self._files.roles():
            return 0
        named = self._files.read(Snapshot.type, Snapshot).signed.meta.get(f"{name}.json")
        return 0 if named is None else named.version

    def _renew_timestamp(self, *, force: bool) -> bool:
        version = self._files.versions(Snapshot.type)[-1]
        if not self._files.versions(Timestamp.type):
            timestamp = _unsigned(Timestamp(expires=self._now()))
        else:
            timestamp = self._files.read(Timestamp.type, Timestamp)
            vouched = self._is_vouched(Timestamp.type, timestamp)
            same = timestamp.signed.snapshot_meta.version == version and vouched
            if same and not force and not self._is_stale(Timestamp.type):
                return False
        timestamp.signed.snapshot_meta = MetaFile(version)
        timestamp.signed.unrecognized_fields[SIGNED_AT] = self.signing_time().isoformat(
            timespec="seconds"
        )
        self._bump(Timestamp.type, timestamp)
        return True

    def _read(self, name: str, version: int | None = None) -> Metadata[Any]:
        kinds: dict[str, Any] = {
            Root.type: Root,
            Snapshot.type: Snapshot,
            Timestamp.type: Timestamp,
        }
        return self._files.read(name, kinds.get(name, Targets), version)

    def _read_or_new(self, name: str) -> Metadata[Targets]:
        if name in self._files.roles():
            return self._files.read(name, Targets)
        return _unsigned(Targets(expires=self._now()))

    def _bump(self, name: str, metadata: Metadata[T]) -> None:
        metadata.signed.version = max(metadata.signed.version, self._floor(name)) + 1
        metadata.signed.expires = self._until(name)
        self._write(name, metadata)

    def _write(self, name: str, metadata: Metadata[T]) -> None:
        self._sign(name, metadata, [self.role_of(name)])
        self._files.write(name, metadata)

    def _write_root(self, root: Metadata[Root], old: Role) -> None:
        root.signed.version += 1
        root.signed.expires = self._until(Root.type)
        self._sign(Root.type, root, [old, root.signed.roles[Root.type]])
        self._files.write(Root.type, root)

    def _sign(self, name: str, metadata: Metadata[T], roles: Sequence[Role]) -> None:
        """Sign with every key that can be reached; each role's threshold must be met."""
        metadata.signatures.clear()
        missing: list[str] = []
        for keyid in dict.fromkeys(keyid for role in roles for keyid in role.keyids):
            try:
                metadata.sign(self._ring.signer(keyid), append=True)
            except KeyUnavailable as exc:
                missing.append(str(exc))
            except (UnsignedMetadataError, SerializationError) as exc:
                missing.append(f"key {self._ring.name(keyid)}: {_root_cause(exc)}")
        for role in roles:
            count = sum(keyid in metadata.signatures for keyid in role.keyids)
            if count < role.threshold:
                raise KeyUnavailable(
                    f"{name}: expected {role.threshold} of {len(role.keyids)}"
                    f" keys to sign, got {count}: {'; '.join(missing)}"
                )

    def _is_vouched(self, name: str, metadata: Metadata[Any]) -> bool:
        parent: Root | Targets = self.root().signed if name in TOP_LEVEL else self.targets().signed
        return _is_signed_for(parent, name, metadata)

    def _is_stale(self, name: str) -> bool:
        left = self.expires(name) - self._now()
        return left < self._life(name) / 2

    def _life(self, name: str) -> timedelta:
        days = {
            Root.type: self._expiry.root_days,
            Targets.type: self._expiry.targets_days,
            OFFERS_ROLE: self._expiry.offers_days,
            Snapshot.type: self._expiry.snapshot_days,
            Timestamp.type: self._expiry.timestamp_days,
        }
        return timedelta(days=days.get(name, self._expiry.release_days))

    def _until(self, name: str) -> datetime:
        return (self.signing_time() + self._life(name)).replace(microsecond=0)


def _is_signed_for(parent: Root | Targets, name: str, metadata: Metadata[Any]) -> bool:
    """Say whether enough of the keys that a parent names for a role signed this."""
    try:
        parent.verify_delegate(name, metadata.signed_bytes, metadata.signatures)
    except (RepositoryError, ValueError):
        return False
    return True


def _root_cause(error: BaseException) -> str:
    """Say what went wrong; errors of signing libraries often have no text but their name."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _unsigned(signed: T) -> Metadata[T]:
    """Metadata whose first signing makes it version 1."""
    signed.version = 0
    return Metadata(signed)


def _delegations(targets: Targets) -> Delegations:
    if targets.delegations is None:
        raise RepositoryDamaged("the targets role has no delegations; expected at least 'offers'")
    return targets.delegations


def _delegate(top: Targets, name: str, paths: Sequence[str], keys: Sequence[Key]) -> None:
    delegations = _delegations(top)
    role = DelegatedRole(name, [], 1, terminating=True, paths=list(paths))
    delegations.roles = {**(delegations.roles or {}), name: role}
    for key in keys:
        top.add_key(key, name)


def _target(path: str, data: bytes, custom: dict[str, Any]) -> TargetFile:
    target = TargetFile.from_data(path, data, ["sha256"])
    if custom:
        target.unrecognized_fields["custom"] = custom
    return target


def _sequence(target: TargetFile) -> int:
    return int(target.custom["sequence"]) if target.custom else 0
