"""Writes an image into a slot's files, as it comes and in order."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from slotcast_device.storage.disk import Disk
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas.codecs.source import Sink
from slotcast_schemas.errors import PayloadCorrupt
from slotcast_schemas.messages import Release

if TYPE_CHECKING:
    from slotcast_device.storage.disk import Writer
    from slotcast_schemas.messages.release import File


class ImageWriter:
    """Cuts an image that comes in order into a release's files, hashing as it writes.

    Args:
        disk: the durable layer.
        slot_files: writes files, encrypted or not.
        folder: where the files go.
        release: whose files they are, in its order.
    """

    def __init__(self, disk: Disk, slot_files: SlotFiles, folder: Path, release: Release) -> None:
        self._disk = disk
        self._slot_files = slot_files
        self._folder = folder
        self._files = list(release.files)
        self._index = 0
        self._left = 0
        self._writer: Writer | None = None
        self._digest = hashlib.sha256()
        self._open_next()

    @property
    def sink(self) -> Sink:
        """What a codec writes to."""
        return self.write

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the image.

        Raises:
            PayloadCorrupt: more bytes than the release's files have, or a file that is not the
                signed one.
            StorageFailed: the disk does not take them.
        """
        view = memoryview(data)
        while view:
            if self._writer is None:
                raise PayloadCorrupt("expected the image to end, got more bytes")
            part = view[: self._left]
            self._writer.write(part)
            self._digest.update(part)
            self._left -= len(part)
            view = view[len(part) :]
            if self._left == 0:
                self._finish_file()

    def finish(self) -> None:
        """Check that every file came whole.

        Raises:
            PayloadCorrupt: the image ended early.
        """
        if self._writer is not None:
            file = self._files[self._index]
            self.abort()
            raise PayloadCorrupt(f"{file.path}: expected {self._left} more bytes, got none")

    def abort(self) -> None:
        """Let go of the file in hand."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open_next(self) -> None:
        """Open the next file that has bytes; empty ones are made on the way."""
        while self._index < len(self._files):
            file = self._files[self._index]
            path = self._folder / file.path
            self._disk.make_dir(path.parent)
            self._writer = self._slot_files.create(path, file)
            self._left = file.size_bytes
            self._digest = hashlib.sha256()
            if self._left:
                return
            self._close_file(file)
            self._index += 1

    def _finish_file(self) -> None:
        self._close_file(self._files[self._index])
        self._index += 1
        self._open_next()

    def _close_file(self, file: File) -> None:
        if self._digest.digest() != file.sha256:
            self.abort()
            raise PayloadCorrupt(f"{file.path}: the rebuilt bytes are not the signed ones")
        if self._writer is not None:
            self._writer.close_synced()
            self._writer = None
