"""Pieces of guessed arrays that belong together, found by words of signs.

Training moves weights and seldom their signs, so 32 signs in a row are a word that says where in
the model one is. Words that come once in each image are anchors (as in patience diff); anchors with
the same distance make a piece, which is then extended as far as signs agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, Bits, ElementKind, is_negative
from slotcast_schemas.codecs.source import Source

_WORD: Final = 32
"""The signs that make a word."""

_CHOSEN_LOG2: Final = 5
"""One word in 2 to this is remembered, chosen by its bits, so that both images choose alike."""

STEP_ELEMENTS: Final = 1 << 20
"""The elements that are looked at together."""

_EXTENSION_MAX: Final = 1 << 18
"""The most elements that a piece is extended by on one side."""

_EXTENSION_STEP: Final = 1 << 14
"""The elements that are compared at once for it."""

_SILENCE_MAX: Final = 8192
"""The most elements between two anchors of a piece; behind more of them may lie another tensor."""

_SIGN_DIFFERS: Final = -2
"""What a sign that differs counts, against 1 for one that agrees: half of unrelated ones differ."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements of the target that came from elements of the base, by their offsets in bytes."""

    new: int
    old: int
    count: int


class Arrays:
    """Guessed arrays of one kind in one image.

    Args:
        source: the image.
        places: the arrays.
        kind: of their elements.
    """

    def __init__(self, source: Source, places: list[TensorPlace], kind: ElementKind) -> None:
        self._source = source
        self._kind = kind
        self._places = sorted(places, key=lambda place: place.offset)
        self._starts = np.array([place.offset for place in self._places], dtype=np.int64)
        self._ends = np.array([place.end for place in self._places], dtype=np.int64)

    def number_of(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """In which array each offset lies; int64, shape (n,)."""
        number: NDArray[np.int64] = np.searchsorted(self._starts, offsets, side="right") - 1
        return number

    def bounds(self, number: int) -> tuple[int, int]:
        """Where an array begins and ends."""
        return int(self._starts[number]), int(self._ends[number])

    def elements(self, offset: int, count: int) -> Bits:
        """Elements from an offset on, unsigned, shape (count,)."""
        data = self._source.read_at(offset, self._kind.size_bytes(count))
        return np.frombuffer(data, dtype=self._kind.unsigned)

    def signs(self, offset: int, count: int) -> NDArray[np.bool_]:
        """Which elements are negative; bool, shape (count,)."""
        return is_negative(self._kind, self.elements(offset, count))

    def values(self, offset: int, count: int) -> NDArray[np.float64]:
        """Elements as numbers, those that are not finite as 0; float64, shape (count,)."""
        bits = self.elements(offset, count)
        if self._kind == BFLOAT16:
            bits = bits.astype(np.uint32) << np.uint32(16)
        floats = bits.view(np.float16 if self._kind == FLOAT16 else np.float32)
        with np.errstate(invalid="ignore"):
            return np.where(np.isfinite(floats), floats, 0.0).astype(np.float64)

    def words(self) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Words that come once: uint32, ordered, and where each begins: int64; shape (n,)."""
        found = [self._words_of(place) for place in self._places]
        words = np.concatenate([np.zeros(0, dtype=np.uint32), *(each for each, _ in found)])
        offsets = np.concatenate([np.zeros(0, dtype=np.int64), *(each for _, each in found)])
        words, first, counts = np.unique(words, return_index=True, return_counts=True)
        return words[counts == 1], offsets[first[counts == 1]]

    def _words_of(self, place: TensorPlace) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        words, offsets, width = [], [], self._kind.size_bytes(1)
        for first in range(0, place.count, STEP_ELEMENTS):
            count = min(STEP_ELEMENTS + _WORD - 1, place.count - first)
            of_signs = _words(self.signs(place.offset + first * width, count))
            chosen = np.flatnonzero(_is_chosen(of_signs))
            words.append(of_signs[chosen])
            offsets.append(place.offset + (first + chosen) * width)
        return np.concatenate(words), np.concatenate(offsets)


def _words(signs: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """The word that begins at each element which 31 follow; uint32, shape (n - 31,)."""
    words = signs.astype(np.uint32)
    for shift in (1, 2, 4, 8, 16):
        words = (words[:-shift] << np.uint32(shift)) | words[shift:]
    return words


def _is_chosen(words: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Which words are remembered: by the highest bits of a product that stirs them."""
    stirred = words * np.uint32(0x9E3779B1)
    is_chosen: NDArray[np.bool_] = (stirred >> np.uint32(32 - _CHOSEN_LOG2)) == 0
    return is_chosen


@dataclass(frozen=True, slots=True)
class _Run:
    """Anchors in a row with the same shift: where they lie in the target, and within what."""

    low: int
    high: int
    shift: int
    lowest: int
    highest: int


def find_pieces(old: Arrays, new: Arrays, width: int) -> Iterator[Piece]:
    """Find pieces, in the order of the target, without overlaps.

    Args:
        old: the arrays of the base.
        new: those of the target, of the same kind.
        width: the bytes of an element.
    """
    runs = _anchored(old, new, width)
    end = 0
    for index, run in enumerate(runs):
        following = runs[index + 1].low if index + 1 < len(runs) else run.highest
        most = (min(run.highest, following) - run.high) // width
        high = run.high + width * _extension(old, new, run, most, width, forward=True)
        most = (run.low - max(run.lowest, end)) // width
        low = run.low - width * _extension(old, new, run, most, width, forward=False)
        yield Piece(low, low + run.shift, (high - low) // width)
        end = high


def _anchored(old: Arrays, new: Arrays, width: int) -> list[_Run]:
    """Runs of anchors with the same shift, ordered, none reaching into the next."""
    words, offsets = new.words()
    old_words, old_offsets = old.words()
    _, ours, theirs = np.intersect1d(words, old_words, assume_unique=True, return_indices=True)
    order = np.argsort(offsets[ours], kind="stable")
    offset, shift = offsets[ours][order], (old_offsets[theirs] - offsets[ours])[order]
    if not len(shift):
        return []
    alike = shift[1:] == shift[:-1]
    # An anchor that agrees with no neighbour is a word that came twice by chance.
    is_kept = np.concatenate((alike, [False])) | np.concatenate(([False], alike))
    offset, shift = offset[is_kept], shift[is_kept]
    if not len(offset):
        return []
    number, old_number = new.number_of(offset), old.number_of(offset + shift)
    breaks = (np.diff(shift) != 0) | (np.diff(number) != 0) | (np.diff(old_number) != 0)
    breaks |= np.diff(offset) > _SILENCE_MAX * width
    firsts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    lasts = np.concatenate((firsts[1:] - 1, [len(offset) - 1]))
    runs: list[_Run] = []
    for first, last in zip(firsts, lasts, strict=True):
        start, end = new.bounds(int(number[first]))
        old_start, old_end = old.bounds(int(old_number[first]))
        by = int(shift[first])
        low, high = int(offset[first]), int(offset[last]) + _WORD * width
        low = max(low, runs[-1].high) if runs else low
        if low < high:
            runs.append(_Run(low, high, by, max(start, old_start - by), min(end, old_end - by)))
    return runs


def _extension(old: Arrays, new: Arrays, run: _Run, most: int, width: int, *, forward: bool) -> int:
    """By how many elements, at most `most`, a run goes on: as far as signs agree more than not."""
    extended, most = 0, min(most, _EXTENSION_MAX)
    while extended < most:
        count = min(_EXTENSION_STEP, most - extended)
        at = run.high + extended * width if forward else run.low - (extended + count) * width
        agree = new.signs(at, count) == old.signs(at + run.shift, count)
        scores = np.where(agree if forward else agree[::-1], 1, _SIGN_DIFFERS).cumsum()
        best = int(scores.argmax())
        if scores[best] <= 0:
            break
        extended += best + 1
        if best + 1 < count:
            break
    return extended
