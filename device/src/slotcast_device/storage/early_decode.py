"""Decoding a full payload while its chunks still come, where the link is fast.

On a fast link the rebuild would add about half as much time again after the last chunk. On a slow
one it adds nothing to speak of, and a transfer that is cut would have written the image's
beginning in vain, so decoding ahead begins only once the link has proven to be fast.

It writes below `incoming/`, never into a slot; what it made is renamed into the emptied standby
slot, or thrown away. Every file is hashed against the signed release as it is written, as in any
other rebuild.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.core.plan import DISK_MARGIN_BYTES
from slotcast_device.storage.build import decrypted
from slotcast_device.storage.image_writer import ImageWriter
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas.codecs.encrypted import plain_codec
from slotcast_schemas.codecs.full import FULL_CODECS, decode_full
from slotcast_schemas.errors import SlotcastError, TransferFailed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slotcast_device.storage.disk import Disk, RandomFile
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload

FAST_BYTES: Final = 256 * 1024
"""The bytes that must have come before a link can count as fast."""
FAST_BYTES_PER_S: Final = 4 * 1024 * 1024
"""The rate from which a link counts as fast, so that rebuilding meanwhile saves time
(docs/adr/0004)."""
LUMP_BYTES: Final = 512 * 1024
"""The bytes that are waited for at a time: to wake for each chunk would slow the thread that
receives."""


class ContiguousPrefix:
    """How much of the payload lies on disk without a gap, counted from its beginning."""

    def __init__(self, payload: Payload) -> None:
        self._payload = payload
        self._have: set[int] = set()
        self._next = 0
        self._awaited: int | None = None  # by whoever waits
        self._changed = threading.Condition()
        self._is_stopped = False

    def add(self, index: int) -> None:
        """This chunk is on disk now. One thread adds, another waits."""
        if index == self._next and not self._have:
            self._next = index + 1  # most by far: they come in order
            self._tell()
        else:
            self.add_all((index,))

    def add_all(self, indexes: Iterable[int]) -> None:
        """These chunks are on disk now. One thread adds, another waits."""
        self._have.update(indexes)
        while self._next in self._have:
            self._have.discard(self._next)
            self._next += 1
        self._tell()

    def _tell(self) -> None:
        """Wake the thread that waits, once the chunk that it waits for is there."""
        # No lock is taken for each chunk. That is safe, since the thread that waits first says for
        # what, and then looks how far this is.
        awaited = self._awaited
        if awaited is not None and self._next >= awaited:
            with self._changed:
                self._changed.notify_all()

    def stop(self) -> None:
        """No more will come: whoever waits is let go."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def wait_for(self, end: int) -> None:
        """Sleep until the payload's first `end` bytes are there.

        Raises:
            TransferFailed: `stop` was called first.
        """
        chunks = -(-end // self._payload.chunk_size_bytes)
        with self._changed:
            self._awaited = chunks
            self._changed.wait_for(lambda: self._next >= chunks or self._is_stopped)
            self._awaited = None
            if self._next < chunks:
                raise TransferFailed("the transfer ended before the payload was whole")


class GrowingSource:
    """A payload as a source that waits for what has not come yet.

    Args:
        disk: the durable layer.
        path: where the payload's bytes are written.
        payload: the payload.
        prefix: how much of it is there.
    """

    def __init__(self, disk: Disk, path: Path, payload: Payload, prefix: ContiguousPrefix) -> None:
        self._disk = disk
        self._path = path
        self._payload = payload
        self._prefix = prefix
        self._file: RandomFile | None = None

    @property
    def size_bytes(self) -> int:
        """The size of the whole payload."""
        return self._payload.size_bytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Give exactly `size` bytes from `offset`, once they are there.

        Raises:
            TransferFailed: they will not come in this transfer.
        """
        lumps = -(-(offset + size) // LUMP_BYTES)
        self._prefix.wait_for(min(lumps * LUMP_BYTES, self._payload.size_bytes))
        if self._file is None:
            self._file = self._disk.open_read(self._path)
        return self._file.read_at(offset, size)

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            self._file.close()


class EarlyDecode:
    """One decoding ahead, in a thread of its own.

    Args:
        disk: the durable layer.
        folder: where to write; must not exist.
        data_path: the spool's payload.
        payload: a full one.
        release: what it decodes to.
        content_key: of an encrypted release.
        slot_files: how files lie; in the clear where nothing is given.
    """

    def __init__(
        self,
        disk: Disk,
        folder: Path,
        data_path: Path,
        payload: Payload,
        release: Release,
        content_key: bytes | None = None,
        slot_files: SlotFiles | None = None,
    ) -> None:
        self._disk = disk
        self._slot_files = slot_files or SlotFiles(disk)
        self._folder = folder
        self._payload = payload
        self._release = release
        self._content_key = content_key
        self._prefix = ContiguousPrefix(payload)
        self._source = GrowingSource(disk, data_path, payload, self._prefix)
        self._pace = FastLinkTest()
        self._is_decided = False
        self._is_whole = False
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def found(self, present: set[int]) -> None:
        """These chunks were on disk already."""
        self._prefix.add_all(present)

    def arrived(self, index: int, size_bytes: int, now_s: float) -> None:
        """A chunk is on disk now; begin once enough of them came fast enough.

        Args:
            index: its number in the payload.
            size_bytes: its length.
            now_s: the time, by a clock that does not jump.
        """
        self._prefix.add(index)
        if not self._is_decided and self._pace.is_fast(size_bytes, now_s):
            self._is_decided = True
            if self._has_room():
                self._thread.start()

    def _has_room(self) -> bool:
        """Whether the image fits beside the payload and what the standby slot still holds."""
        need = self._release.image_size_bytes + self._payload.size_bytes + DISK_MARGIN_BYTES
        return self._disk.free_bytes(self._folder.parent) >= need

    def finish(self) -> Path | None:
        """Wait until all is decoded; give the folder, None if it did not come to that."""
        self._is_decided = True
        if self._thread.is_alive():
            self._thread.join()
        return self._folder if self._is_whole else None

    def cancel(self) -> None:
        """Stop, and wait until nothing is written any more."""
        self._prefix.stop()
        self.finish()

    def _run(self) -> None:
        """Decode; whatever fails here is found, and said, by the ordinary rebuild."""
        try:
            self._disk.remove_tree(self._folder)
            self._disk.make_one_dir(self._folder)  # durable once it is a slot, and not before
            writer = ImageWriter(self._disk, self._slot_files, self._folder, self._release)
            try:
                self._decode_payload(writer)
                writer.finish()
                self._is_whole = True
            finally:
                writer.abort()
        except SlotcastError:
            self._is_whole = False
        finally:
            self._source.close()

    def _decode_payload(self, writer: ImageWriter) -> None:
        decode_full(
            decrypted(self._source, self._payload, self._release, self._content_key),
            image_size_bytes=self._release.image_size_bytes,
            sink=writer.sink,
            compression=FULL_CODECS[plain_codec(self._payload)],
        )


class FastLinkTest:
    """Whether a link has proven to be fast, from the chunks that came in this run."""

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._bytes = 0

    def is_fast(self, size_bytes: int, now_s: float) -> bool:
        """Count a chunk and say whether enough came in short enough a time."""
        if self._began_s is None:
            self._began_s = now_s
        self._bytes += size_bytes
        return self._bytes >= FAST_BYTES and self._bytes >= FAST_BYTES_PER_S * (
            now_s - self._began_s
        )
