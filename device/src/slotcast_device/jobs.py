"""Carrying out what a model's core asks of the disk: jobs, and the short steps between them."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from slotcast_device.application.app_report import make_reports_folder
from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.payload_codecs import SMALL_CODEC
from slotcast_device.core.plan import Facts
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
from slotcast_device.storage.inspection import SlotInspection
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
    StorageFailed,
)
from slotcast_schemas.probe import run_probe

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.state import ModelState
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload

_LOG: Final = logging.getLogger("slotcast.device")


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
        self._inspection = SlotInspection(
            config, model, disk, self.store, self._provisioned, self._keyring
        )
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
        return records.path_in(self._folder)

    # --- short steps ----------------------------------------------------------------------------

    def store_chunk(self, chunk: transfer_actions.StoreChunk) -> None:
        """Write a chunk that was collected; the decoder may have it.

        Raises:
            StorageFailed: or a sharper kind.
        """
        self._open_spool().store_chunk(chunk.index, chunk.data)
        if self._ahead is not None:
            self._ahead.arrived(chunk.index, len(chunk.data), time.monotonic())

    def carry_out(self, action: act.Step) -> None:
        """Do a short step.

        Raises:
            StorageFailed: or a sharper kind.
        """
        match action:
            case transfer_actions.StoreChunk():
                self.store_chunk(action)
            case transfer_actions.StoreMap(part, data):
                self._open_spool().store_map(part, data)
            case act.SyncSpool():
                self._open_spool().sync()
            case act.DropSpool():
                self._drop_spool()
            case act.Save(state):
                # The folder of the record, and that of the slots for a build.
                self._disk.make_own_dir(self.store.folder)
                records.save(self._disk, self._record, state)
            case act.Activate() | act.PutBack():
                self._change_slots(action)

    def _change_slots(self, action: act.Activate | act.PutBack) -> None:
        match action:
            case act.Activate(slot):
                if slot is not None:
                    self._watcher.expect(slot)
                self.store.activate(slot)
            case act.PutBack(slot):
                self.store.activate(slot)

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
        for folder in (self._folder.parent, self._folder):
            self._disk.make_dir_beside(folder)
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
        if not isinstance(job, act.Watch):
            self._watcher.drop_copy()  # kept by a probe after which no switch came at once
        return self._do_job(job)

    def _do_job(self, job: act.Job) -> object:
        match job:
            case act.Inspect():
                return self._inspection.inspect()
            case act.Verify():
                return self._verify_notice(job)
            case act.OpenSpool() | act.ScanSpool() | act.TakeKey() | act.Build():
                return self._run_on_spool(job)
            case act.ProbeSlot():
                return self._watcher.probe(job)
            case act.Watch():
                return self._watcher.watch(job)
            case act.CheckSlot(slot, record):
                self._inspection.check(slot, record)
                return None
            case act.AskHook(stage, release):
                return self.owner.ask(stage, release, datetime.now().astimezone())
            case act.KeepProvisioned(slot, record):
                return self._provisioned.keep(self.store, slot, record)
            case act.BuildProvisioned(slot):
                sealed = self._provisioned.build(self.store, slot)
                self._inspection.verify(slot, sealed.record)
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
                decoded = None
                if self._ahead is not None:
                    self.store.prepare_seal(install.slot, trusted.release_bytes, trusted.notice)
                    decoded = self._ahead.finish()
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

    def _verify_notice(self, job: act.Verify) -> act.NoticeVerified:
        trusted = verify_notice(
            job.data,
            self._model,
            self._config.pinned_root,
            self._config.trust_dir(self._model),
            job.signed_time,
        )
        proves_slot = self._inspection.keep_proof(trusted)
        facts = self._gather_facts()
        if any(plain_codec(payload) == SMALL_CODEC for payload in trusted.offer.payloads):
            facts = replace(facts, undo_bytes_per_s=undo_bytes_per_s())
        facts = self._add_keys(facts, trusted.release)
        return act.NoticeVerified(trusted, facts, proves_slot=proves_slot)

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

        Where this user may not look, it counts as marked: no money is spent by mistake.
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
        self._watcher.drop_copy()
        self._release_spool()
