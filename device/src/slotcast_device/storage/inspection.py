"""Looking at a model's slots: at a start, before a way back, and when a release is vouched for.

A start trusts no record: what each slot says it holds is read, hashed to the last byte, and held
against the pinned root. Whether a slot is whole, `slots` says. What is found goes to
`core.recovery`, which decides.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import SLOT_NAMES
from slotcast_device.storage import state_file as records
from slotcast_device.storage.kept_metadata import notice_from_kept
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    RefusedRelease,
    SlotcastError,
    SlotDamaged,
    SlotsKeyMissing,
    SlotTampered,
    StateUnreadable,
    StateUnwritable,
    StorageFailed,
)
from slotcast_schemas.messages import Notice
from slotcast_schemas.release_proof import prove_release

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.state import ModelState, ProvisionedRelease, SlotName, SlotRecord
    from slotcast_device.storage.disk import Disk
    from slotcast_device.storage.provisioned import ProvisionedStore
    from slotcast_device.storage.slot_files import SlotsKeyring
    from slotcast_device.storage.slots import SlotStore
    from slotcast_schemas.messages import Release
    from slotcast_schemas.verify import Trusted

_LOG: Final = logging.getLogger("slotcast.device")


class _SlotFindings(msgspec.Struct):
    """What a look at the slots found."""

    sealed: dict[SlotName, SlotRecord] = msgspec.field(default_factory=dict)
    releases: dict[SlotName, Release] = msgspec.field(default_factory=dict)
    sound: set[SlotName] = msgspec.field(default_factory=set)
    tampered: dict[SlotName, str] = msgspec.field(default_factory=dict)


class SlotInspection:
    """Looks at what one model has on disk.

    Args:
        config: who this device is.
        model: the model's name.
        disk: the durable layer.
        store: the model's slots.
        provisioned: the release that the owner may set the device back to.
        keyring: gives the slots' key.
    """

    def __init__(
        self,
        config: DeviceConfig,
        model: str,
        disk: Disk,
        store: SlotStore,
        provisioned: ProvisionedStore,
        keyring: SlotsKeyring,
    ) -> None:
        self._config = config
        self._model = model
        self._disk = disk
        self._folder = config.model_dir(model)
        self._store = store
        self._provisioned = provisioned
        self._keyring = keyring

    @property
    def _record(self) -> Path:
        return records.path_in(self._folder)

    def inspect(self) -> Findings:
        """Read the record, hash the slots, and say what is there.

        Raises:
            SlotsKeyMissing: the slots' key is needed and is not there, or is another.
            StorageFailed: a slot cannot be read.
        """
        problem: SlotcastError | None = None
        note = ""
        state: ModelState | None = None
        try:
            self._see_folders()
            self._sync_names()
            state = records.load(self._disk, self._record, self._model)
        except StateUnreadable as exc:
            note = f"{exc}; it is kept as {self._record.name}.damaged"
            damaged = self._disk.read(self._record, records.STATE_MAX_BYTES) or b""
            self._disk.write_atomic(self._record.with_name(f"{self._record.name}.damaged"), damaged)
        except SlotcastError as exc:
            if self._take_away_what_is_no_record():
                note = f"{exc}; it was taken away"
            else:
                problem = exc
        self._require_key(self._known_slots(state))
        look = self._hash_slots(state)
        self._encrypt_what_is_in_the_clear(look)
        link = self._store.link()
        return Findings(
            state=state,
            current=link.slot,
            sealed=look.sealed,
            releases=look.releases,
            sound=frozenset(look.sound),
            problem=problem,
            note=note,
            link=link,
            tampered=look.tampered,
            provisioned=self._look_at_provisioned(),
        )

    def _take_away_what_is_no_record(self) -> bool:
        """Remove what is no file in the record's place; say whether there was such a thing.

        A stranger put it there: without a record nothing is begun, so that what he changed would
        go on serving.
        """
        if not self._disk.holds_no_file(self._record, records.STATE_MAX_BYTES):
            return False
        self._disk.remove_tree(self._record)
        return True

    def _sync_names(self) -> None:
        """Make durable what a run that was killed made and did not sync."""
        state_dir = self._config.state_dir
        for folder in (state_dir, state_dir / "models", self._folder, self._folder / "slots"):
            if self._disk.names(folder):
                self._disk.sync_dir(folder)

    def _see_folders(self) -> None:
        """See that the model's folder is one, or can be made.

        Raises:
            StorageFailed: a link to no folder is in its place, which may be the owner's.
        """
        for folder in (self._folder.parent, self._folder):
            if self._disk.is_no_dir(folder):
                raise StorageFailed(
                    f"{folder}: expected a folder, or a link to one; remove what is there, or mount"
                    " what the link leads to"
                )

    def _look_at_provisioned(self) -> ProvisionedRelease | None:
        """Say what is kept to be set back to; where the owner wants none, remove it."""
        with contextlib.suppress(StorageFailed):
            if self._config.values.policy.keep_provisioned:
                return self._provisioned.found()
            self._provisioned.remove()
        return None

    def _require_key(self, known: Mapping[SlotName, SlotRecord]) -> None:
        """See that the slots' key can be had, where it is needed, and is the one they were made by.

        With another key no slot can be read; none is given up for that, since the right key may
        come back.

        Raises:
            SlotsKeyMissing: it cannot be had, or opens no slot.
        """
        used: dict[SlotName, frozenset[bytes]] = {}
        for slot, record in known.items():
            with contextlib.suppress(StateUnwritable):  # who hashes the slots says so
                if self._store.is_whole(slot, record):
                    used[slot] = self._store.key_ids(slot, record)
        if not self._keyring.encrypts and not any(used.values()):
            return
        mine = self._keyring.key().key_id
        if used and not any(ids <= {mine} for ids in used.values()):
            slot, ids = next(iter(used.items()))
            raise SlotsKeyMissing(
                f"slot {slot} is encrypted with the key {next(iter(ids - {mine})).hex()}, and"
                f" at_rest.key_file has {mine.hex()}: bring the right one back, or remove"
                f" {self._store.folder}, and the model is fetched anew"
            )

    def _encrypt_what_is_in_the_clear(self, look: _SlotFindings) -> None:
        """Encrypt what was installed before the owner asked for it; what has no room stays so."""
        if not self._keyring.encrypts:
            return
        try:
            for slot in sorted(look.sound):
                if self._store.encrypt_in_place(slot, look.sealed[slot]):
                    _LOG.info("%s: slot %s is encrypted now", self._model, slot)
            self._provisioned.encrypt_in_place()
        except StorageFailed as exc:
            _LOG.warning("%s: a slot stays in the clear: %s", self._model, exc)

    def _known_slots(self, state: ModelState | None) -> dict[SlotName, SlotRecord]:
        """Give what each slot says it holds, or else the record, without reading its files."""
        kept = {} if state is None else state.slots
        found: dict[SlotName, SlotRecord] = {}
        for slot in SLOT_NAMES:
            record = kept.get(slot)
            with contextlib.suppress(StateUnwritable):  # who hashes the slots says so
                record = self._store.found(slot) or record
            if record is not None:
                found[slot] = record
        return found

    def _hash_slots(self, state: ModelState | None) -> _SlotFindings:
        """Hash the slots; one that the agent's rights do not let it read does not count.

        Raises:
            StorageFailed: storage fails: nothing is given up for that, it may be read in a moment.
        """
        look = _SlotFindings()
        for slot in SLOT_NAMES:
            try:
                self._look_at(slot, state, look)
            except StateUnwritable as exc:  # all that is ours may be read by us
                _LOG.warning("%s: slot %s does not count: %s", self._model, slot, exc)
        return look

    def _look_at(self, slot: SlotName, state: ModelState | None, look: _SlotFindings) -> None:
        """Hash a slot; one that lost its signed release is held against the record.

        Raises:
            StorageFailed: it cannot be read.
        """
        known = None if state is None else state.slots.get(slot)
        self._bring_back_release(slot, known)
        self._bring_back_proof(slot)
        release, record = self._store.release(slot), self._store.found(slot) or known
        if release is not None:
            look.releases[slot] = release
        if record is None:
            return
        look.sealed[slot] = record
        try:
            self.verify(slot, record)
        except SlotTampered as exc:
            look.tampered[slot] = str(exc)
        except SlotDamaged:
            return
        else:
            look.sound.add(slot)

    def verify(self, slot: SlotName, record: SlotRecord) -> None:
        """See that a slot holds what the pinned root vouches for, to the last byte.

        Raises:
            SlotTampered: root does not vouch for what it says it holds.
            SlotDamaged: a file is not what it says.
        """
        self._prove_slot(slot)
        self._store.verify(slot, record)

    def _prove_slot(self, slot: SlotName) -> None:
        """See that the pinned root vouches for what a slot says it holds.

        Where nothing says so, nobody knows who wrote the slot: who changes it can also delete what
        lies beside it. The next notice of its release is kept as its proof.

        Raises:
            SlotTampered: it does not.
        """
        release_bytes, proof = self._store.release_bytes(slot), self._store.proof(slot)
        if release_bytes is None or proof is None:
            gone = f"slots/{slot}.{'release' if release_bytes is None else 'notice'}"
            raise SlotTampered(f"nothing vouches for it: {gone} is gone")
        try:
            prove_release(release_bytes, proof, self._model, self._config.pinned_root)
        except RefusedRelease as exc:
            raise SlotTampered(str(exc)) from exc

    def keep_proof(self, trusted: Trusted) -> bool:
        """Keep a notice as proof of a slot that holds its release and has none; say if it was."""
        kept = False
        with contextlib.suppress(StorageFailed):  # the next notice tries again
            for slot in SLOT_NAMES:
                is_its_own = self._store.release_bytes(slot) == trusted.release_bytes
                if is_its_own and self._store.proof(slot) is None:
                    self._store.keep_proof(slot, trusted.notice)
                    kept = True
        return kept

    def _bring_back_release(self, slot: SlotName, known: SlotRecord | None) -> None:
        """Write the signed release of a slot that lost it, if the notice beside it has it.

        Done only for a slot that the record names; the files of another are being removed.
        """
        proof = self._store.proof(slot)
        if known is None or proof is None or self._store.release_bytes(slot) is not None:
            return
        with contextlib.suppress(RefusedRelease, StorageFailed):  # it stays unproven
            for data in wire.decode(proof, Notice).targets.values():
                if hashlib.sha256(data).digest() == known.release_sha256:
                    self._store.seal_again(slot, data)

    def _bring_back_proof(self, slot: SlotName) -> None:
        """Keep what TUF's client has seen as the proof of a slot without one, if it vouches for it.

        It does for a slot of software that kept no notice, and for most whose notice was deleted.
        """
        release_bytes = self._store.release_bytes(slot)
        if release_bytes is None or self._store.proof(slot) is not None:
            return
        with contextlib.suppress(RefusedRelease, StorageFailed):  # it stays unproven
            trust_dir = self._config.trust_dir(self._model)
            notice = notice_from_kept(self._disk, trust_dir, self._model, release_bytes)
            if notice is not None:
                prove_release(release_bytes, notice, self._model, self._config.pinned_root)
                self._store.keep_proof(slot, notice)

    def check(self, slot: SlotName | None, known: SlotRecord | None) -> None:
        """See that a slot can be gone back to.

        Args:
            slot: None goes back to nothing.
            known: what the record says that it holds, should the slot not say it.

        Raises:
            SlotDamaged: it holds no release, or not what it says.
            SlotTampered: the pinned root does not vouch for it.
        """
        if slot is None:  # going back to nothing: there is nothing that could be damaged
            return
        record = self._store.found(slot) or known
        if record is None:
            raise SlotDamaged(f"slot {slot} does not hold a release any more")
        self.verify(slot, record)
