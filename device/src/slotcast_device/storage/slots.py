"""The A/B pair of slots of one model, and `current`, the link that an application opens.

    slots/a/ slots/b/    files of a release, read-only once complete
    slots/a.release      the signed release that the slot holds: rebuilds a lost state record
    slots/a.notice       the notice that brought it: proves at each start that root vouches for it
    current -> slots/a   relative, replaced in one step
    current.aside        what somebody put in its place, until the next update

The slot that `current` opens is never written. Which slot that is, when to switch and what to
remember is decided in `core`; this module carries it out and checks that bytes are what they
should be. What a power cut leaves between any two steps is in docs/power-loss.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.core.recovery import NO_LINK, CurrentLink
from slotcast_device.core.state import SLOT_NAMES, SlotName, SlotRecord, record_of
from slotcast_device.storage.disk import Disk, Image
from slotcast_device.storage.image_writer import ImageWriter
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease, SlotDamaged, StorageFailed
from slotcast_schemas.messages import Release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slotcast_device.storage.slot_files import HeldFile


_READ_BYTES: Final = 256 * 1024
"""The bytes that are read and hashed at once."""


class SlotStore:
    """The slots of one model below `folder`.

    Args:
        disk: the durable layer.
        folder: the model's.
        slot_files: how files lie in the slots; in the clear where nothing is given.

    Attributes:
        folder: where the slots are.
    """

    def __init__(self, disk: Disk, folder: Path, slot_files: SlotFiles | None = None) -> None:
        self._disk = disk
        self._folder = folder
        self.folder = folder / "slots"
        self.slot_files = slot_files or SlotFiles(disk)
        self._prepared: dict[str, bytes] = {}  # what `prepare_seal` wrote, by name

    def path(self, slot: SlotName) -> Path:
        """Give the folder of a slot."""
        return self.folder / slot

    def current(self) -> SlotName | None:
        """Give the slot that `current` names, None where it names none.

        Raises:
            StorageFailed: nothing can be looked at there.
        """
        return self.link().slot

    def link(self) -> CurrentLink:
        """Say what is in the place of `current`, and which slot it names.

        Raises:
            StorageFailed: nothing can be looked at there.
        """
        path = self._folder / "current"
        target = self._disk.read_link(path)
        if target is None:
            return self._look_in_the_way(path)
        named = posixpath.normpath(posixpath.join(self._folder, target))
        for name in SLOT_NAMES:
            if named == str(self.path(name)):
                return CurrentLink(name, f"a link to {target!r}", target == f"slots/{name}")
        return CurrentLink(None, f"a link to {target!r}")

    def _look_in_the_way(self, path: Path) -> CurrentLink:
        if self._disk.is_dir(path):
            return CurrentLink(None, "a folder", has_files=True)
        if self._disk.size_bytes(path) is not None:
            return CurrentLink(None, "a file", has_files=True)
        return NO_LINK

    def activate(self, slot: SlotName | None) -> None:
        """Point `current` at a slot in one durable step, or take it away where slot is None.

        A plain file or folder in its place (of a copy without links, say) is not removed, for it
        may be in use: it is renamed to `current.aside`.
        """
        path = self._folder / "current"
        if self.link().has_files:
            self._disk.remove_tree(self._current_aside)
            self._disk.rename(path, self._current_aside)
        if slot is None:
            self._disk.remove_link(path)
        else:
            self._disk.replace_link(path, f"slots/{slot}")

    @property
    def _current_aside(self) -> Path:
        return self._folder / "current.aside"

    def drop_current_aside(self) -> None:
        """Remove what was in the place of `current`; where it is another's, it stays."""
        with contextlib.suppress(StorageFailed):
            self._disk.remove_tree(self._current_aside)

    def clear(self, slot: SlotName) -> None:
        """Empty a slot: remove its release, then its files; the sync of the new folder covers both.

        Half a slot is never believed, for a start hashes a slot before it believes its release.

        Raises:
            SlotDamaged: the slot is the one that `current` opens; the caller is wrong.
        """
        self._remove_slot(slot)
        self._disk.make_dir(self.path(slot))

    def _remove_slot(self, slot: SlotName) -> None:
        if self.current() == slot:
            raise SlotDamaged(f"slot {slot} is active and will not be written")
        self._disk.make_own_dir(self.folder)
        self._disk.remove_tree(self.folder / f"{slot}.release")
        self._disk.remove_tree(self.folder / f"{slot}.notice")
        self._disk.remove_tree(self.path(slot))

    def set_aside(self, slot: SlotName, files: Mapping[bytes, str]) -> dict[bytes, Path]:
        """Move files out of a slot that is about to be emptied; give where they are, by digest.

        What a power cut leaves there is removed by the next `Spool.open`, and fetched again.
        """
        kept: dict[bytes, Path] = {}
        folder = self._aside
        if files:
            self._disk.make_dir(folder)
        for digest, path in files.items():
            kept[digest] = folder / digest.hex()
            self._disk.rename(self.path(slot) / path, kept[digest])
        return kept

    def drop_aside(self) -> None:
        """Remove what was set aside: it is in the new slot now."""
        self._disk.remove_tree(self._aside)

    @property
    def _aside(self) -> Path:
        return self._folder / "incoming" / "kept"

    def adopt(self, slot: SlotName, folder: Path) -> None:
        """Make a folder of verified files the content of a slot, in place of what it held.

        It is durable with the release that `seal` writes, whose name is in the same folder.

        Raises:
            SlotDamaged: the slot is the one that `current` opens; the caller is wrong.
        """
        self._remove_slot(slot)
        self._disk.rename(folder, self.path(slot))

    def build(self, slot: SlotName, release: Release) -> ImageWriter:
        """Begin to write a release's files into an emptied slot."""
        return ImageWriter(self._disk, self.slot_files, self.path(slot), release)

    def seal(self, slot: SlotName, release_bytes: bytes, notice: bytes = b"") -> None:
        """Say, durably, that the slot holds this release: files read-only, release beside.

        Args:
            slot: the slot, whose files are all there.
            release_bytes: the signed release.
            notice: that brought it, as proof; empty for none.
        """
        release = wire.decode(release_bytes, Release)
        folders = {self.path(slot)}
        for file in release.files:
            path = self.path(slot) / file.path
            self._disk.make_read_only(path)
            while path.parent != self.path(slot):
                path = path.parent
                folders.add(path)
        for folder in sorted(folders, key=lambda f: len(f.parts), reverse=True):
            self._disk.sync_dir(folder)
        words = _words_of(slot, release_bytes, notice)
        if words != self._prepared:
            self._disk.write_beside(self.folder, words)
        self._prepared = {}
        self._disk.put_in_place(self.folder, words)

    def prepare_seal(self, slot: SlotName, release_bytes: bytes, notice: bytes) -> None:
        """Write what `seal` is to say beside its place, while the slot's files are still made.

        Args:
            slot: the slot.
            release_bytes: the signed release.
            notice: that brought it, as proof; empty for none.
        """
        self._disk.make_own_dir(self.folder)
        self._prepared = _words_of(slot, release_bytes, notice)
        self._disk.write_beside(self.folder, self._prepared)

    def keep_proof(self, slot: SlotName, notice: bytes) -> None:
        """Keep the notice that vouches for what a slot holds."""
        self._disk.write_atomic(self.folder / f"{slot}.notice", notice)

    def proof(self, slot: SlotName) -> bytes | None:
        """Give the notice that vouched for what a slot holds; None where none was kept."""
        return self._disk.read_small_file(self.folder / f"{slot}.notice", limits.NOTICE_MAX_BYTES)

    def seal_again(self, slot: SlotName, release_bytes: bytes) -> None:
        """Write the signed release of a slot whose files are whole and whose release was lost."""
        self._disk.write_atomic(self.folder / f"{slot}.release", release_bytes)

    def release_bytes(self, slot: SlotName) -> bytes | None:
        """Give the signed release that a sealed slot holds."""
        return self._disk.read_small_file(self.folder / f"{slot}.release", limits.TARGET_MAX_BYTES)

    def release(self, slot: SlotName) -> Release | None:
        """Give the release that a sealed slot holds; None where it holds none that is whole."""
        data = self.release_bytes(slot)
        try:
            return None if data is None else wire.decode(data, Release)
        except RefusedRelease:
            return None

    def found(self, slot: SlotName) -> SlotRecord | None:
        """Give the record of what a sealed slot says it holds, without reading its files."""
        data = self.release_bytes(slot)
        release = self.release(slot)
        if data is None or release is None:
            return None
        return record_of(release, hashlib.sha256(data).digest())

    def has_entry(self, slot: SlotName | None, record: SlotRecord) -> bool:
        """Say whether the file that applications open is there, of its size; it is not read."""
        if slot is None:
            return False
        sizes = {file.path: file.size_bytes for file in record.files}
        size = sizes.get(record.entry)
        return size is not None and self.slot_files.may_hold(self.path(slot) / record.entry, size)

    def verify(self, slot: SlotName, record: SlotRecord) -> None:
        """Read every file of a slot and compare it with the record.

        Raises:
            SlotDamaged: a file is missing or other than the record says, or a folder is a link.
        """
        self._refuse_links(slot, record)
        for file in record.files:
            path = self.path(slot) / file.path
            if not self.slot_files.may_hold(path, file.size_bytes):
                raise SlotDamaged(
                    f"slot {slot}, {file.path}: expected {file.size_bytes} bytes, got"
                    f" {self._disk.size_bytes(path)}"
                )
            if self._hash_file(path, file) != file.sha256:
                raise SlotDamaged(f"slot {slot}, {file.path}: its bytes have changed")

    def _refuse_links(self, slot: SlotName, record: SlotRecord) -> None:
        """See that no folder of a slot is a link: others may change what lies where it leads.

        Raises:
            SlotDamaged: one is.
        """
        folders = {self.folder}
        for file in record.files:
            parents = (self.path(slot) / file.path).parents
            folders |= {folder for folder in parents if folder.is_relative_to(self.folder)}
        for folder in sorted(folders):
            target = self._disk.read_link(folder)
            if target is not None:
                raise SlotDamaged(f"slot {slot}: {folder} is a link, to {target!r}")

    def _hash_file(self, path: Path, held: HeldFile) -> bytes:
        digest = hashlib.sha256()
        file = self.slot_files.open_read(path, held)
        try:
            offset = 0
            while data := file.read_at(offset, _READ_BYTES):
                digest.update(data)
                offset += len(data)
        finally:
            file.close()
        return digest.digest()

    def image(self, slot: SlotName, record: SlotRecord) -> Image:
        """Open a slot's files, end to end, as a source for a codec; the caller closes it."""
        folder = self.path(slot)
        return self.slot_files.open_image([(folder / file.path, file) for file in record.files])

    def open_held(self, path: Path, file: HeldFile) -> Image:
        """Open one file of a slot, or one that was set aside, as what it holds.

        Args:
            path: where it is.
            file: what it is to hold.

        Raises:
            SlotDamaged: there is none, or another one.
        """
        return self.slot_files.open_image([(path, file)])

    def is_whole(self, slot: SlotName, record: SlotRecord) -> bool:
        """Say whether all files of a slot are there, by their lengths; they are not read."""
        folder = self.path(slot)
        return all(self.slot_files.may_hold(folder / f.path, f.size_bytes) for f in record.files)

    def key_ids(self, slot: SlotName, record: SlotRecord) -> frozenset[bytes]:
        """Say by which keys files of a slot are encrypted; none where all lie in the clear."""
        folder = self.path(slot)
        found = (self.slot_files.key_id(folder / file.path, file) for file in record.files)
        return frozenset(key_id for key_id in found if key_id is not None)

    def encrypt_in_place(self, slot: SlotName, record: SlotRecord) -> bool:
        """Encrypt what a sound slot has in the clear, the active one too; say if there was any.

        Raises:
            SlotsKeyMissing: the key cannot be had.
            StorageFailed: the disk does not take it; each file is as it was, or encrypted.
        """
        folder = self.path(slot)
        changed = [
            self.slot_files.encrypt_in_place(folder / file.path, file) for file in record.files
        ]
        return any(changed)

    def open(self, path: Path) -> Image:
        """Open one file of whatever size it has now, such as a received payload.

        Raises:
            SlotDamaged: there is none.
        """
        size_bytes = self._disk.size_bytes(path)
        if size_bytes is None:
            raise SlotDamaged(f"expected to read {path}, there is no such file")
        return self._disk.open_image([(path, size_bytes)])


def _words_of(slot: SlotName, release_bytes: bytes, notice: bytes) -> dict[str, bytes]:
    """Give the files beside a slot that say what it holds, by name."""
    proof = {f"{slot}.notice": notice} if notice else {}
    return {**proof, f"{slot}.release": release_bytes}
