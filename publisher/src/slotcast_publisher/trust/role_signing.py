"""Signs the roles of docs/trust.md with python-tuf, unmodified; renews and heals them.

Decides what each role says and when it must be signed again. Reading is left to `role_reading`,
changes of keys to `ceremonies`, where keys and files are to `keys` and `metadata_files`.
Each step writes one whole file, and `heal` signs again whatever the keys of the day no longer
vouch for: so a command that was stopped between two steps is simply run again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from securesystemslib.signer import Key
from tuf.api.exceptions import UnsignedMetadataError
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

from slotcast_publisher.errors import Conflict, KeyUnavailable
from slotcast_publisher.settings import Expiry
from slotcast_publisher.trust import clock
from slotcast_publisher.trust.keys import KeyRing
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_publisher.trust.role_reading import (
    ONLINE,
    SIGNED_AT,
    SignedRoles,
    delegations_of,
    sequence_of,
)
from slotcast_schemas.trust import (
    OFFERS_PATHS,
    OFFERS_ROLE,
    offer_target,
    release_paths,
    release_role,
    release_target,
)

RELEASES_SIGNED_MAX: Final = 64
"""The number of releases that a release role lists at most; older ones are dropped, because every
device of the fleet is past them."""

VERSIONS_KEPT: Final = 10
"""The number of versions of each role that are kept: what a broker has must be here, so that it can
be told from what another copy of the repository signed."""

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)


class Roles(SignedRoles):
    """The signed roles of one repository, and the keys and the clock to sign more.

    Args:
        files: where the signed metadata is.
        ring: the keys that can sign from here.
        expiry: for how many days each role counts from its signature on.
        now: the clock.
        clock_is_right: sign although the clock contradicts what was signed before.
    """

    def __init__(
        self,
        files: MetadataFiles,
        ring: KeyRing,
        expiry: Expiry,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock_is_right: bool = False,
    ) -> None:
        super().__init__(files)
        self._ring = ring
        self._expiry = expiry
        self._now = now
        self._clock_is_right = clock_is_right

    def signing_time(self) -> datetime:
        """Give the time to sign with.

        Raises:
            ClockWrong: this machine's clock cannot be right.
        """
        return clock.signing_time(self._now(), self.signed_at(), is_right=self._clock_is_right)

    # --- the first time -----------------------------------------------------------------------

    def create(
        self, root: Sequence[Key], threshold: int, targets: Sequence[Key], online: Key
    ) -> None:
        """Sign the first root and an empty set of roles.

        Args:
            root: the root's keys.
            threshold: how many of them must sign a root.
            targets: the keys of the top-level targets.
            online: the key of the roles that are dated again by themselves.

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
        self.sign_next(Targets.type, top)
        return True

    # --- everyday -----------------------------------------------------------------------------

    def add_release(self, model: str, version: str, data: bytes, sequence: int) -> bool:
        """Sign a release; says whether that was new. A signed release never changes.

        Args:
            model: the model's name.
            version: the release's version.
            data: the bytes that devices get.
            sequence: the release's place in the order of the model's releases.

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
        same = [t.path for t in role.signed.targets.values() if sequence_of(t) == sequence]
        if same:
            raise Conflict(f"sequence {sequence} of {model} is signed already, as {same[0]!r}")
        role.signed.targets[path] = target
        newest = sorted(role.signed.targets.values(), key=sequence_of)[-RELEASES_SIGNED_MAX:]
        role.signed.targets = {target.path: target for target in newest}
        self.sign_next(name, role)
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
        self.sign_next(OFFERS_ROLE, role)
        return True

    def are_due(self) -> bool:
        """Say whether an online role is missing, or is past half of its life."""
        signed = self.signed_names()
        return any(name not in signed or self._is_stale(name) for name in ONLINE)

    def renew(self, *, force: bool = False) -> bool:
        """Bring the online roles up to date; says whether anything had to be signed.

        A role is signed again when what it vouches for changed, when its keys did, or when half
        of its life is over.

        Raises:
            KeyUnavailable: the online key cannot be used from here.
        """
        changed = self.heal()
        if OFFERS_ROLE not in self._files.roles() or force or self._is_stale(OFFERS_ROLE):
            self.sign_next(OFFERS_ROLE, self._read_or_new(OFFERS_ROLE))
        changed |= self._renew_snapshot(force=force)
        return self._renew_timestamp(force=force) or changed

    def renew_offline(self) -> list[str]:
        """Date root, targets and release roles again; names those that were.

        Raises:
            KeyUnavailable: one of their keys cannot be used from here.
        """
        root = self.root()
        self.sign_root(root, root.signed.roles[Root.type])
        names = [name for name in self.names() if name not in {Root.type, *ONLINE}]
        present = self._files.roles()
        for name in names:
            if name in present:
                self.sign_next(name, self._files.read(name, Targets))
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
                self.sign_next(name, role)
                healed = True
        return healed

    # --- one version --------------------------------------------------------------------------

    def put(self, name: str, metadata: Metadata[Any]) -> None:
        """Keep metadata that another copy of this repository signed, as it is."""
        self._files.write(name, metadata)

    def sign_next(self, name: str, metadata: Metadata[T]) -> None:
        """Sign what metadata says as a role's next version, valid from now on.

        Raises:
            KeyUnavailable: too few of the role's keys can be used from here.
        """
        metadata.signed.version = max(metadata.signed.version, self._floor(name)) + 1
        metadata.signed.expires = self._until(name)
        self._write(name, metadata)

    def sign_above(self, name: str, metadata: Metadata[Any], version: int) -> None:
        """Sign what metadata says again, under a version above this one.

        Args:
            name: the role.
            metadata: what it shall say; is changed in place.
            version: the version to go above.

        Raises:
            KeyUnavailable: too few of the role's keys can be used from here.
        """
        metadata.signed.version = version
        self.sign_next(name, metadata)

    def sign_root(self, root: Metadata[Root], old: Role) -> None:
        """Sign the next root, with the keys that it names and with those that the old one named.

        Raises:
            KeyUnavailable: too few of the keys of either can be used from here.
        """
        root.signed.version += 1
        root.signed.expires = self._until(Root.type)
        self._sign(Root.type, root, [old, root.signed.roles[Root.type]])
        self._files.write(Root.type, root)

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
        self.sign_next(Snapshot.type, snapshot)
        return True

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
        self.sign_next(Timestamp.type, timestamp)
        return True

    def _read_or_new(self, name: str) -> Metadata[Targets]:
        if name in self._files.roles():
            return self._files.read(name, Targets)
        return _unsigned(Targets(expires=self._now()))

    def _write(self, name: str, metadata: Metadata[T]) -> None:
        self._sign(name, metadata, [self.role_of(name)])
        self._files.write(name, metadata)

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


def _root_cause(error: BaseException) -> str:
    """Say what went wrong; errors of signing libraries often have no text but their name."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def _unsigned(signed: T) -> Metadata[T]:
    """Metadata whose first signing makes it version 1."""
    signed.version = 0
    return Metadata(signed)


def _delegate(top: Targets, name: str, paths: Sequence[str], keys: Sequence[Key]) -> None:
    delegations = delegations_of(top)
    role = DelegatedRole(name, [], 1, terminating=True, paths=list(paths))
    delegations.roles = {**(delegations.roles or {}), name: role}
    for key in keys:
        top.add_key(key, name)


def _target(path: str, data: bytes, custom: dict[str, Any]) -> TargetFile:
    target = TargetFile.from_data(path, data, ["sha256"])
    if custom:
        target.unrecognized_fields["custom"] = custom
    return target
