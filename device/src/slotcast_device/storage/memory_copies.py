"""What encrypted slots hold, in memory for a probe, and from one probe to the next.

An installation where no application serves probes a slot twice: before the switch and after it. To
have a file in memory costs several times what opening its blocks does, so the first probe's copy
may serve the second. Each block on the disk is opened again then, as it would be for a new copy: so
the second probe says what it always said of what the slot holds after the switch.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Self

from slotcast_device.at_rest.memory_file import NoMemoryFiles, Write, memory_file
from slotcast_device.storage.disk import storage_errors
from slotcast_device.storage.slot_files import OpenedFile, SlotFiles, parts_of
from slotcast_schemas import process_memory
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from pathlib import Path

    from slotcast_device.at_rest.file_format import Header
    from slotcast_device.storage.disk import Image
    from slotcast_device.storage.slot_files import HeldFile

KEPT_MOST_S: Final = 10.0
"""The most seconds for which a copy is kept: a switch takes a small part of one."""
FREE_LEAST: Final = 4
"""How many times its bytes must be free beside a copy that is kept; a probe takes two or three."""


class MemoryCopies:
    """Has files of slots in memory, and keeps the last copy where that is asked for.

    Args:
        slot_files: opens them.
        kept_most_s: the most seconds for which a copy is kept.
        available_bytes: says what memory may still be taken.
    """

    def __init__(
        self,
        slot_files: SlotFiles,
        kept_most_s: float = KEPT_MOST_S,
        available_bytes: Callable[[], int] = process_memory.available_bytes,
    ) -> None:
        self._slot_files = slot_files
        self._kept_most_s = kept_most_s
        self._available_bytes = available_bytes
        self._lock = threading.Lock()
        self._kept: _Copy | None = None
        self._timer: threading.Timer | None = None

    @contextlib.contextmanager
    def hold(
        self, folder: Path, files: Sequence[HeldFile], *, keeps: bool = False
    ) -> Iterator[Mapping[str, int]]:
        """Have what files hold in memory for the length of a block, for a process without the key.

        Args:
            folder: where they are.
            files: what they are to hold.
            keeps: keep the copy after the block for the next one of the same files, for a short
                time and where memory is plenty; `drop` ends that.

        Yields:
            For each path the number of an open file that is on no disk; nothing where all of them
            lie in the clear, and are read where they are.

        Raises:
            SlotDamaged: a file is not what was written.
            SlotsKeyMissing: the key cannot be had.
            StorageFailed: this system has no files in memory.
        """
        if not any(self._slot_files.is_encrypted(folder / file.path, file) for file in files):
            yield {}
            return
        copy = self._take(folder, files) or _Copy.make(self._slot_files, folder, files)
        with ExitStack() as held:
            held.callback(copy.close)
            yield copy.numbers
            if keeps and self._available_bytes() >= FREE_LEAST * copy.size_bytes:
                held.pop_all()
                self._keep(copy)

    def drop(self) -> None:
        """Give back the memory of what is kept."""
        copy = self._release()
        if copy is not None:
            copy.close()

    def _take(self, folder: Path, files: Sequence[HeldFile]) -> _Copy | None:
        """Give what is kept, if the slot holds just that now; it is kept no longer either way."""
        copy = self._release()
        if copy is None:
            return None
        with ExitStack() as held:
            held.callback(copy.close)
            if copy.is_of(folder, files) and copy.is_true_still(self._slot_files):
                held.pop_all()
                return copy
        return None

    def _keep(self, copy: _Copy) -> None:
        self.drop()
        timer = threading.Timer(self._kept_most_s, self._drop_old, (copy,))
        timer.daemon = True
        with self._lock:
            self._kept, self._timer = copy, timer
        timer.start()

    def _drop_old(self, copy: _Copy) -> None:
        """A copy's time is over; if another took its place, that has a time of its own."""
        with self._lock:
            if self._kept is not copy:
                return
            self._kept = None
        copy.close()

    def _release(self) -> _Copy | None:
        with self._lock:
            copy, self._kept = self._kept, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        return copy


class _Copy:
    """What files hold, in open files that are on no disk.

    Args:
        folder: where they lie.
        files: what they are to hold.

    Attributes:
        numbers: of the open file that has what a path holds.
    """

    def __init__(self, folder: Path, files: Sequence[HeldFile]) -> None:
        self.numbers: dict[str, int] = {}
        self._folder = folder
        self._files = tuple(files)
        self._headers: dict[str, Header] = {}
        self._held = ExitStack()

    @classmethod
    def make(cls, slot_files: SlotFiles, folder: Path, files: Sequence[HeldFile]) -> Self:
        """Open files, and put what they hold into memory.

        Args:
            slot_files: opens them.
            folder: where they lie.
            files: what they are to hold.
        """
        copy = cls(folder, files)
        with ExitStack() as held:
            held.callback(copy.close)
            for file in files:
                path = folder / file.path
                opened = contextlib.closing(slot_files.open_part(path, file))
                with opened as part, _memory_errors(path):
                    copy._add(file, part)
            held.pop_all()
        return copy

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes."""
        return sum(file.size_bytes for file in self._files)

    def is_of(self, folder: Path, files: Sequence[HeldFile]) -> bool:
        """Say whether it is a copy of these files there."""
        return (self._folder, self._files) == (folder, tuple(files))

    def is_true_still(self, slot_files: SlotFiles) -> bool:
        """Open every block of the files as they lie now, and say whether they were not replaced.

        A block opens if it is the one that was written for this file's salt, size and digest. Of a
        file in the clear no tag says so, and the answer is no.

        Args:
            slot_files: opens them.

        Raises:
            SlotDamaged: a file is not what was written.
            SlotsKeyMissing: the key cannot be had.
            StorageFailed: it cannot be read.
        """
        for file in self._files:
            opened = slot_files.open_part(self._folder / file.path, file)
            with contextlib.closing(opened) as part:
                if not isinstance(part, OpenedFile) or part.header != self._headers.get(file.path):
                    return False
                for _ in part.parts():
                    pass
        return True

    def close(self) -> None:
        """Give back its memory."""
        self._held.close()

    def _add(self, file: HeldFile, part: Image | OpenedFile) -> None:
        def fill(write: Write) -> None:
            for each in parts_of(part, file.size_bytes):
                write(each)

        number = self._held.enter_context(memory_file(file.size_bytes, fill))
        self.numbers[file.path] = number
        if isinstance(part, OpenedFile):
            self._headers[file.path] = part.header


@contextlib.contextmanager
def _memory_errors(path: Path) -> Iterator[None]:
    try:
        with storage_errors(f"hold {path} in memory"):
            yield
    except NoMemoryFiles as exc:
        raise StorageFailed(
            f"encrypted slots are probed from files in memory: {exc}; take [at_rest] out of"
            " device.toml"
        ) from exc
