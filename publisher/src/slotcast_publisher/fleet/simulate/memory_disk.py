"""A device's disk in memory: what many disks hold alike is held once.

A thousand devices that fetch one release of 1 MB would otherwise take 2 GB, half of it the payload
and half the slot. So files are lists of blocks, and blocks of the same bytes are one object. There
is no power to lose here: a device that dies finds all that it wrote, and its dead process can write
no more (`reopen`). What a power cut may take is the concern of `tests/simulation`.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import Disk
from slotcast_schemas.codecs.source import check_range
from slotcast_schemas.errors import DiskFull, SlotDamaged, StorageFailed
from slotcast_schemas.plain_files import MODE

BLOCK_BYTES: Final = 32 * 1024
"""The bytes of a block, those of a usual chunk."""


class _Block:
    """Bytes that never change, and can be looked for while somebody holds them."""

    __slots__ = ("__weakref__", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data


class SharedBlocks:
    """Blocks by the digest of their bytes, for as long as a file holds them; for all threads."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[bytes, _Block] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def share(self, data: bytes) -> _Block:
        """Give the one block of these bytes."""
        digest = hashlib.blake2b(data, digest_size=16).digest()
        with self._lock:
            return self._known.setdefault(digest, _Block(data))


class _File:
    """Bytes in blocks; all but the last are whole."""

    __slots__ = ("blocks", "size_bytes")

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.size_bytes = 0

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Give up to so many bytes from there."""
        end = min(self.size_bytes, offset + size_bytes)
        parts = [part for _, part in self._parts(offset, end)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _parts(self, offset: int, end: int) -> Iterator[tuple[int, bytes]]:
        while offset < end:
            number, begin = divmod(offset, BLOCK_BYTES)
            until = min(end - number * BLOCK_BYTES, BLOCK_BYTES)
            yield number, self.blocks[number].data[begin:until]
            offset = number * BLOCK_BYTES + until

    def write(self, offset: int, data: bytes, shared: SharedBlocks) -> None:
        """Write there; what lies between the end and there is zeros."""
        if offset > self.size_bytes:
            data, offset = bytes(offset - self.size_bytes) + data, self.size_bytes
        end, begin = offset + len(data), offset
        while begin < end:
            number, start = divmod(begin, BLOCK_BYTES)
            until = min(end - number * BLOCK_BYTES, BLOCK_BYTES)
            piece = data[begin - offset : number * BLOCK_BYTES + until - offset]
            old = self.blocks[number].data if number < len(self.blocks) else b""
            block = shared.share(old[:start] + piece + old[until:])
            if number < len(self.blocks):
                self.blocks[number] = block
            else:
                self.blocks.append(block)
            begin = number * BLOCK_BYTES + until
        self.size_bytes = max(self.size_bytes, end)


class _Link:
    __slots__ = ("target",)

    def __init__(self, target: str) -> None:
        self.target = target


class _Dir:
    __slots__ = ("names",)

    def __init__(self) -> None:
        self.names: dict[str, _Node] = {}


_Node = _File | _Link | _Dir


def _count_bytes(node: _Node) -> int:
    if isinstance(node, _File):
        return node.size_bytes
    if isinstance(node, _Dir):
        return sum(_count_bytes(inner) for inner in list(node.names.values()))
    return 0


class MemoryDisk(Disk):
    """`slotcast_device.storage.disk.Disk` in memory.

    Args:
        capacity_bytes: past which writing fails with `DiskFull`.
        shared: the blocks of all disks of this process.
    """

    def __init__(self, capacity_bytes: int, shared: SharedBlocks) -> None:
        super().__init__()
        self.capacity_bytes = capacity_bytes
        self.shared = shared
        self._root = _Dir()
        self._is_severed = False

    def reopen(self) -> MemoryDisk:
        """Give the disk to the next process; the one that has died can do nothing any more."""
        self._is_severed = True
        again = MemoryDisk(self.capacity_bytes, self.shared)
        again._root = self._root
        return again

    def check_alive(self) -> None:
        """Let no process write that is dead.

        Raises:
            StorageFailed: it is.
        """
        if self._is_severed:
            raise StorageFailed("this process of a simulated device has ended")

    @property
    def used_bytes(self) -> int:
        """What all files hold, as if each were held by itself."""
        return _count_bytes(self._root)

    def take(self, path: Path, extra_bytes: int) -> None:
        """Refuse what there is no room for.

        Raises:
            DiskFull: there is none.
        """
        if extra_bytes > 0 and self.used_bytes + extra_bytes > self.capacity_bytes:
            raise DiskFull(f"write {path}: No space left on device; free some room on this device")

    # --- finding ------------------------------------------------------------------------------

    def _find(self, path: Path) -> _Node | None:
        node: _Node | None = self._root
        for name in path.parts[1:]:
            if not isinstance(node, _Dir):
                return None
            node = node.names.get(name)
        return node

    def _folder(self, path: Path) -> _Dir:
        self.check_alive()
        folder = self._find(path.parent)
        if not isinstance(folder, _Dir):
            raise StorageFailed(f"{path}: No such file or directory; check this device's storage")
        return folder

    def _file(self, path: Path) -> _File:
        node = self._find(path)
        if not isinstance(node, _File):
            raise StorageFailed(f"{path}: No such file or directory; check this device's storage")
        return node

    # --- steps of `Disk` ----------------------------------------------------------------------

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """See `Disk`."""
        node = self._find(path)
        if node is None:
            return None
        if not isinstance(node, _File) or node.size_bytes > limit_bytes:
            raise StorageFailed(f"{path}: expected a file of at most {limit_bytes} bytes")
        return node.read(0, node.size_bytes)

    def create(self, path: Path, mode: int = MODE) -> _Writer:
        """See `Disk`; there is one user here, so that modes mean nothing."""
        del mode
        node = self._folder(path).names[path.name] = _File()
        return _Writer(self, path, node)

    def open_random(self, path: Path) -> _RandomFile:
        """See `Disk`."""
        folder = self._folder(path)
        if not isinstance(folder.names.get(path.name), _File):
            folder.names[path.name] = _File()
        return _RandomFile(self, path, self._file(path))

    def open_read(self, path: Path) -> _RandomFile:
        """See `Disk`."""
        return _RandomFile(self, path, self._file(path))

    def open_image(self, files: Sequence[tuple[Path, int]]) -> _Image:
        """See `Disk`."""
        parts = []
        for path, size_bytes in files:
            node = self._find(path)
            if not isinstance(node, _File) or node.size_bytes != size_bytes:
                raise SlotDamaged(f"expected {path} to have {size_bytes} bytes")
            parts.append(node)
        return _Image(parts)

    def is_dir(self, path: Path) -> bool:
        """See `Disk`."""
        return isinstance(self._find(path), _Dir)

    def make_one_dir(self, path: Path) -> None:
        """See `Disk`."""
        self._folder(path).names.setdefault(path.name, _Dir())

    def make_link(self, path: Path, target: str) -> None:
        """See `Disk`."""
        self._folder(path).names[path.name] = _Link(target)

    def unlink(self, path: Path) -> None:
        """See `Disk`."""
        self._folder(path).names.pop(path.name, None)

    def remove_tree(self, path: Path) -> None:
        """See `Disk`."""
        self.check_alive()
        folder = self._find(path.parent)
        if isinstance(folder, _Dir):
            folder.names.pop(path.name, None)

    def rename(self, path: Path, to: Path) -> None:
        """See `Disk`."""
        source = self._folder(path)
        if path.name not in source.names:
            raise StorageFailed(f"rename {path}: No such file or directory")
        self._folder(to).names[to.name] = source.names.pop(path.name)

    def make_read_only(self, path: Path) -> None:
        """See `Disk`; there is nobody here who would write."""
        self._file(path)

    def sync_dir(self, path: Path) -> None:
        """See `Disk`; there is no power to lose."""
        if not self.is_dir(path):
            raise StorageFailed(f"sync folder {path}: No such file or directory")

    def read_link(self, path: Path) -> str | None:
        """See `Disk`."""
        node = self._find(path)
        return node.target if isinstance(node, _Link) else None

    def names(self, path: Path) -> list[str]:
        """See `Disk`."""
        node = self._find(path)
        return sorted(node.names) if isinstance(node, _Dir) else []

    def size_bytes(self, path: Path) -> int | None:
        """See `Disk`."""
        node = self._find(path)
        return node.size_bytes if isinstance(node, _File) else None

    def free_bytes(self, path: Path) -> int:
        """See `Disk`."""
        del path
        return max(0, self.capacity_bytes - self.used_bytes)


class _RandomFile:
    """`RandomFile` of a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk, path: Path, node: _File) -> None:
        self._disk = disk
        self._path = path
        self._node = node

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """See `RandomFile`."""
        return self._node.read(offset, size_bytes)

    def read_into(self, offset: int, target: memoryview) -> int:
        data = self.read_at(offset, len(target))
        target[: len(data)] = data
        return len(data)

    def write_at(self, offset: int, data: bytes) -> None:
        """See `RandomFile`."""
        self._disk.check_alive()
        self._disk.take(self._path, offset + len(data) - self._node.size_bytes)
        self._node.write(offset, data, self._disk.shared)

    def sync(self) -> None:
        """See `RandomFile`."""

    def close(self) -> None:
        """See `RandomFile`."""


class _Writer:
    """`Writer` of a `MemoryDisk`."""

    def __init__(self, disk: MemoryDisk, path: Path, node: _File) -> None:
        self._disk = disk
        self._path = path
        self._node = node

    def write(self, data: bytes | memoryview) -> None:
        """See `Writer`."""
        self._disk.check_alive()
        self._disk.take(self._path, len(data))
        self._node.write(self._node.size_bytes, bytes(data), self._disk.shared)

    def close_synced(self) -> None:
        """See `Writer`."""

    def close(self) -> None:
        """See `Writer`."""


class _Image:
    """`Image` of a `MemoryDisk`."""

    def __init__(self, files: Sequence[_File]) -> None:
        self._files = files

    @property
    def size_bytes(self) -> int:
        """See `Image`."""
        return sum(file.size_bytes for file in self._files)

    def read_at(self, offset: int, size: int) -> bytes:
        """See `Image`."""
        check_range(offset, size, self.size_bytes)
        parts, begin, end = [], 0, offset + size
        for file in self._files:
            first, last = max(0, offset - begin), min(file.size_bytes, end - begin)
            if first < last:
                parts.append(file.read(first, last - first))
            begin += file.size_bytes
        return b"".join(parts)

    def close(self) -> None:
        """See `Image`."""
