"""Signs one set of the roles of docs/trust.md with python-tuf, unmodified; renews and heals them.

Decides what each role says and when it must be signed again. Reading is left to `role_reading`,
changes of keys to `ceremonies`, where keys and files are to `keys` and `metadata_files`.
Each step writes one whole file, and `heal` signs again whatever the keys of the day no longer
vouch for: so a command that was stopped between two steps is simply run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from securesystemslib.signer import Key
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

from slotcast_publisher.errors import Conflict
from slotcast_publisher.trust import clock
from slotcast_publisher.trust.metadata_files import MetadataFiles
from slotcast_publisher.trust.role_reading import (
    MODEL,
    ONLINE,
    RECIPIENTS,
    SIGNED_AT,
    TOP_LEVEL,
    SignedRoles,
    delegations_of,
    sequence_of,
    version_in,
)
from slotcast_publisher.trust.signing_means import SigningMeans, T
from slotcast_schemas.floor_word import FLOORS, FloorWord
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

RELEASES_BEFORE_MAX: Final = 16
"""The number of releases that a release role goes on listing where the newest of them are offered
already; some 150 bytes each, in every notice."""

VERSIONS_KEPT: Final = 10
"""The number of versions of each role that are kept: what a broker has must be here, so that it can
be told from what another copy of the repository signed."""


class Roles(SignedRoles):
    """One set of signed roles, and the keys and the clock to sign more.

    Args:
        files: where the signed metadata is.
        means: what it is signed with.
        model: the model that the set speaks for alone; None for the set that models may share.
        shared: that set, of which the model may once have been.
    """

    def __init__(
        self,
        files: MetadataFiles,
        means: SigningMeans,
        model: str | None = None,
        shared: SignedRoles | None = None,
    ) -> None:
        super().__init__(files, model, shared)
        self._means = means
        self._now = means.now
        self._clock_is_right = means.clock_is_right
        self._last_signed = means.signed_at

    def signing_time(self) -> datetime:
        """Give the time to sign with.

        Raises:
            ClockWrong: this machine's clock cannot be right.
        """
        shared = None if self._shared is None else self._shared.signed_at()
        known = [when for when in (self.signed_at(), self._last_signed.read(), shared) if when]
        last = max(known, default=None)
        return clock.signing_time(self._now(), last, is_right=self._clock_is_right)

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
        self._means.sign(Root.type, first, [signed.roles[Root.type]], signed.keys)
        self._files.write(Root.type, first)
        delegations = Delegations(keys={}, roles={})
        top = Targets(version=1, expires=self._until(Targets.type), delegations=delegations)
        _delegate(top, OFFERS_ROLE, OFFERS_PATHS, [online], 1)
        self._write(Targets.type, Metadata(top))
        self.renew()

    def delegate(self, online: tuple[list[Key], int], releases: tuple[list[Key], int]) -> None:
        """Sign targets that let these keys speak for the one model of this set.

        Args:
            online: the keys of the offers role, and how many of them must sign.
            releases: the same of the model's release role.

        Raises:
            KeyUnavailable: the targets key cannot be used from here.
        """
        model = self._model or ""
        top = _unsigned(Targets(expires=self._now(), delegations=Delegations(keys={}, roles={})))
        top.signed.unrecognized_fields[MODEL] = model
        _say_floor(top.signed, model, self._shared.floor_word(model) if self._shared else None)
        _delegate(top.signed, OFFERS_ROLE, OFFERS_PATHS, *online)
        _delegate(top.signed, release_role(model), release_paths(model), *releases)
        self.sign_next(Targets.type, top)

    def take_over(self, shared: SignedRoles) -> None:
        """Sign for the one model of this set what the shared set says of it, above its versions.

        The timestamp goes last: until it is there, the shared set speaks for the model.

        Raises:
            KeyUnavailable: the targets or the online key cannot be used from here.
        """
        model = self._model or ""
        self.delegate(shared.keys_of(OFFERS_ROLE), shared.keys_of(release_role(model)))
        name = release_role(model)
        if shared.newest_version(name):
            self.put(name, shared.newest(name))
        offers = self._read_or_new(OFFERS_ROLE)
        offer = shared.signed_offer(model)
        offers.signed.targets = {} if offer is None else {offer.path: offer}
        self.sign_next(OFFERS_ROLE, offers)
        self.renew()

    def let_go(self) -> None:
        """Sign that the shared set speaks for no model any more.

        Raises:
            KeyUnavailable: the targets or the online key cannot be used from here.
        """
        top, offers = self.targets(), self._files.read(OFFERS_ROLE, Targets)
        delegations = delegations_of(top.signed)
        for name in [n for n in delegations.roles or {} if n != OFFERS_ROLE]:
            for keyid in list(top.signed.get_delegated_role(name).keyids):
                top.signed.revoke_key(keyid, name)
            del (delegations.roles or {})[name]
        self.sign_next(Targets.type, top)
        offers.signed.targets = {}
        self.sign_next(OFFERS_ROLE, offers)
        self.renew()

    def move_floor(self, model: str, word: FloorWord) -> None:
        """Sign which sequences of a model count, and have notices carry it.

        Raises:
            KeyUnavailable: the targets or the online key cannot be used from here.
        """
        top = self.targets()
        _say_floor(top.signed, model, word)
        self.sign_next(Targets.type, top)
        self.renew()

    # --- everyday -----------------------------------------------------------------------------

    def add_release(
        self, model: str, version: str, data: bytes, sequence: int, *, offered: int = 0
    ) -> bool:
        """Sign a release; says whether that was new. A signed release never changes.

        Args:
            model: the model's name.
            version: the release's version.
            data: the bytes that devices get.
            sequence: the release's place in the order of the model's releases.
            offered: the sequence of what is offered now; what is below it is never offered again.

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
        signed = sorted(role.signed.targets.values(), key=lambda t: self._order(model, t))
        newest = signed[-RELEASES_SIGNED_MAX:]
        kept = [t for t in newest[:-RELEASES_BEFORE_MAX] if sequence_of(t) >= max(1, offered)]
        kept += newest[-RELEASES_BEFORE_MAX:]
        role.signed.targets = {target.path: target for target in kept}
        self.sign_next(name, role)
        return True

    def sign_recipients(self, model: str, digest: bytes) -> bool:
        """Sign for whom a model's releases are encrypted; says whether that was new.

        Raises:
            KeyUnavailable: the model's release key cannot be used from here.
        """
        name = release_role(model)
        role = self._read_or_new(name)
        if role.signed.unrecognized_fields.get(RECIPIENTS) == digest.hex():
            return False
        role.signed.unrecognized_fields[RECIPIENTS] = digest.hex()
        self.sign_next(name, role)
        return True

    def _order(self, model: str, target: TargetFile) -> tuple[bool, int]:
        """Say where a release stands among a model's: those that count no more come first."""
        word, sequence = self.floor_word(model), sequence_of(target)
        return word is None or word.counts(sequence), sequence

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

    def renewal_due(self) -> datetime:
        """Say when the first online role is past half of its life; now if one is missing."""
        signed = self.signed_names()
        if any(name not in signed for name in ONLINE):
            return self._now()
        return min(self.expires(name) - self._means.life(name) / 2 for name in ONLINE)

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
        """Date targets and release roles again; names those that were.

        Raises:
            KeyUnavailable: one of their keys cannot be used from here.
        """
        names = [name for name in self.names() if name not in {Root.type, *ONLINE}]
        present = self._files.roles()
        for name in names:
            if name in present:
                self.sign_next(name, self._files.read(name, Targets))
        return names

    def renew_root(self) -> None:
        """Date the root again, which all sets have in common.

        Raises:
            KeyUnavailable: too few of its keys can be used from here.
        """
        root = self.root()
        self.sign_root(root, root.signed.roles[Root.type])

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
        metadata.signed.version = max(metadata.signed.version, self.floor(name)) + 1
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
        publics = {**root.signed.keys, **self.root().signed.keys}
        self._means.sign(Root.type, root, [old, root.signed.roles[Root.type]], publics)
        self._files.write(Root.type, root)

    def prune(self, keep: int = VERSIONS_KEPT) -> None:
        """Remove old metadata, but no root: the chain is needed for ever."""
        for name in self._files.roles() - {Root.type}:
            self._files.prune(name, keep)

    # --- one role -----------------------------------------------------------------------------

    def _renew_snapshot(self, *, force: bool) -> bool:
        present = self.snapshot()
        names = [n for n in self.names() if n not in {Root.type, Snapshot.type, Timestamp.type}]
        versions = self._names_to_keep()
        for name in names:
            before = max(versions.get(name, 0), version_in(present, name))
            versions[name] = max(before, self.newest_version(name))
        meta = {f"{name}.json": MetaFile(v) for name, v in versions.items() if v}
        if present is None:
            snapshot = _unsigned(Snapshot(expires=self._now()))
        else:
            snapshot = self._files.read(Snapshot.type, Snapshot)
            vouched = self._is_vouched(Snapshot.type, snapshot)
            same = present.meta == meta and vouched
            if same and not force and not self._is_stale(Snapshot.type):
                return False
        snapshot.signed.meta = meta
        self.sign_next(Snapshot.type, snapshot)
        return True

    def _names_to_keep(self) -> dict[str, int]:
        """Give the names that devices saw, those of the set that this one is about to leave too."""
        found = self.names_seen()
        if self._shared is not None and self.was_shared() and not self.is_announced():
            for name, version in self._shared.names_seen().items():
                found[name] = max(found.get(name, 0), version)
        return found

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
        signed_at = self.signing_time()
        timestamp.signed.unrecognized_fields[SIGNED_AT] = signed_at.isoformat(timespec="seconds")
        self.sign_next(Timestamp.type, timestamp)
        self._last_signed.write(signed_at)
        return True

    def _read_or_new(self, name: str) -> Metadata[Targets]:
        if name in self._files.roles():
            return self._files.read(name, Targets)
        return _unsigned(Targets(expires=self._now()))

    def _write(self, name: str, metadata: Metadata[T]) -> None:
        role = self.role_of(name)
        is_top = name in TOP_LEVEL
        publics = self.root().signed.keys if is_top else delegations_of(self.targets().signed).keys
        self._means.sign(name, metadata, [role], publics)
        self._files.write(name, metadata)

    def _is_stale(self, name: str) -> bool:
        left = self.expires(name) - self._now()
        return left < self._means.life(name) / 2

    def _until(self, name: str) -> datetime:
        return (self.signing_time() + self._means.life(name)).replace(microsecond=0)


def _unsigned(signed: T) -> Metadata[T]:
    """Metadata whose first signing makes it version 1."""
    signed.version = 0
    return Metadata(signed)


def _delegate(
    top: Targets, name: str, paths: Sequence[str], keys: Sequence[Key], threshold: int
) -> None:
    delegations = delegations_of(top)
    role = DelegatedRole(name, [], threshold, terminating=True, paths=list(paths))
    delegations.roles = {**(delegations.roles or {}), name: role}
    for key in keys:
        top.add_key(key, name)


def _say_floor(top: Targets, model: str, word: FloorWord | None) -> None:
    if word is not None:
        words = dict(top.unrecognized_fields.get(FLOORS, {}))
        top.unrecognized_fields[FLOORS] = {**words, model: msgspec.to_builtins(word)}


def _target(path: str, data: bytes, custom: dict[str, Any]) -> TargetFile:
    target = TargetFile.from_data(path, data, ["sha256"])
    if custom:
        target.unrecognized_fields["custom"] = custom
    return target
