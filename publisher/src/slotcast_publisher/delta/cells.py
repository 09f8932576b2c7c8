"""Tensors of which both rows and columns moved, as when channels are pruned or shuffled all over.

No line of them is what it was. But a row that was shuffled has the elements that it had, in another
order; and where elements are wide enough to be known by their bits, each says where it was, so that
the elements of a row vote for the row that they come from.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.hash_factors import FACTOR, SPREAD
from slotcast_publisher.delta.line_table import lookup
from slotcast_publisher.delta.lines import LineView
from slotcast_schemas.codecs.delta.elements import Bits
from slotcast_schemas.codecs.source import Source

_CELLS_MAX: Final = 1 << 22
"""The most cells of an old tensor that are sorted."""

_VOTES: Final = 48
"""The number of cells of a line that vote."""

_CELL_MIN_BYTES: Final = 4
"""The least bytes of a cell that is known by its bits."""

_FOUND_SHARE: Final = 0.5
"""The share of rows, and of columns, that must be found."""

_SAMPLED_CELLS: Final = 4096
"""The number of cells by which it is told whether the tensor is worth hashing."""

_KNOWN_SHARE: Final = 0.05
"""The share of sampled cells that must be known: where rows were shuffled half is, and where rows
can be elected a sixth."""

_SEEN_BITS: Final = 20
"""The highest bits of a key, by which most are passed over at once."""

Maps = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Where each row and each column was, -1 where there is none."""


def find_both(base: Source, old: LineView, target: Source, new: LineView) -> Maps | None:
    """Find where the rows and the columns of a tensor were, if both moved and are what they were.

    Args:
        base: the old image.
        old: a tensor of it.
        target: the new image.
        new: a tensor of it, in units as long as the old one's.
    """
    are_known_by_bits = new.place.kind.size_bytes(new.unit) >= _CELL_MIN_BYTES
    if are_known_by_bits and not _are_some_known(base, old, target, new):
        return None
    shuffled = _shuffled(base, old, target, new)
    if shuffled is not None or not are_known_by_bits or old.rows * old.columns > _CELLS_MAX:
        return shuffled
    return _voted(base, old, target, new)


def _are_some_known(base: Source, old: LineView, target: Source, new: LineView) -> bool:
    """Say whether some of a sample of the new cells are among the old ones, without sorting those.

    Args:
        base: the old image.
        old: a tensor of it.
        target: the new image.
        new: a tensor of it.
    """
    picked = np.unique(np.linspace(0, new.rows * new.columns - 1, _SAMPLED_CELLS).astype(np.int64))
    wanted = _picked_keys(target, new, picked)
    shift = np.uint64(64 - _SEEN_BITS)
    seen = np.zeros(1 << _SEEN_BITS, dtype=np.bool_)
    seen[wanted >> shift] = True
    likely = []
    for _, slab in old.slabs(base):
        keys = _keys(slab).ravel()
        likely.append(keys[seen[keys >> shift]])
    return bool(np.mean(np.isin(wanted, np.concatenate(likely))) >= _KNOWN_SHARE)


def _picked_keys(source: Source, view: LineView, picked: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Give the keys of some cells, which are counted row by row; uint64, shape (n,)."""
    found = []
    for row, slab in view.slabs(source):
        first = row * view.columns
        end = first + len(slab) * view.columns
        here = picked[np.searchsorted(picked, first) : np.searchsorted(picked, end)] - first
        found.append(_keys(slab.reshape(-1, 1, view.unit)[here]).ravel())
    return np.concatenate(found)


def _keys(slab: Bits) -> NDArray[np.uint64]:
    """Give a number for the bits of each cell; uint64, shape (rows, columns)."""
    if slab.shape[2] == 1:
        return slab[:, :, 0].astype(np.uint64) * SPREAD
    powers = _powers(slab.shape[2])
    keys: NDArray[np.uint64] = (_mixed(slab.astype(np.uint64)) * powers).sum(
        axis=2, dtype=np.uint64
    )
    return keys * SPREAD


def _shuffled(base: Source, old: LineView, target: Source, new: LineView) -> Maps | None:
    """By what a row consists of whatever its order, then by columns with the rows put back."""
    if (old.rows, old.columns) != (new.rows, new.columns):
        return None
    ours, theirs = (_contents(*each) for each in ((target, new), (base, old)))
    order = np.argsort(theirs, kind="stable")
    rows = lookup(theirs[order], order.astype(np.int32), ours)
    if np.mean(rows >= 0) < _FOUND_SHARE:
        return None
    factors = np.random.Generator(np.random.PCG64(85)).integers(
        0, 1 << 64, new.rows, dtype=np.uint64
    )
    there = rows >= 0
    old_factors = np.zeros(old.rows, dtype=np.uint64)
    old_factors[rows[there]] = factors[there]
    # Of rows that two new ones come from, the last is counted: the other must not be, either.
    counted = there & (old_factors[rows] == factors)
    ours = _column_hashes(target, new, np.where(counted, factors, np.uint64(0)))
    theirs = _column_hashes(base, old, old_factors)
    order = np.argsort(theirs, kind="stable")
    columns = lookup(theirs[order], order.astype(np.int32), ours)
    return (rows, columns) if np.mean(columns >= 0) >= _FOUND_SHARE else None


def _cells(source: Source, view: LineView) -> NDArray[np.uint64]:
    """The hash of each cell; uint64, shape (rows, columns)."""
    powers = _powers(view.unit)
    hashes = np.empty((view.rows, view.columns), dtype=np.uint64)
    for row, slab in view.slabs(source):
        hashes[row : row + len(slab)] = _mixed(
            (_mixed(slab.astype(np.uint64)) * powers).sum(axis=2, dtype=np.uint64)
        )
    return hashes


def _contents(source: Source, view: LineView) -> NDArray[np.uint64]:
    """A hash of what each row consists of, whatever the order of its columns."""
    powers = _powers(view.unit)
    sums = np.empty(view.rows, dtype=np.uint64)
    for row, slab in view.slabs(source):
        cells = _mixed((_mixed(slab.astype(np.uint64)) * powers).sum(axis=2, dtype=np.uint64))
        sums[row : row + len(slab)] = cells.sum(axis=1, dtype=np.uint64)
    return sums


def _column_hashes(
    source: Source, view: LineView, factors: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """The hash of each column, each row weighed by its factor."""
    powers = _powers(view.unit)
    sums = np.zeros(view.columns, dtype=np.uint64)
    for row, slab in view.slabs(source):
        cells = (_mixed(slab.astype(np.uint64)) * powers).sum(axis=2, dtype=np.uint64)
        sums += (cells * factors[row : row + len(slab), None]).sum(axis=0, dtype=np.uint64)
    return sums


def _powers(count: int) -> NDArray[np.uint64]:
    """The first powers of the factor, by which the elements of a cell are told apart; (count,)."""
    return np.array([pow(FACTOR, i, 1 << 64) for i in range(count)], np.uint64)


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (values + np.uint64(FACTOR)) * SPREAD
    result: NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(32))) * SPREAD
    return result


def _voted(base: Source, old: LineView, target: Source, new: LineView) -> Maps | None:
    cells, ours = _cells(base, old).ravel(), _cells(target, new)
    order = np.argsort(cells, kind="stable")
    hashes = cells[order]
    # A cell that is there twice, a zero above all, says nothing.
    is_alone = np.ones(len(hashes), dtype=np.bool_)
    is_alone[1:] &= hashes[1:] != hashes[:-1]
    is_alone[:-1] &= hashes[1:] != hashes[:-1]
    hashes, where = hashes[is_alone], order[is_alone]
    if not len(hashes):
        return None
    rows = _elected(ours[:, _spots(new.columns)], hashes, where // old.columns, old.rows)
    if np.mean(rows >= 0) < _FOUND_SHARE:
        return None
    columns = _elected(ours[_spots(new.rows)].T, hashes, where % old.columns, old.columns)
    return (rows, columns) if np.mean(columns >= 0) >= _FOUND_SHARE else None


def _spots(count: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, _VOTES).astype(np.int64))


def _elected(
    votes: NDArray[np.uint64],
    hashes: NDArray[np.uint64],
    lines: NDArray[np.int64],
    line_count: int,
) -> NDArray[np.int32]:
    """For each row of votes the line that most of its cells were in; -1 for fewer than a third."""
    index = np.minimum(np.searchsorted(hashes, votes), len(hashes) - 1)
    is_found = hashes[index] == votes
    voter = np.broadcast_to(np.arange(len(votes))[:, None], votes.shape)[is_found]
    keys, counts = np.unique(voter * line_count + lines[index[is_found]], return_counts=True)
    elected = np.full(len(votes), -1, dtype=np.int32)
    by_count = np.argsort(counts, kind="stable")
    keys, counts = keys[by_count], counts[by_count]
    enough = counts * 3 >= votes.shape[1]
    elected[keys[enough] // line_count] = keys[enough] % line_count
    return elected
