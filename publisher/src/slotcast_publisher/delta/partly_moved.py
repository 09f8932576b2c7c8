"""Tensors that were matched as wholes, and of which some rows or columns moved or are new.

A few rows that changed places, or one that went out of the middle, leave samples that look like a
fine-tune; coded as differences such rows cost more than themselves. Where all other lines are what
they were, they also need not be coded as so many zeros.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.line_table import (
    SKETCHED_LENGTH_MIN,
    LineTable,
    lines_near,
    lookup,
)
from slotcast_publisher.delta.lines import (
    COLUMNS,
    ROWS,
    LineView,
    line_hashes,
    line_sketches,
    views_of,
)
from slotcast_publisher.delta.match import Match
from slotcast_publisher.delta.moved_lines import Moved, explain, explain_near
from slotcast_schemas.codecs.source import Source

_FAR: Final = 0.1
"""The distance of samples from which a fine-tune is looked at line by line."""

_UNLIKE: Final = 0.4
"""The distance of samples from which a tensor of the same name is looked for everywhere."""

_CERTAIN_SHARE: Final = 0.5
"""The share of a tensor that another explanation must cost at most, to be preferred to its name."""

_OTHER_LINE: Final = 0.5
"""The relative distance of sketches above which a line in the same place is another line."""

_OWN_SHARE: Final = 0.98
"""The share of lines near their own place from which training explains a tensor."""

_FOUND_SHARE: Final = 0.5
"""The share of lines that must be near another place for a match to be given up."""

_ZEROS_PER_BYTE: Final = 1600
"""About how many elements that did not move are coded in a byte."""

_BOUNDARY_BYTES: Final = 12
"""About what it costs to cut a tensor once more."""


def refine(table: LineTable, base: Source, target: Source, match: Match) -> Moved | list[Match]:
    """Look at a matched tensor line by line: where its lines were, or the matches that it is.

    Args:
        table: the lines of the base.
        base: the old image.
        target: the new image.
        match: the tensor and its old self.
    """
    ours, theirs = views_of(match.new), views_of(match.old)
    if match.is_transposed or match.gather or not ours or len(ours) != len(theirs):
        return [match]
    pairs = [(ours[0], theirs[0], ROWS), (ours[-1], theirs[-1], COLUMNS)]
    if any(_shape(new) != _shape(old) for new, old, _ in pairs):
        return [match]
    found = _by_equal_lines(base, target, match, pairs)
    if found is not None:
        return found
    if match.doubt > _UNLIKE:
        # The name is all that speaks for it.
        moved = explain(table, base, target, match.new)
        if moved is not None and moved.is_exact:
            worth = moved.cost_bytes() < _CERTAIN_SHARE * match.new.size_bytes
            return moved if worth else [match]
    if match.doubt > _FAR:
        return _near(table, base, target, match) or [match]
    return [match]


def _by_equal_lines(
    base: Source, target: Source, match: Match, pairs: list[tuple[LineView, LineView, int]]
) -> Moved | list[Match] | None:
    """What a tensor is whose rows or columns are equal to old ones; None where none is."""
    step = -1 if _are_columns_likelier(base, target, pairs) else 1
    for new, old, axis in pairs[::step]:
        if not new.has_lines(axis):
            continue
        moved = _some_equal(base, old, target, new, axis)
        if isinstance(moved, Moved):
            return moved
        if moved is not None:
            return _cut(match, new, moved) if axis == ROWS else [match]
    return None


def _shape(view: LineView) -> tuple[int, int, int]:
    return view.rows, view.columns, view.unit


def _are_columns_likelier(
    base: Source, target: Source, pairs: list[tuple[LineView, LineView, int]]
) -> bool:
    """Say whether some rows are equal, though few, and a larger share of the columns.

    Where two columns changed places, a few rows of narrow elements are what they were by chance.
    """
    shares = []
    for new, old, axis in pairs:
        if not new.has_lines(axis):
            return False
        is_equal = line_hashes(target, new, axis) == line_hashes(base, old, axis)
        shares.append(float(is_equal.mean()))
        if shares[0] in (0.0, 1.0) or shares[0] >= _FOUND_SHARE:
            return False
    return shares[1] > shares[0]


def _some_equal(
    base: Source, old: LineView, target: Source, new: LineView, axis: int
) -> Moved | NDArray[np.bool_] | None:
    """Where lines were, if some are equal and some moved; which are equal, if none moved."""
    ours, theirs = line_hashes(target, new, axis), line_hashes(base, old, axis)
    is_equal: NDArray[np.bool_] = ours == theirs
    if not is_equal.any():
        # All of them may have moved by one: then some are found, but none in its place.
        if not np.isin(ours, theirs).any():
            return None
    elif is_equal.all():
        return is_equal
    order = np.argsort(theirs, kind="stable")
    found = lookup(theirs[order], order.astype(np.int32), ours)
    own = np.arange(len(ours), dtype=np.int32)
    is_moved = ~is_equal & (found >= 0)
    is_new = ~is_equal & (found < 0)
    if is_new.any():
        is_new &= _is_other(base, old, target, new, axis)
    if not is_moved.any() and not is_new.any():
        return is_equal
    places = np.where(is_moved, found, own).astype(np.int32)
    places[is_new] = -1
    if is_moved.any() and is_new.any() and new.line_length(axis) >= SKETCHED_LENGTH_MIN:
        # Where others moved, these may have moved and been trained.
        places[is_new] = lines_near(base, old, target, new, axis, is_new)
        is_new &= places < 0
    is_exact = bool((is_equal | is_moved | is_new).all())
    if axis == ROWS:
        whole = replace(new, columns=new.row_length, unit=1)
        return Moved(whole, old, places, is_exact=is_exact)
    rows = np.arange(new.rows, dtype=np.int32)
    return Moved(new, old, rows, places, is_exact=is_exact)


@np.errstate(over="ignore", invalid="ignore")  # what is no number is near nothing
def _is_other(
    base: Source, old: LineView, target: Source, new: LineView, axis: int
) -> NDArray[np.bool_]:
    """Which lines are not what training makes of the line in the same place."""
    ours, theirs = line_sketches(target, new, axis), line_sketches(base, old, axis)
    sizes = np.square(ours).sum(axis=1) + np.square(theirs).sum(axis=1)
    result: NDArray[np.bool_] = np.square(ours - theirs).sum(axis=1) > _OTHER_LINE * sizes
    return result


def _cut(match: Match, view: LineView, is_equal: NDArray[np.bool_]) -> list[Match]:
    """Rows that are equal apart from those that moved, where that is cheaper than coding zeros."""
    cuts = (np.flatnonzero(np.diff(is_equal)) + 1).tolist()
    saved = np.count_nonzero(is_equal) * view.row_length / _ZEROS_PER_BYTE
    if not cuts or len(cuts) * _BOUNDARY_BYTES > saved:
        return [match]
    row_bytes = match.new.kind.size_bytes(view.row_length)
    pieces = []
    for start, end in zip([0, *cuts], [*cuts, view.rows], strict=True):
        size_bytes, dims = (end - start) * row_bytes, (end - start, view.row_length)
        new, old = (
            replace(
                place, dims=dims, offset=place.offset + start * row_bytes, size_bytes=size_bytes
            )
            for place in (match.new, match.old)
        )
        pieces.append(Match(new, old))
    return pieces


def _near(table: LineTable, base: Source, target: Source, match: Match) -> Moved | None:
    """Where training moved lines from, if that is not from their own places."""
    moved = explain_near(table, base, target, match.new)
    if moved is None:
        return None
    places = moved.rows if moved.columns is None else moved.columns
    is_own = places == np.arange(len(places))
    is_same = moved.old.place == match.old and not moved.is_turned
    if is_same and is_own.mean() > _OWN_SHARE * (places >= 0).mean():
        return None
    return moved if (places >= 0).mean() > _FOUND_SHARE else None
