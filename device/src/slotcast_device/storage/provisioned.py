"""The release that a device was provisioned with, kept beside the slots.

    provisioned/files/     its files, read-only
    provisioned/notice     the notice that brought it: the pinned root vouches for it by that
    provisioned/release    the signed release; written last: without it nothing is kept

It is read when the owner sets the device back to it, and by nobody else; what a power cut leaves of
a copy that was not finished is removed before the next one.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING, Final

from slotcast_device.core.actions import Kept, SealedSlot
from slotcast_device.core.plan import DISK_MARGIN_BYTES
from slotcast_device.core.state import ProvisionedRelease, record_of
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease, SlotDamaged
from slotcast_schemas.messages import Release

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.core.state import SlotName, SlotRecord
    from slotcast_device.storage.disk import Disk, Image
    from slotcast_device.storage.image_writer import ImageWriter
    from slotcast_device.storage.slots import SlotStore

_COPY_BYTES: Final = 256 * 1024
"""The bytes that are copied at once."""
_IMAGES_FREE: Final = 3
"""How many images' room must be there before one is kept: the copy, and slot and payload of the
next update."""


class ProvisionedStore:
    """The kept release of one model below `folder`.

    Args:
        disk: the durable layer.
        folder: the model's.
        slot_files: how files lie; in the clear where nothing is given.
    """

    def __init__(self, disk: Disk, folder: Path, slot_files: SlotFiles | None = None) -> None:
        self._disk = disk
        self._slot_files = slot_files or SlotFiles(disk)
        self._folder = folder / "provisioned"

    @property
    def _files(self) -> Path:
        return self._folder / "files"

    def found(self) -> ProvisionedRelease | None:
        """Say what is kept, without reading its files; None where nothing is.

        Raises:
            StorageFailed: it cannot be looked at.
        """
        data = self._disk.read(self._folder / "release", limits.TARGET_MAX_BYTES)
        if data is None:
            return None
        try:
            return _name_of(data)
        except RefusedRelease:
            return None

    def remove(self) -> None:
        """Remove what is kept: the release first, without which the files are nothing."""
        if self._disk.is_dir(self._folder):
            if self._disk.read_link(self._folder) is None:
                self._disk.remove_tree(self._folder / "release")
            self._disk.remove_tree(self._folder)

    def keep(self, store: SlotStore, slot: SlotName, record: SlotRecord) -> Kept:
        """Copy what a slot holds, each file hashed as it is written.

        Args:
            store: the model's slots.
            slot: the active one.
            record: what it holds.

        Returns:
            What is kept; or why nothing is.

        Raises:
            PayloadCorrupt: a file of the slot is not the signed one.
            SlotDamaged: or it cannot be read.
            StorageFailed: the disk does not take the copy.
        """
        release_bytes, notice = store.release_bytes(slot), store.proof(slot)
        if release_bytes is None or notice is None:
            return Kept(None, f"slot {slot} has no proof of its release; the next notice brings it")
        free = self._disk.free_bytes(store.folder)
        if free < _IMAGES_FREE * record.size_bytes + DISK_MARGIN_BYTES:
            return Kept(None, f"{free} bytes are free, too few beside the next update")
        self.remove()
        release = wire.decode(release_bytes, Release)
        self._disk.make_own_dir(self._folder)
        self._disk.make_dir(self._files)
        for file in release.files:
            target = self._files / file.path
            self._disk.make_dir(target.parent)
            self._slot_files.copy(store.path(slot) / file.path, target, file)
        self._seal_files(release)
        self._disk.write_atomic(self._folder / "notice", notice)
        self._disk.write_atomic(self._folder / "release", release_bytes)
        return Kept(_name_of(release_bytes))

    def _seal_files(self, release: Release) -> None:
        """Make files read-only and their names durable, the innermost folder first."""
        folders = {self._files}
        for file in release.files:
            path = self._files / file.path
            self._disk.make_read_only(path)
            folders |= {folder for folder in path.parents if folder.is_relative_to(self._files)}
        for folder in sorted(folders, key=lambda f: len(f.parts), reverse=True):
            self._disk.sync_dir(folder)

    def encrypt_in_place(self) -> bool:
        """Encrypt what is kept in the clear; say if there was any.

        Raises:
            SlotsKeyMissing: the key cannot be had.
            StorageFailed: the disk does not take it; each file is as it was, or encrypted.
        """
        data = self._disk.read(self._folder / "release", limits.TARGET_MAX_BYTES)
        if data is None:
            return False
        try:
            files = wire.decode(data, Release).files
        except RefusedRelease:
            return False
        there = [file for file in files if self._disk.size_bytes(self._files / file.path)]
        changed = [self._slot_files.encrypt_in_place(self._files / f.path, f) for f in there]
        return any(changed)

    def build(self, store: SlotStore, slot: SlotName) -> SealedSlot:
        """Build the kept release into a slot that is not active, each file hashed, and seal it.

        Args:
            store: the model's slots.
            slot: the one to write.

        Raises:
            SlotDamaged: nothing whole is kept.
            PayloadCorrupt: a kept file is not the signed one.
            StorageFailed: the disk does not take it.
        """
        release_bytes = self._disk.read(self._folder / "release", limits.TARGET_MAX_BYTES)
        notice = self._disk.read(self._folder / "notice", limits.NOTICE_MAX_BYTES)
        if release_bytes is None or notice is None:
            raise SlotDamaged("the provisioned release or its proof is gone")
        release = wire.decode(release_bytes, Release)
        record = record_of(release, hashlib.sha256(release_bytes).digest())
        files = [(self._files / file.path, file) for file in release.files]
        with contextlib.closing(self._slot_files.open_image(files)) as image:
            store.clear(slot)
            _copy(image, store.build(slot, release))
        store.seal(slot, release_bytes, notice)
        return SealedSlot(record, release)


def _name_of(release_bytes: bytes) -> ProvisionedRelease:
    release = wire.decode(release_bytes, Release)
    return ProvisionedRelease(
        version=release.version,
        sequence=release.sequence,
        release_sha256=hashlib.sha256(release_bytes).digest(),
    )


def _copy(image: Image, writer: ImageWriter) -> None:
    try:
        for offset in range(0, image.size_bytes, _COPY_BYTES):
            writer.write(image.read_at(offset, min(_COPY_BYTES, image.size_bytes - offset)))
        writer.finish()
    finally:
        writer.abort()
