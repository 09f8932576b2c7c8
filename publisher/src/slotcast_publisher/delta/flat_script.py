"""A delta's other bytes told as copies of the base and what is new between them.

Other bytes lie between segments; a section packs them with old bytes as a dictionary, or as a
patch. Here they are told by segments as well. The copy before them is made longer at its end, the
copy after them at its beginning, as far as the bytes are equal. What is left in between is looked
for in those old bytes from which nothing else was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.exact_copies import (
    equal_bytes,
    kinds_of_windows,
    next_copy,
    sorted_windows,
)
from slotcast_schemas.codecs.delta.segments import Copy, Other, Segment, TensorSegment
from slotcast_schemas.codecs.source import Source

SEARCHED_MAX: Final = 6 * 1024 * 1024
"""The most old bytes that are searched; they take up to eight times as much memory for it."""

COPIES_MAX: Final = 16_384
"""The most copies that other bytes are told by; a script of more is no small one."""

_WINDOWS: Final = (4, 8, 16, 32)
"""The least bytes of copies that are tried."""

_SHORTEST: Final = 4
"""The least bytes of a copy that is no part of a neighbour."""


class OldBytes:
    """The bytes of the base that no copy and no tensor was made of, laid end to end.

    Args:
        base: the old image.
        target: the new one.
        segments: those of the whole new image.
        window: the least bytes of a copy from here.
    """

    def __init__(self, base: Source, target: Source, segments: list[Segment], window: int) -> None:
        gaps = _gaps(segments, base.size_bytes)
        if sum(size_bytes for _, size_bytes in gaps) > SEARCHED_MAX:
            gaps = []
        self._offsets = [offset for offset, _ in gaps]
        self._ends = np.cumsum([size_bytes for _, size_bytes in gaps], dtype=np.int64)
        self._data = b"".join(base.read_at(*gap) for gap in gaps)
        self._target = target
        self._segments = segments
        self._window = window
        self._keys: NDArray[np.uint64] | None = None

    def find(self, data: bytes, at: int, old_end: int) -> tuple[int, int, int] | None:
        """Give the next copy in the data: where it begins, where here, and its size.

        Args:
            data: what is to be made, out of the target's other bytes.
            at: where to look from.
            old_end: where the last copy ended here.
        """
        if not self._data:
            return None
        if self._keys is None:
            kinds = kinds_of_windows(_others(self._target, self._segments), self._window)
            self._keys = sorted_windows(self._data, self._window, kinds)
        found = next_copy(data, self._data, self._keys, at, old_end, self._window)
        return (
            None if found is None else (*found, equal_bytes(data, found[0], self._data, found[1]))
        )

    def copies(self, position: int, size_bytes: int) -> Iterator[Copy]:
        """Give the copies of the base that bytes from here are."""
        while size_bytes:
            index = int(np.searchsorted(self._ends, position, side="right"))
            take = min(size_bytes, int(self._ends[index]) - position)
            start = int(self._ends[index - 1]) if index else 0
            yield Copy(take, self._offsets[index] + position - start)
            position, size_bytes = position + take, size_bytes - take

    def position_of(self, base_offset: int) -> int:
        """Give where a place of the base lies here, or what follows it."""
        start = 0
        for offset, end in zip(self._offsets, self._ends.tolist(), strict=True):
            if base_offset < offset + end - start:
                return start + max(0, base_offset - offset)
            start = end
        return start


def flatten_each(base: Source, target: Source, segments: list[Segment]) -> Iterator[list[Segment]]:
    """Give the segments with other bytes told by copies, for each least size of a copy.

    Args:
        base: the old image.
        target: the new one.
        segments: all of it, in order; no tensor of them has holes.
    """
    for window in _WINDOWS:
        flat = flatten(base, target, segments, window)
        if flat is not None:
            yield flat


def flatten(
    base: Source, target: Source, segments: list[Segment], window: int
) -> list[Segment] | None:
    """Give the segments with other bytes told by copies, neighbours joined; None for too many.

    Args:
        base: the old image.
        target: the new one.
        segments: all of it, in order; no tensor of them has holes.
        window: the least bytes of a copy that is looked for.
    """
    old = OldBytes(base, target, segments, window)
    flat: list[Segment] = []
    others = _others(target, segments)
    for index, segment in enumerate(segments):
        if isinstance(segment, Other):
            data = next(others)
            before = _end_before(flat)
            after = _start_after(segments[index + 1 :], base.size_bytes)
            flat += _told(base, old, data, before, after)
        else:
            flat.append(segment)
        if len(flat) > COPIES_MAX + len(segments):
            return None
    return _joined(flat)


def _others(target: Source, segments: list[Segment]) -> Iterator[bytes]:
    """Give the other bytes of the target, piece by piece."""
    position = 0
    for segment in segments:
        if isinstance(segment, Other):
            yield target.read_at(position, segment.size_bytes)
        position += segment.size_bytes


def _told(
    base: Source, old: OldBytes, data: bytes, before: int | None, after: int | None
) -> Iterator[Segment]:
    """Other bytes: those that the copy before goes on with, those between, those of the next."""
    head = 0 if before is None else _equal_head(base, data, before)
    tail = 0 if after is None else _equal_tail(base, data[head:], after)
    if before is not None and head:
        yield Copy(head, before)
    last = 0 if before is None else old.position_of(before + head)
    yield from _between(old, data[head : len(data) - tail], last)
    if after is not None and tail:
        yield Copy(tail, after - tail)


def _between(old: OldBytes, data: bytes, old_end: int) -> Iterator[Segment]:
    at = 0
    for _ in range(COPIES_MAX + 1):
        found = old.find(data, at, old_end) if at < len(data) else None
        start, old_start, size_bytes = found or (len(data), 0, 0)
        if start > at:
            yield Other(start - at)
        if found is None:
            return
        yield from old.copies(old_start, size_bytes)
        at, old_end = start + size_bytes, old_start + size_bytes
    yield Other(len(data) - at)


def _end_before(flat: list[Segment]) -> int | None:
    """Where in the base the segment before goes on; None where it is no copy."""
    last = flat[-1] if flat else Copy(0, 0)
    return last.base_offset + last.size_bytes if isinstance(last, Copy) else None


def _start_after(following: list[Segment], base_size_bytes: int) -> int | None:
    """Where in the base the next segment begins; None where it is no copy."""
    following_one = following[0] if following else Copy(0, base_size_bytes)
    return following_one.base_offset if isinstance(following_one, Copy) else None


def _equal_head(base: Source, data: bytes, offset: int) -> int:
    old = base.read_at(offset, min(len(data), base.size_bytes - offset))
    equal = equal_bytes(data, 0, old, 0)
    return equal if equal >= _SHORTEST or offset else 0


def _equal_tail(base: Source, data: bytes, end: int) -> int:
    size_bytes = min(len(data), end)
    old = np.frombuffer(base.read_at(end - size_bytes, size_bytes), dtype=np.uint8)
    new = np.frombuffer(data, dtype=np.uint8)[len(data) - size_bytes :]
    unlike = np.flatnonzero(old != new)
    equal = size_bytes - 1 - int(unlike[-1]) if len(unlike) else size_bytes
    return equal if equal >= _SHORTEST or end < base.size_bytes else 0


def _joined(segments: list[Segment]) -> list[Segment]:
    """Neighbouring copies of neighbouring bytes as one, and neighbouring other bytes as one."""
    joined: list[Segment] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if isinstance(segment, Other) and isinstance(last, Other):
            joined[-1] = Other(last.size_bytes + segment.size_bytes)
        elif isinstance(segment, Copy) and isinstance(last, Copy) and _goes_on(last, segment):
            joined[-1] = Copy(last.size_bytes + segment.size_bytes, last.base_offset)
        else:
            joined.append(segment)
    return joined


def _goes_on(last: Copy, segment: Copy) -> bool:
    return last.base_offset + last.size_bytes == segment.base_offset


def _gaps(segments: list[Segment], size_bytes: int) -> list[tuple[int, int]]:
    """What of the base no segment was made of: offset and size of each range."""
    gaps, end = [], 0
    for start, stop in sorted(_extent(each) for each in segments if not isinstance(each, Other)):
        if start > end:
            gaps.append((end, start - end))
        end = max(end, stop)
    if end < size_bytes:
        gaps.append((end, size_bytes - end))
    return gaps


def _extent(segment: Copy | TensorSegment) -> tuple[int, int]:
    """Where in the base a segment's old bytes begin and end."""
    start, size_bytes = segment.base_offset, segment.size_bytes
    if isinstance(segment, TensorSegment) and segment.gather is not None:
        gather = segment.gather
        count = gather.base_rows * gather.base_columns * gather.unit
        size_bytes = segment.kind.size_bytes(count)
    elif isinstance(segment, TensorSegment) and segment.transposed is not None:
        turned = segment.transposed
        size_bytes = segment.kind.size_bytes(turned.base_rows * turned.base_columns)
    return start, start + size_bytes
