"""A tensor whose rows or columns moved, as pieces that have an old self.

Decides which explanation of a tensor is the cheapest, and how it is told: a few runs of rows are
tensors of their own, which every decoder knows; many runs, and columns, are a gathered tensor.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from slotcast_publisher.delta.cells import find_both
from slotcast_publisher.delta.line_table import SKETCHED_LENGTH_MIN, LineMap, LineTable, lines_near
from slotcast_publisher.delta.lines import ROWS, LineView, views_of
from slotcast_publisher.delta.match import Match, as_floats
from slotcast_publisher.delta.moved_bytes import part_of
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.tensors import TensorPair
from slotcast_schemas.codecs.delta.gather import THINNEST, Gather
from slotcast_schemas.codecs.delta.segments import TensorSegment
from slotcast_schemas.codecs.source import Source

_SEARCHED_MIN_BYTES: Final = 8 * 1024
"""The least bytes of a tensor for which more is tried than equal lines."""

_SHARE_MIN: Final = 0.1
"""The least share of a tensor's lines that must be found for it to be told by them."""

_MOVED_SHARE: Final = 0.55
"""About what a line that training moved costs, as a share of itself."""

_TRUE_DISTANCE: Final = 0.35
"""The relative distance of elements above which lines are strangers: unrelated ones have 0.7."""

_HOLE_RUN_BYTES: Final = 16 * 1024
"""The bytes of consecutive new rows from which they are a piece of their own; fewer are holes in a
gathered tensor."""

_RUNS_MAX: Final = 24
"""The most runs of rows of a tensor that are told as tensors of their own."""

_CANDIDATES: Final = 3
"""The number of old tensors that are tried where both rows and columns moved."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a new tensor's rows and columns were in one old tensor.

    Attributes:
        view: the new tensor.
        old: the old one.
        rows: for each row the old one (the old column where turned), or -1.
        columns: likewise for columns; None for all of them in their places.
        is_turned: old rows became columns.
        is_exact: what was found is what it was, bit for bit.
        trained_share: of what was found, that which is not.
    """

    view: LineView
    old: LineView
    rows: NDArray[np.int32]
    columns: NDArray[np.int32] | None = None
    is_turned: bool = False
    is_exact: bool = True
    trained_share: float = 1.0

    @property
    def hole_bytes(self) -> int:
        """Bytes of elements that are in no old line."""
        return self.view.place.kind.size_bytes(self.gather().hole_count)

    def gather(self) -> Gather:
        """Give it as the format has it."""
        if self.columns is None and not self.is_turned:
            whole = np.zeros(1, dtype=np.int32)
            return Gather(
                self.old.rows,
                1,
                self.old.row_length,
                rows=self.rows,
                columns=whole,
                is_turned=False,
            )
        count = self.view.columns
        columns = np.arange(count, dtype=np.int32) if self.columns is None else self.columns
        return Gather(
            self.old.rows,
            self.old.columns,
            self.old.unit,
            is_turned=self.is_turned,
            rows=self.rows,
            columns=columns,
        )

    def cost_bytes(self) -> float:
        """Estimate what it costs: holes, maps, and differences where training moved the rest."""
        maps = [self.rows] if self.columns is None else [self.rows, self.columns]
        holes = self.hole_bytes
        rest = 0.0 if self.is_exact else (self.view.place.size_bytes - holes)
        rest *= _MOVED_SHARE * self.trained_share
        return holes + rest + sum(packed_bytes(each) for each in maps) + 24


def packed_bytes(numbers: NDArray[np.int32]) -> int:
    """Estimate what numbers cost in a description, bytes: as they are or as steps."""
    compressor = zstandard.ZstdCompressor(3)
    steps = np.diff(numbers, prepend=0).astype(np.int32)
    planes = (each.view(np.uint8).reshape(-1, 4).T.tobytes() for each in (numbers + 1, steps))
    return min(len(compressor.compress(plane)) for plane in planes)


def explain(table: LineTable, base: Source, target: Source, place: TensorPlace) -> Moved | None:
    """Find the cheapest explanation of a new tensor by lines of the base; None if there is none.

    Args:
        table: the lines of the base.
        base: the old image.
        target: the new image.
        place: the tensor.
    """
    views = views_of(place)
    found = [moved for view in views for moved in _moved(table.exact(target, view), is_exact=True)]
    is_worth_it = place.size_bytes >= _SEARCHED_MIN_BYTES
    if found and is_worth_it:
        found.append(_with_near_rows(base, target, min(found, key=Moved.cost_bytes)))
    if is_worth_it and (not found or min(each.hole_bytes for each in found) * 2 > place.size_bytes):
        found += _both(table, base, target, views)
    if not found and is_worth_it:
        return explain_near(table, base, target, place)
    return min(found, key=Moved.cost_bytes, default=None)


def _with_near_rows(base: Source, target: Source, moved: Moved) -> Moved:
    """Give it with the rows that were moved and trained, too, where others were only moved."""
    is_lost = moved.rows < 0
    is_plain = moved.columns is None and not moved.is_turned
    if not is_plain or not is_lost.any() or moved.view.row_length < SKETCHED_LENGTH_MIN:
        return moved
    rows = moved.rows.copy()
    rows[is_lost] = lines_near(base, moved.old, target, moved.view, ROWS, is_lost)
    trained = int((rows >= 0).sum() - (moved.rows >= 0).sum())
    if not trained:
        return moved
    share = trained / int((rows >= 0).sum())
    return replace(moved, rows=rows, is_exact=False, trained_share=share)


def explain_near(
    table: LineTable, base: Source, target: Source, place: TensorPlace
) -> Moved | None:
    """Find the cheapest explanation of a tensor by lines of the base that training moved.

    Args:
        table: the lines of the base.
        base: the old image.
        target: the new image.
        place: the tensor.
    """
    found = [
        moved
        for view in views_of(place)
        for moved in _moved(table.near(target, view), is_exact=False)
        if _distance(base, target, moved) < _TRUE_DISTANCE
    ]
    return min(found, key=Moved.cost_bytes, default=None)


def _distance(base: Source, target: Source, moved: Moved) -> float:
    """How far elements are from those that they are said to come from, by the first strip.

    Asked because sketches mislead where few elements are large: those of unrelated lines are near
    each other by chance, though the elements are not.
    """
    place, gather = moved.view.place, moved.gather()
    tensor = TensorSegment(place.size_bytes, moved.old.place.offset, place.kind, gather=gather)
    for first, old, new in TensorPair(base, target, place.offset).strips(tensor):
        holes = gather.holes(first, len(old))
        there = slice(None) if holes is None else ~holes
        ours, theirs = (as_floats(place.kind, each[there]) for each in (new, old))
        mean = (ours.sum() + theirs.sum()) / max(1, 2 * len(ours))
        ours, theirs = ours - mean, theirs - mean
        if len(ours):
            size = np.abs(ours).sum() + np.abs(theirs).sum()
            return float(np.abs(ours - theirs).sum() / size) if size > 0 else 0.0
    return 1.0


def _moved(maps: list[LineMap], *, is_exact: bool) -> Iterator[Moved]:
    """What the format can tell of these maps."""
    for each in maps:
        if each.share < _SHARE_MIN:
            continue
        moved = _as_rows(each) if each.axis == ROWS else _as_columns(each)
        if moved is not None:
            yield replace(moved, is_exact=is_exact)


def _as_rows(each: LineMap) -> Moved | None:
    view, old = each.view, each.old
    if each.old_axis == ROWS:
        # What is a row to the format need not be cut into columns.
        whole = replace(view, columns=view.row_length, unit=1)
        return Moved(whole, old, each.places)
    turned = replace(view, columns=old.rows, unit=old.unit)
    return Moved(turned, old, each.places, is_turned=True)


def _as_columns(each: LineMap) -> Moved | None:
    view, old = each.view, each.old
    is_turned = each.old_axis == ROWS
    old_rows, old_columns = (old.columns, old.rows) if is_turned else (old.rows, old.columns)
    if view.unit != old.unit or view.rows != old_rows or view.columns * THINNEST < old_columns:
        return None
    rows = np.arange(view.rows, dtype=np.int32)
    return Moved(view, old, rows, each.places, is_turned=is_turned)


def _both(table: LineTable, base: Source, target: Source, views: list[LineView]) -> Iterator[Moved]:
    for view in views:
        alike = [
            old
            for old in table.views(view.place.kind)
            if old.unit == view.unit
            and view.columns * THINNEST >= old.columns
            and len(old.place.dims) == len(view.place.dims)
        ]
        alike.sort(key=lambda old: (old.place.name != view.place.name, _unlike(old, view)))
        for old in alike[:_CANDIDATES]:
            maps = find_both(base, old, target, view)
            if maps is not None:
                yield Moved(view, old, *maps)
                return


def _unlike(old: LineView, new: LineView) -> float:
    sizes = (old.rows, new.rows), (old.columns, new.columns)
    return sum(abs(math.log2(one / other)) for one, other in sizes)


def pieces_of(moved: Moved) -> tuple[list[Match], list[TensorPlace]]:
    """Give a tensor's pieces that have an old self, and those that have none."""
    matches: list[Match] = []
    lost: list[TensorPlace] = []
    row_bytes = moved.view.place.kind.size_bytes(moved.view.row_length)
    is_plain = moved.columns is None and not moved.is_turned and _is_told_by_runs(moved.rows)
    hole_rows = 1 if is_plain else max(1, _HOLE_RUN_BYTES // row_bytes)
    for start, end, is_hole in _row_runs(moved.rows, hole_rows, is_cut_at_breaks=is_plain):
        part = part_of(moved.view.place, *_span(moved.view.place, start, end, row_bytes))
        part = replace(part, dims=(end - start, moved.view.row_length))
        if is_hole:
            lost.append(part)
        elif is_plain:
            first = int(moved.rows[start])
            span = _span(moved.old.place, first, first + end - start, row_bytes)
            old = part_of(moved.old.place, *span)
            matches.append(Match(part, replace(old, dims=part.dims)))
        else:
            gather = moved.gather()
            matches.append(
                Match(part, moved.old.place, gather=replace(gather, rows=gather.rows[start:end]))
            )
    return matches, lost


def _span(place: TensorPlace, start: int, end: int, row_bytes: int) -> tuple[int, int]:
    return place.offset + start * row_bytes, (end - start) * row_bytes


def _is_told_by_runs(rows: NDArray[np.int32]) -> bool:
    return int(np.count_nonzero(np.diff(rows) != 1)) < _RUNS_MAX


def _row_runs(
    rows: NDArray[np.int32], hole_rows: int, *, is_cut_at_breaks: bool
) -> Iterator[tuple[int, int, bool]]:
    """Runs of rows: new ones, where there are many, and others; cut at each break where asked."""
    is_hole = rows < 0
    breaks = is_hole[1:] != is_hole[:-1]
    if is_cut_at_breaks:
        breaks = breaks | ((np.diff(rows) != 1) & ~is_hole[1:])
    cuts = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(rows)]
    runs: list[tuple[int, int, bool]] = []
    for start, end in itertools.pairwise(cuts):
        is_new = bool(is_hole[start]) and end - start >= hole_rows
        if runs and not is_cut_at_breaks and not is_new and not runs[-1][2]:
            runs[-1] = (runs[-1][0], end, False)
        else:
            runs.append((start, end, is_new))
    yield from runs
