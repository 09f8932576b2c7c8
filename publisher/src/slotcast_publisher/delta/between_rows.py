"""Where exactly a row ends and the next begins, among columns that are not known.

Where an element is known by its neighbours, the last columns of a row are not known, nor are new
ones. They lie between a known column at the end of a row and one at the begin of the next; what
they may have been lies behind the one in the base, or before the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.row_starts import RowStarts
from slotcast_schemas.codecs.delta.elements import Bits
from slotcast_schemas.codecs.source import Source

_WAYS: Final = 8
"""The most places that are given."""

Numbers = NDArray[np.int64]

_COMPARED: Final = 12
"""The rows before and behind one by which columns are compared."""

_COLUMNS_MAX: Final = 256
"""The most columns, new or old, that are compared."""


def ways_to_begin(
    base: Source, elements: Bits, origins: Numbers, starts: RowStarts, low: int
) -> Iterator[RowStarts]:
    """Give some places at which rows may begin, the latest first, each with the old rows'.

    Args:
        base: the old image.
        elements: an array of the target, unsigned, shape (n,).
        origins: the offset in the base of each, or -1, shape (n,).
        starts: how rows lie if they begin with a known column.
        low: the first element that may be the matrix's.
    """
    width = elements.itemsize
    unknown, spare = starts.unknown, starts.spare // width
    room = (starts.new - low) % starts.stride.new
    if not unknown or not spare or max(unknown, spare) > _COLUMNS_MAX:
        for by in dict.fromkeys(np.linspace(0, min(unknown, room), _WAYS).astype(int).tolist()):
            yield _earlier(starts, by, 0, spare)
        return
    behind = _matches(base, elements, origins, starts, is_behind=True)
    before = _matches(base, elements, origins, starts, is_behind=False)
    either = np.maximum(behind, before)
    # Columns that are a row's last stay there, those that are a row's first as well.
    least = int(np.flatnonzero((behind > 0) & (before == 0)).max(initial=-1)) + 1
    most = int(np.flatnonzero((before > 0) & (behind == 0)).min(initial=unknown))
    lasts = np.linspace(most, max(least, unknown - room), _WAYS).astype(int)
    for last in dict.fromkeys(lasts.tolist()):
        first = either[last:][either[last:] > 0]
        ends = either[:last][either[:last] > 0]
        earlier = spare + 1 - int(first[0]) if len(first) else 0
        spare_left = spare - earlier - (int(ends[-1]) if len(ends) else 0)
        if least <= last <= most and spare_left >= 0:
            yield _earlier(starts, unknown - last, earlier, spare_left)


def _earlier(starts: RowStarts, by: int, old_by: int, spare: int) -> RowStarts:
    """Give it with rows that begin so many elements earlier, and old rows as many others."""
    places = starts.places
    width = starts.width
    old_places = np.where(places >= 0, (places + old_by * width) % starts.stride.old, -1)
    return replace(
        starts,
        new=starts.new - by,
        old=(starts.old - old_by * width) % starts.stride.old,
        places=np.roll(old_places, by),
        spare=spare * width,
    )


def _matches(
    base: Source, elements: Bits, origins: Numbers, starts: RowStarts, *, is_behind: bool
) -> Numbers:
    """Say which old column, from 1 on, each unknown column was, or 0; shape (unknown,).

    Args:
        base: the old image.
        elements: an array of the target.
        origins: the offset in the base of each.
        starts: how rows lie.
        is_behind: look behind the last known column of rows, not before the first.
    """
    length, width = starts.stride.new, starts.width
    unknown, spare = starts.unknown, starts.spare // width
    column = length - unknown - 1 if is_behind else 0
    at = starts.new + column + length * np.arange(-_COMPARED, _COMPARED)
    at = at[(at >= unknown) & (at < len(elements) - unknown)]
    is_there = (origins[at] - starts.old) % starts.stride.old == starts.places[column]
    at = at[is_there & (origins[at] >= 0)]
    begin = at + 1 if is_behind else at - unknown
    alike = np.zeros((unknown, spare), dtype=np.int64)
    count = 0
    for number in range(len(at)):
        offset = int(origins[at[number]]) + (width if is_behind else -spare * width)
        if offset < 0 or offset + spare * width > base.size_bytes:
            continue
        there = np.frombuffer(base.read_at(offset, spare * width), elements.dtype)
        here = elements[begin[number] : begin[number] + unknown]
        alike += here[:, None] == there
        count += 1
    is_alike = 2 * alike > max(1, count)
    return np.where(is_alike.sum(axis=1) == 1, is_alike.argmax(axis=1) + 1, 0)
