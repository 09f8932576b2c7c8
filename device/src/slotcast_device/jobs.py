"""Carrying out what a model's core asks of the disk: jobs, and the short steps between them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from slotcast_device.application.app_report import make_reports_folder
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.payload_codecs import SMALL_CODEC
from slotcast_device.core.plan import Facts
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import SLOT_NAMES
from slotcast_device.core.transfer import transfer_actions
from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.owner.owner import Owner
from slotcast_device.runtime.importing import runnable_formats, runtime_version
from slotcast_device.runtime.undo_speed import undo_bytes_per_s
from slotcast_device.runtime.users import is_there, this_user
from slotcast_device.storage import state_file as records
from slotcast_device.storage.build import build
from slotcast_device.storage.disk import storage_errors
from slotcast_device.storage.early_decode import EarlyDecode
from slotcast_device.storage.encryption_key import ContentKeyFile
from slotcast_device.storage.provisioned import ProvisionedStore
from slotcast_device.storage.slot_files import SlotFiles, SlotsKeyring
from slotcast_device.storage.slots import SlotStore
from slotcast_device.storage.spool import Spool
from slotcast_device.storage.trust_store import verify_notice
from slotcast_device.trial.reference import Reference
from slotcast_device.trial.watcher import Prober, TrialWatcher
from slotcast_schemas import process_memory
from slotcast_schemas.codecs.encrypted import plain_codec
from slotcast_schemas.errors import (
    RefusedRelease,
    SlotcastError,
    SlotDamaged,
    SlotsKeyMissing,
    SlotTampered,
    StateUnreadable,
    StorageFailed,
)
from slotcast_schemas.probe import run_probe
from slotcast_schemas.release_proof import prove_release

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.state import ModelState, ProvisionedRelease, SlotName, SlotRecord
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.verify import Trusted

_LOG: Final = logging.getLogger("slotcast.device")


@dataclass(frozen=True, slots=True)
class SlotFindings:
    """What a look at the slots found."""

    sealed: dict[SlotName, SlotRecord]
    releases: dict[SlotName, Release]
    sound: frozenset[SlotName]
    tampered: dict[SlotName, str] = field(default_factory=dict)


class ModelJobs:
    """The files of one model, and every job that needs them.

    `run` is called from a worker thread, `carry_out` from the agent's; the core never has both
    touch the same thing at once.

    Args:
        config: who this device is.
        model: the model's name.
        disk: the durable layer.
        decodes_ahead: decode a payload while it still comes, in one more thread.
        prober: tries a model; in a child process, unless a simulation says otherwise.
        keyring: gives the slots' key; that of the configuration, unless one is shared.
        waits: how long to wait.
    """

    def __init__(
        self,
        config: DeviceConfig,
        model: str,
        disk: Disk,
        *,
        decodes_ahead: bool = False,
        prober: Prober = run_probe,
        keyring: SlotsKeyring | None = None,
        waits: Waits = USUAL,
    ) -> None:
        self._decodes_ahead = decodes_ahead
        self._ahead: EarlyDecode | None = None
        self._config = config
        self._model = model
        self._disk = disk
        self._folder = config.model_dir(model)
        self._spool: Spool | None = None
        self._keyring = keyring or SlotsKeyring.of(config)
        self._content_key = ContentKeyFile(disk, config.state_dir, self._folder, self._keyring)
        self._slot_files = SlotFiles(disk, self._keyring)
        self.store = SlotStore(disk, self._folder, self._slot_files)
        self._provisioned = ProvisionedStore(disk, self._folder, self._slot_files)
        self.owner = Owner.of(config, waits.owner_again_s)
        self.cancel = threading.Event()
        self._app = self._folder / "app"
        self._watcher = TrialWatcher(
            self.store,
            self._app,
            self.cancel,
            threads=config.values.policy.model_threads,
            commands=config.format_commands(),
            closed=config.closed_to_models(),
            reference=Reference(disk, self._folder / "reference.json"),
            prober=prober,
        )

    @property
    def _record(self) -> Path:
        return self._folder / "state.json"

    # --- short steps ----------------------------------------------------------------------------

    def carry_out(self, action: act.Step) -> None:
        """Do a short step.

        Raises:
            StorageFailed: or a sharper kind.
        """
        match action:
            case transfer_actions.StoreChunk(index, data):
                self._open_spool().store_chunk(index, data)
                if self._ahead is not None:
                    self._ahead.arrived(index, len(data), time.monotonic())
            case transfer_actions.StoreMap(part, data):
                self._open_spool().store_map(part, data)
            case act.SyncSpool():
                self._open_spool().sync()
            case act.DropSpool():
                self._drop_spool()
            case act.Save(state):
                self._disk.make_dir(self.store.folder)  # the record's, and the slots' for a build
                records.save(self._disk, self._record, state)
            case act.Activate() | act.PutBack() | act.SealAgain():
                self._change_slots(action)

    def _change_slots(self, action: act.Activate | act.PutBack | act.SealAgain) -> None:
        match action:
            case act.Activate(slot):
                if slot is not None:
                    self._watcher.expect(slot)
                self.store.activate(slot)
            case act.PutBack(slot):
                self.store.activate(slot)
            case act.SealAgain(slot, release_bytes):
                self.store.seal_again(slot, release_bytes)

    def glance(self, state: ModelState) -> ev.SlotsChanged | None:
        """Look whether `current`, what it opens and the record are there: some system calls.

        Args:
            state: the record as the core has it.

        Returns:
            What is not as the record says; None where all is, or where nothing can be looked at.
        """
        record = state.active_record
        try:
            link = self.store.link()
            is_lost = not link.is_right or link.slot != state.active
            seen = ev.SlotsChanged(
                link=link if is_lost and state.active is not None else None,
                is_damaged=record is not None and not self.store.has_entry(state.active, record),
                is_record_lost=self._disk.size_bytes(self._record) is None,
            )
        except StorageFailed:
            return None
        return seen if seen.link or seen.is_damaged or seen.is_record_lost else None

    def prepare(self) -> None:
        """Make the folder that applications report into, before the agent has threads.

        Raises:
            StorageFailed: it cannot be made. All but trials by live figures works without.
        """
        self._disk.make_dir(self._folder)
        with storage_errors(f"make folder {self._app}"):
            make_reports_folder(self._app)

    def _drop_spool(self) -> None:
        """Remove all that came in: also what a killed run left, of which this one has no spool."""
        self._release_spool()
        self._disk.remove_tree(self._folder / "incoming")
        self._content_key.drop()
        self.store.drop_current_aside()

    def _open_spool(self) -> Spool:
        if self._spool is None:
            raise TypeError("a chunk came before its spool was opened")
        return self._spool

    # --- jobs -----------------------------------------------------------------------------------

    def run(self, job: act.Job) -> object:
        """Do a job and give what its class says.

        Raises:
            SlotcastError: of the kind that says who must act.
        """
        match job:
            case act.Inspect():
                return self._inspect_disk()
            case act.Verify():
                return self._verify_notice(job)
            case act.OpenSpool() | act.ScanSpool() | act.TakeKey() | act.Build():
                return self._run_on_spool(job)
            case act.ProbeSlot():
                return self._watcher.probe(job)
            case act.Watch():
                return self._watcher.watch(job)
            case act.CheckSlot(slot, record):
                self._check_slot(slot, record)
                return None
            case act.AskHook(stage, release):
                return self.owner.ask(stage, release, datetime.now().astimezone())
            case act.KeepProvisioned(slot, record):
                return self._provisioned.keep(self.store, slot, record)
            case act.BuildProvisioned(slot):
                sealed = self._provisioned.build(self.store, slot)
                self._verify_slot(slot, sealed.record)
                return sealed

    def _run_on_spool(self, job: act.OpenSpool | act.ScanSpool | act.TakeKey | act.Build) -> object:
        match job:
            case act.OpenSpool(payload, whole):
                self._release_spool()
                self._spool = Spool(self._disk, self._folder, payload)
                self._spool.open()
                self._ahead = self._make_ahead(self._spool, payload, whole)
                return act.Spooled(self._spool.map_parts(), self._spool.is_empty)
            case act.ScanSpool(_, maps):
                present = self._open_spool().present(maps, self.cancel.is_set)
                if self._ahead is not None:
                    self._ahead.found(present)
                return present
            case act.TakeKey(keys, release):
                self._content_key.take(self._open_spool().chunk(keys.chunk), release)
                return None
            case act.Build(install, trusted, state):
                path = self._folder if self._spool is None else self._spool.data_path
                decoded = None if self._ahead is None else self._ahead.finish()
                key = self._content_key.load(trusted.release)
                build(self.store, install, trusted, state, path, decoded, key)
                return None

    def _make_ahead(
        self, spool: Spool, payload: Payload, whole: Release | None
    ) -> EarlyDecode | None:
        if whole is None or not self._decodes_ahead:
            return None
        folder = spool.data_path.with_name("image")
        key = self._content_key.load(whole)
        return EarlyDecode(
            self._disk, folder, spool.data_path, payload, whole, key, self._slot_files
        )

    def _release_spool(self) -> None:
        """Let go of the spool, and of what reads it."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _sync_names(self) -> None:
        """Make durable what a run that was killed made and did not sync."""
        state_dir = self._config.state_dir
        for folder in (state_dir, state_dir / "models", self._folder, self._folder / "slots"):
            if self._disk.names(folder):
                self._disk.sync_dir(folder)

    def _inspect_disk(self) -> Findings:
        problem: SlotcastError | None = None
        note = ""
        state: ModelState | None = None
        try:
            self._sync_names()
            state = records.load(self._disk, self._record, self._model)
        except StateUnreadable as exc:
            note = f"{exc}; it is kept as {self._record.name}.damaged"
            damaged = self._disk.read(self._record, records.STATE_MAX_BYTES) or b""
            self._disk.write_atomic(self._record.with_name("state.json.damaged"), damaged)
        except SlotcastError as exc:
            problem = exc
        self._require_key(self._known_slots(state))
        look = self._hash_slots(state)
        self._encrypt_what_is_in_the_clear(look)
        link = self.store.link()
        return Findings(
            state=state,
            current=link.slot,
            sealed=look.sealed,
            releases=look.releases,
            sound=look.sound,
            problem=problem,
            note=note,
            link=link,
            tampered=look.tampered,
            provisioned=self._look_at_provisioned(),
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

        Where it is another one, and no slot can be read without, nothing is given up for that: the
        right one may come back.

        Raises:
            SlotsKeyMissing: it cannot be had, or opens no slot.
        """
        used = {
            slot: self.store.key_ids(slot, record)
            for slot, record in known.items()
            if self.store.is_whole(slot, record)
        }
        if not self._keyring.encrypts and not any(used.values()):
            return
        mine = self._keyring.key().key_id
        if used and not any(ids <= {mine} for ids in used.values()):
            slot, ids = next(iter(used.items()))
            raise SlotsKeyMissing(
                f"slot {slot} is encrypted with the key {next(iter(ids - {mine})).hex()}, and"
                f" at_rest.key_file has {mine.hex()}: bring the right one back, or remove"
                f" {self.store.folder}, and the model is fetched anew"
            )

    def _encrypt_what_is_in_the_clear(self, look: SlotFindings) -> None:
        """Encrypt what was installed before the owner asked for it; what has no room stays so."""
        if not self._keyring.encrypts:
            return
        try:
            for slot in sorted(look.sound):
                if self.store.encrypt_in_place(slot, look.sealed[slot]):
                    _LOG.info("%s: slot %s is encrypted now", self._model, slot)
            self._provisioned.encrypt_in_place()
        except StorageFailed as exc:
            _LOG.warning("%s: a slot stays in the clear: %s", self._model, exc)

    def _known_slots(self, state: ModelState | None) -> dict[SlotName, SlotRecord]:
        """Give what each slot says it holds, or else the record, without reading its files."""
        kept = {} if state is None else state.slots
        found = {slot: self.store.found(slot) or kept.get(slot) for slot in SLOT_NAMES}
        return {slot: record for slot, record in found.items() if record is not None}

    def _hash_slots(self, state: ModelState | None) -> SlotFindings:
        """Hash the slots; one that lost its signed release is held against the record."""
        look = SlotFindings({}, {}, frozenset())
        sound: set[SlotName] = set()
        for slot in SLOT_NAMES:
            release = self.store.release(slot)
            record = self.store.found(slot)
            if release is not None:
                look.releases[slot] = release
            elif state is not None:
                record = state.slots.get(slot)
            if record is None:
                continue
            look.sealed[slot] = record
            try:
                self._verify_slot(slot, record)
            except SlotTampered as exc:
                look.tampered[slot] = str(exc)
            except SlotDamaged:
                continue
            else:
                sound.add(slot)
        return SlotFindings(look.sealed, look.releases, frozenset(sound), look.tampered)

    def _verify_slot(self, slot: SlotName, record: SlotRecord) -> None:
        """See that a slot holds what the pinned root vouches for, to the last byte.

        Raises:
            SlotTampered: root does not vouch for what it says it holds.
            SlotDamaged: a file is not what it says.
        """
        self._prove_slot(slot)
        self.store.verify(slot, record)

    def _prove_slot(self, slot: SlotName) -> None:
        """See that the pinned root vouches for what a slot says it holds.

        A slot of a version of this software that kept no proof is taken as it is; the next notice
        of its release is kept as its proof.

        Raises:
            SlotTampered: it does not.
        """
        release_bytes, proof = self.store.release_bytes(slot), self.store.proof(slot)
        if release_bytes is None or proof is None:
            return
        try:
            prove_release(release_bytes, proof, self._model, self._config.pinned_root)
        except RefusedRelease as exc:
            raise SlotTampered(str(exc)) from exc

    def _keep_proof(self, trusted: Trusted) -> None:
        """Keep a notice as proof of a slot that holds its release and has none."""
        with contextlib.suppress(
            StorageFailed
        ):  # it serves without, and the next notice tries again
            for slot in SLOT_NAMES:
                is_its_own = self.store.release_bytes(slot) == trusted.release_bytes
                if is_its_own and self.store.proof(slot) is None:
                    self.store.keep_proof(slot, trusted.notice)

    def _check_slot(self, slot: SlotName | None, known: SlotRecord | None) -> None:
        if slot is None:  # going back to nothing: there is nothing that could be damaged
            return
        record = self.store.found(slot) or known
        if record is None:
            raise SlotDamaged(f"slot {slot} does not hold a release any more")
        self._verify_slot(slot, record)

    def _verify_notice(self, job: act.Verify) -> act.NoticeVerified:
        trusted = verify_notice(
            job.data,
            self._model,
            self._config.pinned_root,
            self._folder / "trust",
            job.signed_time,
        )
        self._keep_proof(trusted)
        facts = self._gather_facts()
        if any(plain_codec(payload) == SMALL_CODEC for payload in trusted.offer.payloads):
            facts = replace(facts, undo_bytes_per_s=undo_bytes_per_s())
        return act.NoticeVerified(trusted, self._add_keys(facts, trusted.release))

    def _add_keys(self, facts: Facts, release: Release) -> Facts:
        """Give the facts with what counts for an encrypted release."""
        if release.encryption is None:
            return facts
        return replace(
            facts,
            recipient=self._content_key.recipient(),
            has_content_key=self._content_key.load(release) is not None,
        )

    def _gather_facts(self) -> Facts:
        values = self._config.values
        return Facts(
            device=values.device,
            tags=values.tags,
            onnxruntime=runtime_version(),
            memory_bytes=process_memory.available_bytes(),
            disk_bytes=self._disk.free_bytes(self._folder),
            spooled_bytes=self._count_spooled_bytes(),
            full_allowed=values.policy.full_allowed,
            image_max_bytes=values.policy.image_max_bytes,
            is_metered=self._is_metered(),
            full_bytes_per_day=values.policy.full_bytes_per_day,
            day=int(time.time()) // 86400,
            formats=runnable_formats(self._config.format_commands()),
            encrypts_slots=self._keyring.encrypts,
        )

    def _is_metered(self) -> bool:
        """Whether somebody (NetworkManager's dispatcher, say) marked the link as costly.

        Where this user may not look it may be, and so it is: money is not spent by mistake.
        """
        name = self._config.values.policy.metered_file
        if name is None:
            return False
        path = self._config.folder / name
        found = is_there(path)
        if found is None:
            _LOG.warning("%s is closed to %s: taken as a metered link", path, this_user())
        return found is not False

    def _count_spooled_bytes(self) -> int:
        incoming = self._folder / "incoming"
        return sum(
            self._disk.size_bytes(incoming / name / "data") or 0
            for name in self._disk.names(incoming)
        )

    def close(self) -> None:
        """End what runs, and let go of files."""
        self.cancel.set()
        self._release_spool()
