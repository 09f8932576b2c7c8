"""All lines of the base by their hash, and which line of it each line of a new tensor is.

The same lookup says where rows went, that a tensor was turned (its rows are columns of the base),
and that its axes are in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.lines import (
    COLUMNS,
    ROWS,
    SKETCH_SIZE,
    LineView,
    line_hashes,
    line_sketches,
    views_of,
)
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import ElementKind
from slotcast_schemas.codecs.source import Source

_NEAR: Final = 0.15
"""The relative distance of sketches below which a line is another, moved by training: unrelated
lines have about 1, those of a fine-tune by a tenth of their size 0.005."""

_NEAR_AMONG_FOUND: Final = 0.25
"""The same where most lines of a tensor were found: then a line is likelier one of them than new,
and of quantised ones some move far, whose scale took another sign."""

_MOST_FOUND: Final = 0.5
"""The share of lines that is most of them."""

SKETCHED_LENGTH_MIN: Final = 48
"""The least elements of a line that is looked for by its sketch: short ones are alike by chance."""

_SAMPLED_LINES: Final = 128
"""The number of lines by which it is told whether looking for all of them pays."""

_FOUND_SHARE: Final = 0.02
"""The share of sampled lines that must be near one of the base."""

_PAIRS_AT_ONCE: Final = 1 << 21
"""The most pairs of sketches that are compared at once."""

_SKETCHED_LINES_MAX: Final = 400_000
"""The most lines of one length whose sketches are held."""

_SKETCHED_LINES_HELD: Final = 100_000
"""The lines of other lengths beside which more sketches are made: 96 bytes are held for each."""

_PAIRS_MAX: Final = 1 << 31
"""The most pairs of sketches that are compared for one tensor."""


@dataclass(frozen=True, slots=True)
class LineMap:
    """Where each line of a view was: lines of one axis of one old view, -1 where there is none."""

    view: LineView
    axis: int
    old: LineView
    old_axis: int
    places: NDArray[np.int32]

    @property
    def share(self) -> float:
        """The share of the lines that were somewhere."""
        return float(np.mean(self.places >= 0))


Family = tuple[LineView, int]
"""The rows of a view, or its columns."""


class LineTable:
    """The lines of a base image's tensors; hashed when first needed, kind by kind.

    Args:
        base: the image.
        tensors: its tensors.
    """

    def __init__(self, base: Source, tensors: Iterable[TensorPlace]) -> None:
        self._base = base
        self._views = [view for place in tensors for view in views_of(place)]
        self._tables: dict[int, _Hashes] = {}
        self._sketches: dict[tuple[int, int], tuple[list[Family], NDArray[np.float32]]] = {}

    def views(self, kind: ElementKind) -> list[LineView]:
        """Give the base's views of tensors of a kind."""
        return [view for view in self._views if view.place.kind == kind]

    def exact(self, target: Source, view: LineView) -> list[LineMap]:
        """Find where the rows of a view were, and where its columns were, bit for bit.

        Args:
            target: the new image.
            view: a tensor of it.
        """
        table = self._table(view.place.kind)
        maps = []
        for axis in (ROWS, COLUMNS):
            if view.has_lines(axis):
                found = table.best_family(line_hashes(target, view, axis))
                if found is not None:
                    (old, old_axis), places = found
                    maps.append(LineMap(view, axis, old, old_axis, places))
        return maps

    def _table(self, kind: ElementKind) -> _Hashes:
        if kind.code not in self._tables:
            families = _families(self.views(kind))
            self._tables[kind.code] = _Hashes.of(
                families, lambda view, axis: line_hashes(self._base, view, axis)
            )
        return self._tables[kind.code]

    def near(self, target: Source, view: LineView) -> list[LineMap]:
        """Find where the rows of a view were, and where its columns were, before training.

        Args:
            target: the new image.
            view: a tensor of it.
        """
        maps = []
        for axis in (ROWS, COLUMNS):
            if view.has_lines(axis) and view.line_length(axis) >= SKETCHED_LENGTH_MIN:
                families, old = self._sketched(view.place.kind, view.line_length(axis))
                if families:
                    maps += _near_maps(view, axis, line_sketches(target, view, axis), families, old)
        return maps

    def _sketched(self, kind: ElementKind, length: int) -> tuple[list[Family], NDArray[np.float32]]:
        """The families of lines of a length, and all their sketches, one after another."""
        key = kind.code, length
        if key not in self._sketches:
            self._forget_sketches()
            families: list[Family] = []
            count = 0
            for view, axis in _families(self.views(kind)):
                lines = view.line_count(axis)
                if view.line_length(axis) == length and count + lines <= _SKETCHED_LINES_MAX:
                    families.append((view, axis))
                    count += lines
            sketches = [line_sketches(self._base, view, axis) for view, axis in families]
            none = np.zeros((0, SKETCH_SIZE), dtype=np.float32)
            self._sketches[key] = families, np.concatenate([none, *sketches])
        return self._sketches[key]

    def _forget_sketches(self) -> None:
        """Drop all sketches where they are so many that those of another length may be too much."""
        held = sum(len(sketches) for _, sketches in self._sketches.values())
        if held > _SKETCHED_LINES_HELD:
            self._sketches.clear()


def _families(views: list[LineView]) -> list[Family]:
    return [(view, axis) for view in views for axis in (ROWS, COLUMNS) if view.has_lines(axis)]


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Hashes of lines, sorted; the family of each, and which line of it it is."""

    families: list[Family]
    hashes: NDArray[np.uint64]
    family: NDArray[np.int32]
    line: NDArray[np.int32]

    @classmethod
    def of(
        cls, families: list[Family], hashes_of: Callable[[LineView, int], NDArray[np.uint64]]
    ) -> _Hashes:
        each = [hashes_of(view, axis) for view, axis in families]
        sizes = [len(hashes) for hashes in each]
        hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *each])
        family = np.repeat(np.arange(len(each), dtype=np.int32), sizes)
        line = np.concatenate(
            [np.zeros(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)]
        )
        order = np.argsort(hashes, kind="stable")
        return cls(families, hashes[order], family[order], line[order])

    def best_family(self, wanted: NDArray[np.uint64]) -> tuple[Family, NDArray[np.int32]] | None:
        """Give the family that most of the lines are in, and where in it each is, or -1."""
        if not len(self.hashes):
            return None
        low, high = (np.searchsorted(self.hashes, wanted, side) for side in ("left", "right"))
        found = np.flatnonzero(high > low)
        if not len(found):
            return None
        votes = np.bincount(self.family[low[found]], minlength=len(self.families))
        best = int(np.argmax(votes))
        own = np.flatnonzero(self.family == best)
        return self.families[best], lookup(self.hashes[own], self.line[own], wanted)


def lookup(
    hashes: NDArray[np.uint64], lines: NDArray[np.int32], wanted: NDArray[np.uint64]
) -> NDArray[np.int32]:
    """Give the line that has each wanted hash, or -1; of several the one that follows the last.

    Args:
        hashes: sorted, shape (n,).
        lines: the line of each, shape (n,).
        wanted: shape (m,).
    """
    low, high = (np.searchsorted(hashes, wanted, side) for side in ("left", "right"))
    is_found = high > low
    places = np.where(is_found, lines[np.minimum(low, len(lines) - 1)], -1).astype(np.int32)
    for index in np.flatnonzero(high - low > 1):
        candidates = lines[low[index] : high[index]]
        after = places[index - 1] + 1 if index else 0
        if after in candidates:
            places[index] = after
        elif index in candidates:
            places[index] = index
    return places


@np.errstate(over="ignore", invalid="ignore")  # what is no number is near nothing
def _near_maps(
    view: LineView,
    axis: int,
    new: NDArray[np.float32],
    families: list[Family],
    old: NDArray[np.float32],
) -> list[LineMap]:
    """The family whose lines most of the new ones are near; none if hardly any is."""
    centre = old.mean(axis=0)
    new, old = new - centre, old - centre
    sample = np.unique(np.linspace(0, len(new) - 1, _SAMPLED_LINES).astype(int))
    nearest = _nearest(new[sample], old)
    if np.mean(nearest >= 0) < _FOUND_SHARE:
        return []
    ends = np.cumsum([each.line_count(own) for each, own in families])
    votes = np.bincount(np.searchsorted(ends, nearest[nearest >= 0], "right"))
    best = int(np.argmax(votes))
    old_view, old_axis = families[best]
    lines = old[ends[best] - old_view.line_count(old_axis) : ends[best]]
    if len(new) * len(lines) > _PAIRS_MAX:
        return []
    return [LineMap(view, axis, old_view, old_axis, _near_lines(new, lines))]


@np.errstate(over="ignore", invalid="ignore")  # what is no number is near nothing
def lines_near(
    base: Source,
    old: LineView,
    target: Source,
    new: LineView,
    axis: int,
    is_wanted: NDArray[np.bool_],
) -> NDArray[np.int32]:
    """Give the line of an old tensor that each wanted one is near, or -1; shape (wanted,).

    Args:
        base: the old image.
        old: a tensor of it.
        target: the new image.
        new: a tensor of it, with lines as long.
        axis: `ROWS` or `COLUMNS`.
        is_wanted: which lines of the new one, bool, shape (lines,).
    """
    theirs = line_sketches(base, old, axis)
    ours, centre = line_sketches(target, new, axis)[is_wanted], theirs.mean(axis=0)
    return _near_lines(ours - centre, theirs - centre)


@np.errstate(over="ignore", invalid="ignore")  # what is no number is near nothing
def _near_lines(new: NDArray[np.float32], old: NDArray[np.float32]) -> NDArray[np.int32]:
    """Give the old line that each new one is near, or -1; less near ones where most are found.

    Args:
        new: sketches of new lines, shape (n, SKETCH_SIZE).
        old: sketches of old lines, one or more.
    """
    places = _nearest(new, old)
    is_lost = places < 0
    if is_lost.any() and np.mean(is_lost) < 1 - _MOST_FOUND:
        places[is_lost] = _nearest(new[is_lost], old, _NEAR_AMONG_FOUND)
    return places


def _nearest(
    new: NDArray[np.float32], old: NDArray[np.float32], near: float = _NEAR
) -> NDArray[np.int32]:
    """For each new sketch the nearest old one, or -1 where none is near."""
    sizes = np.square(old).sum(axis=1)
    # |a - b|^2 = |b|^2 - 2ab + |a|^2, of which one product gives all that differs between pairs.
    others = np.concatenate([old * np.float32(-2), sizes[:, None]], axis=1).T
    places = np.full(len(new), -1, dtype=np.int32)
    step = max(1, _PAIRS_AT_ONCE // len(old))
    for start in range(0, len(new), step):
        part = new[start : start + step]
        distances = np.concatenate([part, np.ones_like(part[:, :1])], axis=1) @ others
        best = np.argmin(distances, axis=1)
        own = np.square(part).sum(axis=1)
        distance = distances[np.arange(len(part)), best] + own
        is_near = distance < near * (own + sizes[best])
        places[start : start + step] = np.where(is_near, best, -1)
    return places
