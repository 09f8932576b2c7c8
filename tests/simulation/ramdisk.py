"""A disk in memory that forgets: what was not synced may be lost, each name and page by itself.

It gives the single steps of `slotcast_device.storage.disk`; the order in which they are taken is
the device's own, inherited. Bytes are durable after a sync of the file, names after a sync of their
folder, as POSIX has it and no more: a synced file in a folder whose own name was not synced is
lost with it. `cut_power` makes what a power cut leaves, by one of the ways in `Loss`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from slotcast_device.storage.disk import Disk
from slotcast_schemas.errors import DiskFull, SlotDamaged, StorageFailed
from slotcast_schemas.plain_files import MODE

PAGE_BYTES: Final = 512
"""Small against a real page, as the simulated files are small against real ones."""


class PowerCut(BaseException):
    """The power is gone: no handler of the device runs on, hence not an `Exception`."""


class Loss(Enum):
    """What a power cut does to what was not synced."""

    NOTHING_UNSYNCED = "names and bytes go back to the last sync"
    EVERYTHING = "all is there, as after a killed process"
    NAMES_WITHOUT_DATA = "every name is there, bytes only as synced; the rest is zeros or missing"
    TORN = "each name and each page by itself is old or new"


class _File:
    def __init__(self) -> None:
        self.live = bytearray()
        self.durable: bytes | None = None
        self.dirty: set[int] = set()

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        end = offset + len(data)
        if len(self.live) < end:
            self.live.extend(bytes(end - len(self.live)))
        self.live[offset:end] = data
        self.dirty.update(range(offset // PAGE_BYTES, -(-end // PAGE_BYTES)))

    def truncate(self) -> None:
        self.dirty.update(range(-(-len(self.live) // PAGE_BYTES)))
        self.live = bytearray()

    def sync(self) -> None:
        self.durable = bytes(self.live)
        self.dirty.clear()

    def after(self, loss: Loss, rng: random.Random) -> _File:
        left = _File()
        left.live = bytearray(self._bytes_after(loss, rng))
        left.sync()
        return left

    def _bytes_after(self, loss: Loss, rng: random.Random) -> bytes:
        synced = self.durable or b""
        if loss is Loss.EVERYTHING or synced == bytes(self.live):
            return bytes(self.live)
        if loss is Loss.NOTHING_UNSYNCED:
            return synced
        size = rng.choice((len(synced), len(self.live)))
        data = bytearray(synced[:size].ljust(size, b"\0"))
        if loss is Loss.TORN:
            for page in sorted(self.dirty):
                if rng.random() < 0.5:
                    at, end = page * PAGE_BYTES, min(size, (page + 1) * PAGE_BYTES)
                    if at < end:
                        data[at:end] = self.live[at:end].ljust(end - at, b"\0")
        return bytes(data)


class _Link:
    def __init__(self, target: str) -> None:
        self.target = target


class _Dir:
    def __init__(self) -> None:
        self.live: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}

    def after(self, loss: Loss, rng: random.Random) -> _Dir:
        left = _Dir()
        for name in sorted(self.live.keys() | self.durable.keys()):
            node = self._choose(name, loss, rng)
            if isinstance(node, _Link):
                left.live[name] = node
            elif node is not None:
                left.live[name] = node.after(loss, rng)
        left.durable = dict(left.live)
        return left

    def _choose(self, name: str, loss: Loss, rng: random.Random) -> _Node | None:
        old, new = self.durable.get(name), self.live.get(name)
        if loss is Loss.NOTHING_UNSYNCED or (loss is Loss.TORN and rng.random() < 0.5):
            return old
        return new


_Node = _File | _Link | _Dir


def _load(into: _Dir, folder: Path) -> None:
    for path in folder.iterdir():
        node: _Node
        if path.is_symlink():
            node = _Link(str(path.readlink()))
        elif path.is_dir():
            node = _Dir()
            _load(node, path)
        else:
            node = _File()
            node.live = bytearray(path.read_bytes())
            node.sync()
        into.live[path.name] = into.durable[path.name] = node


def _digest(node: _Node) -> bytes:
    if isinstance(node, _Link):
        return hashlib.sha256(b"link" + node.target.encode()).digest()
    if isinstance(node, _File):
        return hashlib.sha256(b"file" + node.live).digest()
    inner = [name.encode() + b"\0" + _digest(node.live[name]) for name in sorted(node.live)]
    return hashlib.sha256(b"dir" + b"".join(inner)).digest()


def _export(node: _Dir, to: Path) -> None:
    for name, inner in node.live.items():
        if isinstance(inner, _Link):
            (to / name).symlink_to(inner.target)
        elif isinstance(inner, _Dir):
            (to / name).mkdir()
            _export(inner, to / name)
        else:
            (to / name).write_bytes(inner.live)


class RamDisk(Disk):
    """`slotcast_device.storage.disk.Disk` in memory.

    Args:
        capacity_bytes: past which writing fails with `DiskFull`.
        margin_bytes: added to what `free_bytes` says, so that a device which keeps room for
            other things can be tried on a small disk.

    Attributes:
        ops: steps taken since it was made.
        cut_at: the step before which the power goes; None for never.
        fail_at: the step that fails with an input/output error.
        watch: told before each step what is done to which path; tests raise from it.
    """

    def __init__(self, capacity_bytes: int = 1 << 30, margin_bytes: int = 0) -> None:
        super().__init__()
        self.capacity_bytes = capacity_bytes
        self.margin_bytes = margin_bytes
        self.ops = 0
        self.cut_at: int | None = None
        self.fail_at: int | None = None
        self.watch: Callable[[str, Path], None] = lambda _step, _path: None
        self._root = _Dir()
        self._at_most = capacity_bytes + 1  # of bytes used; counted when it matters
        self._is_off = False

    # --- power --------------------------------------------------------------------------------

    def cut_power(self, loss: Loss, rng: random.Random) -> RamDisk:
        """Give the disk that a start after a power cut finds; this one is dead."""
        self._is_off = True
        return self.left_by(loss, rng)

    def left_by(self, loss: Loss, rng: random.Random) -> RamDisk:
        """Give the disk that a start would find if the power went now; this one works on."""
        left = RamDisk(self.capacity_bytes, self.margin_bytes)
        left.watch = self.watch
        left._root = self._root.after(loss, rng)
        return left

    def lose(self, path: Path) -> None:
        """Take a name away, with all below it, as somebody's hand or a file system check does."""
        folder = self._find(path.parent)
        if isinstance(folder, _Dir):
            folder.live.pop(path.name, None)
            folder.durable.pop(path.name, None)

    def put_link(self, path: Path, target: str) -> None:
        """Put a link there, durably and without a step."""
        folder = self._folder(path)
        folder.live[path.name] = folder.durable[path.name] = _Link(target)

    def put_dir(self, path: Path) -> None:
        """Put an empty folder there, durably and without a step."""
        folder = self._folder(path)
        folder.live[path.name] = folder.durable[path.name] = _Dir()

    def load(self, source: Path, folder: Path) -> None:
        """Take a real folder as it is, all of it durable, under another path."""
        self.make_dir(folder)
        node = self._find(folder)
        if isinstance(node, _Dir):
            _load(node, source)

    def digest(self, folder: Path) -> bytes:
        """Give a digest of all names and bytes below a folder."""
        node = self._find(folder)
        return _digest(node) if node is not None else b""

    def export(self, folder: Path, to: Path) -> None:
        """Write a folder's content to a real one."""
        node = self._find(folder)
        to.mkdir(parents=True, exist_ok=True)
        if isinstance(node, _Dir):
            _export(node, to)

    def _step(self, what: str, path: Path) -> None:
        if self._is_off:
            raise PowerCut
        self.ops += 1
        if self.cut_at is not None and self.ops >= self.cut_at:
            self._is_off = True
            raise PowerCut
        if self.fail_at is not None and self.ops >= self.fail_at:
            self.fail_at = None
            raise StorageFailed(f"{what} {path}: Input/output error; check this device's storage")
        self.watch(what, path)

    def set_capacity(self, capacity_bytes: int) -> None:
        """Give the disk another size."""
        self.capacity_bytes = capacity_bytes
        self._at_most = capacity_bytes + 1

    # --- looking without a step, for invariants -----------------------------------------------

    def peek(self, path: Path, *, durable: bool = False) -> bytes | None:
        """Give a file's bytes, or a link's target, as they are or as they are durable."""
        node = self._find(path, durable=durable)
        if isinstance(node, _Link):
            return node.target.encode()
        if isinstance(node, _File):
            return (node.durable or b"") if durable else bytes(node.live)
        return None

    @property
    def used_bytes(self) -> int:
        """What all files hold; holes count, as they may be filled."""
        total, todo = 0, [self._root]
        while todo:
            for node in todo.pop().live.values():
                if isinstance(node, _File):
                    total += len(node.live)
                elif isinstance(node, _Dir):
                    todo.append(node)
        return total

    def _find(self, path: Path, *, durable: bool = False) -> _Node | None:
        node: _Node | None = self._root
        for name in path.parts[1:]:
            if not isinstance(node, _Dir):
                return None
            node = (node.durable if durable else node.live).get(name)
        return node

    def _folder(self, path: Path) -> _Dir:
        folder = self._find(path.parent)
        if not isinstance(folder, _Dir):
            raise StorageFailed(f"{path}: No such file or directory; check this device's storage")
        return folder

    def _file(self, path: Path) -> _File:
        node = self._find(path)
        if not isinstance(node, _File):
            raise StorageFailed(f"{path}: No such file or directory; check this device's storage")
        return node

    def take(self, path: Path, extra_bytes: int) -> None:
        """Refuse what the disk has no room for."""
        self._at_most += max(0, extra_bytes)
        if self._at_most <= self.capacity_bytes:
            return  # room even if nothing was removed since it was last counted
        self._at_most = self.used_bytes + max(0, extra_bytes)
        if extra_bytes > 0 and self._at_most > self.capacity_bytes:
            raise DiskFull(f"write {path}: No space left on device; free some room on this device")

    # --- steps of `Disk` --------------------------------------------------------------

    def create(self, path: Path, mode: int = MODE) -> RamWriter:
        """See `Disk`; there is one user here, so that modes mean nothing."""
        del mode
        self._step("create", path)
        self.take(path, 1)
        folder = self._folder(path)
        node = folder.live.get(path.name)
        if not isinstance(node, _File):
            node = folder.live[path.name] = _File()
        node.truncate()
        return RamWriter(self, path, node)

    def rename(self, path: Path, to: Path) -> None:
        """See `Disk`."""
        self._step("rename", to)
        source = self._folder(path)
        if path.name not in source.live:
            raise StorageFailed(f"rename {path}: No such file or directory")
        node = source.live.pop(path.name)
        self._folder(to).live[to.name] = node

    def sync_dir(self, path: Path) -> None:
        """See `Disk`."""
        self._step("sync_dir", path)
        node = self._find(path)
        if not isinstance(node, _Dir):
            raise StorageFailed(f"sync folder {path}: No such file or directory")
        node.durable = dict(node.live)

    def is_dir(self, path: Path) -> bool:
        """See `Disk`."""
        return isinstance(self._find(path), _Dir)

    def make_one_dir(self, path: Path) -> None:
        """See `Disk`."""
        self._step("make_dir", path)
        self.take(path, 1)
        self._folder(path).live.setdefault(path.name, _Dir())

    def make_link(self, path: Path, target: str) -> None:
        """See `Disk`."""
        self._step("make_link", path)
        self._folder(path).live[path.name] = _Link(target)

    def unlink(self, path: Path) -> None:
        """See `Disk`."""
        self._step("unlink", path)
        self._folder(path).live.pop(path.name, None)

    # --- the rest of `Disk` -------------------------------------------------------------------

    def read(self, path: Path, limit_bytes: int) -> bytes | None:
        """See `Disk`."""
        self._step("read", path)
        node = self._find(path)
        if node is None:
            return None
        if not isinstance(node, _File) or len(node.live) > limit_bytes:
            raise StorageFailed(f"{path}: expected a file of at most {limit_bytes} bytes")
        return bytes(node.live)

    def open_random(self, path: Path) -> RamFile:
        """See `Disk`."""
        if not isinstance(self._find(path), _File):
            self._step("create", path)
            self._folder(path).live[path.name] = _File()
        return RamFile(self, path, self._file(path))

    def open_read(self, path: Path) -> RamFile:
        """See `Disk`."""
        self._step("open", path)
        return RamFile(self, path, self._file(path))

    def open_image(self, files: Sequence[tuple[Path, int]]) -> RamImage:
        """See `Disk`."""
        parts = []
        for path, size_bytes in files:
            self._step("open", path)
            node = self._find(path)
            if not isinstance(node, _File) or len(node.live) != size_bytes:
                raise SlotDamaged(f"expected {path} to have {size_bytes} bytes")
            parts.append(bytes(node.live))
        return RamImage(b"".join(parts))

    def remove_tree(self, path: Path) -> None:
        """See `Disk`: below first, one name at a time, as the operating system does it."""
        node = self._find(path)
        if isinstance(node, _Dir):
            for name in list(node.live):
                self.remove_tree(path / name)
        if node is not None:
            self._step("remove", path)
            self._folder(path).live.pop(path.name, None)

    def make_read_only(self, path: Path) -> None:
        """See `Disk`."""
        self._step("make_read_only", path)
        self._file(path)

    def read_link(self, path: Path) -> str | None:
        """See `Disk`."""
        self._step("read_link", path)
        node = self._find(path)
        return node.target if isinstance(node, _Link) else None

    def names(self, path: Path) -> list[str]:
        """See `Disk`."""
        self._step("list", path)
        node = self._find(path)
        return sorted(node.live) if isinstance(node, _Dir) else []

    def size_bytes(self, path: Path) -> int | None:
        """See `Disk`."""
        node = self._find(path)
        return len(node.live) if isinstance(node, _File) else None

    def free_bytes(self, path: Path) -> int:
        """See `Disk`."""
        return max(0, self.capacity_bytes - self.used_bytes) + self.margin_bytes


class RamFile:
    """`RandomFile` of a `RamDisk`."""

    def __init__(self, disk: RamDisk, path: Path, node: _File) -> None:
        self._disk = disk
        self._path = path
        self._node = node

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        """See `RandomFile`."""
        return bytes(self._node.live[offset : offset + size_bytes])

    def read_into(self, offset: int, target: memoryview) -> int:
        """See `RandomFile`."""
        data = self.read_at(offset, len(target))
        target[: len(data)] = data
        return len(data)

    def write_at(self, offset: int, data: bytes) -> None:
        """See `RandomFile`."""
        self._disk._step("write", self._path)
        self._disk.take(self._path, offset + len(data) - len(self._node.live))
        self._node.write_at(offset, data)

    def sync(self) -> None:
        """See `RandomFile`."""
        self._disk._step("sync", self._path)
        self._node.sync()

    def close(self) -> None:
        """See `RandomFile`."""


class RamWriter:
    """`Writer` of a `RamDisk`."""

    def __init__(self, disk: RamDisk, path: Path, node: _File) -> None:
        self._disk = disk
        self._path = path
        self._node = node

    def write(self, data: bytes | memoryview) -> None:
        """See `Writer`."""
        self._disk._step("write", self._path)
        self._disk.take(self._path, len(data))
        self._node.write_at(len(self._node.live), data)

    def close_synced(self) -> None:
        """See `Writer`."""
        self._disk._step("sync", self._path)
        self._node.sync()

    def close(self) -> None:
        """See `Writer`."""


class RamImage:
    """`Image` of a `RamDisk`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size_bytes(self) -> int:
        """See `Image`."""
        return len(self._data)

    def read_at(self, offset: int, size: int) -> bytes:
        """See `Image`."""
        if offset < 0 or size < 0 or offset + size > len(self._data):
            raise ValueError(f"expected a range inside {len(self._data)} bytes, {size} at {offset}")
        return self._data[offset : offset + size]

    def close(self) -> None:
        """See `Image`."""
