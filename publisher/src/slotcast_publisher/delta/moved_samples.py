"""Which guessed arrays have elements that moved, and from which arrays of the base: by a sample.

Large arrays are looked at in parts, so that memory is bounded; the base is read once for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.cell_index import (
    CELLS_MAX,
    cell_hashes,
    elements_of,
    origins_of_sample,
)
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.source import Source

_ARRAY_MIN_BYTES: Final = 4 * 1024
"""The least bytes of an array that is looked at."""

_PART_ELEMENTS: Final = 4 << 20
"""The most elements of the target that are looked at together."""

_OLD_PART_ELEMENTS: Final = 1 << 20
"""The elements of the base that are chosen, or left out, together."""

_PARTS_MAX: Final = 256
"""The most parts that are looked at, the largest ones."""

_SAMPLED: Final = 4096
"""The cells of a part that are looked for."""

_KNOWN_SHARE: Final = 0.05
"""The share of them that must be in the base."""

_MOVED_MIN: Final = 3
"""The least of them that must be elsewhere than most."""

_ALONE_SHARE: Final = 0.5
"""Of elements that are not in the base with their neighbours, the share that must be there alone
for all to be looked for alone. Of unrelated floats of 32 bits at most a third is, by chance: the
more there are, the more of them are there twice."""

_NEIGHBOURS: Final = {4: 2, 2: 4, 1: 6}
"""The elements in a row that are seldom there twice, by their width in bytes."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class MovedPart:
    """A part of an array that has elements that moved.

    Attributes:
        place: where it lies in the target.
        old: the parts of the base's arrays that it is from, of at most `CELLS_MAX` elements.
        in_a_row: how many elements say where they are from.
    """

    place: TensorPlace
    old: list[TensorPlace]
    in_a_row: int


@dataclass(slots=True)
class _Sample:
    """Some cells of a part: which elements they begin at, and where they lie in the base, or -1."""

    place: TensorPlace
    at: Numbers
    pairs: NDArray[np.uint64]
    alone: NDArray[np.uint64]
    in_a_row: int
    origins: Numbers

    @classmethod
    def of(cls, target: Source, place: TensorPlace) -> _Sample:
        elements = elements_of(target, place)
        in_a_row = _NEIGHBOURS[place.kind.size_bytes(1)]
        # Spread by the golden ratio, so that no row's length is a multiple of the distance.
        fractions = np.arange(_SAMPLED) * 0.6180339887498949 % 1.0
        at = np.unique((fractions * (len(elements) - in_a_row)).astype(np.int64))
        cells = elements[at[:, None] + np.arange(in_a_row)].ravel()
        hashes = cell_hashes(cells, in_a_row)[::in_a_row]
        alone = cell_hashes(elements[at], 1)
        return cls(place, at, hashes, alone, in_a_row, np.full(len(at), -1))

    def count_alone(self, origins: Numbers) -> None:
        """Take where lost elements lie alone, if so many do that all are to be looked for so."""
        is_lost = self.origins < 0
        if np.mean(origins[is_lost] >= 0) >= _ALONE_SHARE:
            self.origins[is_lost] = origins[is_lost]
            self.in_a_row = 1

    @property
    def lost(self) -> int:
        """How many are not in the base."""
        return int(np.count_nonzero(self.origins < 0))

    @property
    def has_moved(self) -> bool:
        """Whether there are some in the base, and not all of them in one piece."""
        known = self.origins >= 0
        if known.mean() < _KNOWN_SHARE:
            return False
        shifts = self.origins[known] - self.at[known] * self.place.kind.size_bytes(1)
        in_place = int(np.unique(shifts, return_counts=True)[1].max())
        return len(self.at) - in_place >= _MOVED_MIN


def find_moved_parts(
    base: Source, old: Sequence[TensorPlace], target: Source, new: Sequence[TensorPlace]
) -> Iterator[MovedPart]:
    """Find the parts of arrays in which something moved.

    Args:
        base: the old image.
        old: its guessed arrays of one kind, in order.
        target: the new image.
        new: its guessed arrays of that kind.
    """
    large = [place for place in new if place.size_bytes >= _ARRAY_MIN_BYTES]
    parts = [part for place in large for part in _parts(place, _PART_ELEMENTS)]
    parts.sort(key=lambda part: (-part.size_bytes, part.offset))
    samples = [_Sample.of(target, part) for part in parts[:_PARTS_MAX]]
    if not samples:
        return
    _look_up(base, old, samples)
    old_parts = [part for place in old for part in _parts(place, _OLD_PART_ELEMENTS)]
    for sample in samples:
        near = _near(old_parts, sample.origins) if sample.has_moved else []
        if near:
            yield MovedPart(sample.place, near, sample.in_a_row)


def _parts(place: TensorPlace, most: int) -> Iterator[TensorPlace]:
    for first in range(0, place.count, most):
        count = min(most, place.count - first)
        offset = place.offset + place.kind.size_bytes(first)
        yield replace(place, offset=offset, size_bytes=place.kind.size_bytes(count), dims=(count,))


def _look_up(base: Source, old: Sequence[TensorPlace], samples: Sequence[_Sample]) -> None:
    """Say of all samples where their cells lie."""
    found = _origins(base, old, [sample.pairs for sample in samples], samples[0].in_a_row)
    for sample, origins in zip(samples, found, strict=True):
        sample.origins = origins
    some = [sample for sample in samples if sample.lost >= _MOVED_MIN]
    if some and some[0].place.kind == FLOAT32:
        found = _origins(base, old, [sample.alone for sample in some], 1)
        for sample, origins in zip(some, found, strict=True):
            sample.count_alone(origins)


def _origins(
    base: Source, old: Sequence[TensorPlace], wanted: list[NDArray[np.uint64]], in_a_row: int
) -> Iterable[Numbers]:
    origins = origins_of_sample(base, old, np.concatenate(wanted), in_a_row)
    return np.split(origins, np.cumsum([len(each) for each in wanted])[:-1])


def _near(old: Sequence[TensorPlace], origins: Numbers) -> list[TensorPlace]:
    """Give the parts that most elements are from, as many of them as can be held."""
    starts = np.array([place.offset for place in old])
    known = origins[origins >= 0]
    votes = np.bincount(np.searchsorted(starts, known, "right") - 1, minlength=len(old))
    chosen: list[TensorPlace] = []
    held = 0
    for number in np.argsort(-votes, kind="stable").tolist():
        place = old[number]
        if votes[number] and held + place.count <= CELLS_MAX:
            chosen.append(place)
            held += place.count
    return sorted(chosen, key=lambda place: place.offset)
