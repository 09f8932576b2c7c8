"""A trace replayed on the disk that forgets: what a power cut after each operation leaves."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.crash.trace import Op
from tests.simulation.ramdisk import Loss, RamDisk

DRAWS: Final[Mapping[Loss, int]] = {Loss.NAMES_WITHOUT_DATA: 2, Loss.TORN: 12}
"""Of two names, one is durable without the other in one draw of four."""
_ROW: Final = 4
_DRAWS_BETWEEN: Final = 2


@dataclass(frozen=True, slots=True)
class State:
    """One disk that a start may find.

    Attributes:
        cut: how many operations were done when the power went.
        durable: what of the record is sure to have survived; None where nothing is.
    """

    cut: int
    loss: Loss
    draw: int
    disk: RamDisk
    durable: bytes | None

    @property
    def name(self) -> str:
        """What to call it in a failure."""
        return f"cut after operation {self.cut}, {self.loss.name.lower()}, draw {self.draw}"


def states(
    before: Path,
    state_dir: Path,
    ops: Sequence[Op],
    record: Path,
    torn: Mapping[int, int] | None = None,
) -> Iterator[State]:
    """Give every disk that a cut during a trace may leave.

    Args:
        before: a real folder with the state before the trace, all of it durable.
        state_dir: where the traced process had it.
        ops: the trace.
        record: the file whose durable bytes go along.
        torn: the cuts to make, and how many torn disks to draw for each; all of them unless given.
    """
    disk = RamDisk()
    disk.load(before, state_dir)
    for cut, op in enumerate([None, *ops]):
        if op is not None:
            apply(disk, op)
        if torn is not None and cut not in torn:
            continue
        for loss in Loss:
            draws = DRAWS if torn is None else {**DRAWS, Loss.TORN: torn[cut]}
            for draw in range(draws.get(loss, 1)):
                left = disk.left_by(loss, random.Random(f"{cut}-{draw}"))
                yield State(cut, loss, draw, left, disk.peek(record, durable=True) or None)


def sample(ops: Sequence[Op], seed: int) -> dict[int, int]:
    """Choose cuts over the whole of a trace, and how many torn disks to draw for each.

    After each rename or link all are drawn: there the order in which names become durable counts.
    Of the other cuts, one of four in a row is taken and one after each kind of operation, at
    least, with few draws; and the last.
    """
    rng = random.Random(seed)
    cuts = range(len(ops) + 1)
    chosen = {rng.choice(cuts[begin : begin + _ROW]) for begin in cuts[::_ROW]} | {len(ops)}
    for what in sorted({op.what for op in ops}):
        chosen.add(rng.choice([cut for cut, op in enumerate(ops, 1) if op.what == what]))
    names = {cut for cut, op in enumerate(ops, 1) if op.what in {"rename", "link"}}
    return {
        cut: DRAWS[Loss.TORN] if cut in names else _DRAWS_BETWEEN for cut in sorted(chosen | names)
    }


def apply(disk: RamDisk, op: Op) -> None:
    """Do to the disk in memory what the process did to the real one."""
    _DO[op.what](disk, op)


def _sync(disk: RamDisk, op: Op) -> None:
    if disk.is_dir(op.path):
        disk.sync_dir(op.path)
    else:
        disk.open_random(op.path).sync()


def _write(disk: RamDisk, op: Op) -> None:
    """Write where the call said; one without an offset appends, as all of ours do."""
    offset = (disk.size_bytes(op.path) or 0) if op.offset is None else op.offset
    disk.open_random(op.path).write_at(offset, op.data)


_DO: Final[Mapping[str, Callable[[RamDisk, Op], object]]] = {
    "create": lambda disk, op: disk.create(op.path),
    "open": lambda disk, op: disk.open_random(op.path),
    "truncate": lambda disk, op: disk.create(op.path),
    "write": _write,
    "sync": _sync,
    "rename": lambda disk, op: disk.rename(op.path, Path(op.data.decode())),
    "link": lambda disk, op: disk.make_link(op.path, op.data.decode()),
    "unlink": lambda disk, op: disk.unlink(op.path),
    "mkdir": lambda disk, op: disk.make_one_dir(op.path),
}


class Distinct:
    """Tells disks apart, so that each is tried once.

    Attributes:
        seen: disks looked at.
        new: disks that differ.
    """

    def __init__(self) -> None:
        self.seen = 0
        self._known: set[bytes] = set()

    @property
    def new(self) -> int:
        """Disks that differ."""
        return len(self._known)

    def is_new(self, state: State, folder: Path) -> bool:
        """Say whether no disk before had the same names and bytes, and the same to lose."""
        self.seen += 1
        floor = b"" if state.durable is None else state.durable
        digest = hashlib.sha256(state.disk.digest(folder) + floor).digest()
        if digest in self._known:
            return False
        self._known.add(digest)
        return True
