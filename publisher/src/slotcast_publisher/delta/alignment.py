"""Cuts guessed arrays of two images into pieces that belong together.

An array that was found by its looks has no name, may hold many tensors, and one of them may have
grown. Training moves weights and seldom their signs, so 32 signs in a row are a word that says
where in the model one is. Words that come once in each image are anchors (as in patience diff);
anchors with the same distance make a piece, which is then extended as far as signs agree.

What is equal is cut from what moved, so that it is copied, and what moved by a low rank shows how
long its rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.guessed_matrices import find_matrices
from slotcast_publisher.delta.guessed_rows import STRETCHES_MIN, find_rows
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import BFLOAT16, FLOAT16, Bits, ElementKind, is_negative
from slotcast_schemas.codecs.delta.segments import RANK_MAX
from slotcast_schemas.codecs.source import Source

_WORD: Final = 32
"""The signs that make a word."""

_CHOSEN_LOG2: Final = 5
"""One word in 2 to this is remembered, chosen by its bits, so that both images choose alike."""

_STEP_ELEMENTS: Final = 1 << 20
"""The elements that are looked at together."""

_EXTENSION_MAX: Final = 1 << 18
"""The most elements that a piece is extended by on one side."""

_EXTENSION_STEP: Final = 1 << 14
"""The elements that are compared at once for it."""

_SILENCE_MAX: Final = 8192
"""The most elements between two anchors of a piece; behind more of them may lie another tensor."""

_SIGN_DIFFERS: Final = -2
"""What a sign that differs counts, against 1 for one that agrees: half of unrelated ones differ."""

_EQUAL_MIN: Final = 4096
"""The least elements of a stretch of equal bits that is cut out, to be copied."""

_ROW_GUESS: Final = 256
"""The elements that share a scale where the length of rows is not known."""

_ROWS_TRIED: Final = 48
"""The rows of a possible matrix whose rank is measured."""

_NEARLY_ALL: Final = 0.98
"""The share of a move that its factors must make up; merging in float16 rounds off some of it."""

_ROW_MAX: Final = 8192
"""The longest row that is tried."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Elements of the target that came from elements of the base, by their offsets in bytes."""

    new: int
    old: int
    count: int


Tensors = list[TensorPlace]


def cut_alike(base: Source, old: Tensors, target: Source, new: Tensors) -> tuple[Tensors, Tensors]:
    """Cut the guessed arrays of both images alike; pieces that belong together get one name.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors.

    Returns:
        The tensors of both, ordered by place, none overlapping another in the target.
    """
    for kind in sorted({place.kind for place in new if place.is_guess}, key=lambda kind: kind.code):
        ours = [place for place in new if place.is_guess and place.kind == kind]
        theirs = [place for place in old if place.is_guess and place.kind == kind]
        arrays = _Arrays(base, theirs, kind), _Arrays(target, ours, kind)
        pieces = list(_pieces(*arrays, kind.size_bytes(1)))
        if len(pieces) >= STRETCHES_MIN:
            old_matrices, matrices = find_rows(base, theirs, target, ours)
            old += old_matrices
            pieces = [piece for piece in pieces if not _is_in(piece, matrices)]
            new, ours = _cut_out(new, ours, matrices)
        pairs = find_matrices(base, theirs, target, list(_left_over(ours, pieces, kind)), ours)
        if pairs:
            old += [before for before, _ in pairs]
            moved = sorted((after for _, after in pairs), key=lambda place: place.offset)
            pieces = [part for piece in pieces for part in _outside(piece, moved)]
            new, ours = _cut_out(new, ours, moved)
        names = [f"{kind.name} found at {piece.new}" for piece in pieces]
        both = [_places(base, target, kind, *each) for each in zip(pieces, names, strict=True)]
        old += [place for before, _ in both for place in before]
        new = [place for place in new if place not in ours]
        new += [place for _, after in both for place in after]
        new += _left_over(ours, pieces, kind)
    old.sort(key=lambda place: place.offset)
    return old, sorted(new, key=lambda place: place.offset)


def _cut_out(new: Tensors, ours: Tensors, matrices: Tensors) -> tuple[Tensors, Tensors]:
    """Give all tensors with these matrices cut out of the arrays, and what is left of those."""
    cut = [part for place in ours for part in _beside(place, matrices)]
    return [place for place in new if place not in ours] + matrices + cut, cut


def _is_in(piece: _Piece, matrices: Tensors) -> bool:
    end = piece.new + matrices[0].kind.size_bytes(piece.count) if matrices else 0
    return any(piece.new < each.end and each.offset < end for each in matrices)


def _outside(piece: _Piece, matrices: Tensors) -> Iterator[_Piece]:
    """Give what is left of a piece beside matrices that reach into it at its ends."""
    width = matrices[0].kind.size_bytes(1)
    start, end = piece.new, piece.new + piece.count * width
    for each in matrices:
        if each.offset <= start < each.end:
            start = each.end
        elif start < each.offset < end:
            end = each.offset
    if start < end:
        yield _Piece(start, piece.old + start - piece.new, (end - start) // width)


def _beside(place: TensorPlace, matrices: Tensors) -> Iterator[TensorPlace]:
    """Give what is left of an array beside the matrices in it: all of it where none is."""
    inside = [each for each in matrices if place.offset <= each.offset < place.end]
    starts = [place.offset, *(each.end for each in inside)]
    ends = [*(each.offset for each in inside), place.end]
    for start, end in zip(starts, ends, strict=True):
        if end > start:
            yield replace(
                place, offset=start, size_bytes=end - start, dims=(place.kind.count(end - start),)
            )


class _Arrays:
    """Guessed arrays of one kind in one image."""

    def __init__(self, source: Source, places: Tensors, kind: ElementKind) -> None:
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
        for first in range(0, place.count, _STEP_ELEMENTS):
            count = min(_STEP_ELEMENTS + _WORD - 1, place.count - first)
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


def _pieces(old: _Arrays, new: _Arrays, width: int) -> Iterator[_Piece]:
    """Pieces in the order of the target, without overlaps."""
    runs = _anchored(old, new, width)
    end = 0
    for index, run in enumerate(runs):
        following = runs[index + 1].low if index + 1 < len(runs) else run.highest
        most = (min(run.highest, following) - run.high) // width
        high = run.high + width * _extension(old, new, run, most, width, forward=True)
        most = (run.low - max(run.lowest, end)) // width
        low = run.low - width * _extension(old, new, run, most, width, forward=False)
        yield _Piece(low, low + run.shift, (high - low) // width)
        end = high


def _anchored(old: _Arrays, new: _Arrays, width: int) -> list[_Run]:
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


def _extension(
    old: _Arrays, new: _Arrays, run: _Run, most: int, width: int, *, forward: bool
) -> int:
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


def _places(
    base: Source, target: Source, kind: ElementKind, piece: _Piece, name: str
) -> tuple[Tensors, Tensors]:
    """A piece as tensors of the base and of the target: what is equal apart from what moved."""
    old, new = _Arrays(base, [], kind), _Arrays(target, [], kind)
    width = kind.size_bytes(1)
    befores: Tensors = []
    afters: Tensors = []
    for first, count, is_equal in _stretches(old, new, piece, width):
        row = _ROW_GUESS
        if is_equal:
            row = count
        elif kind.bits > 8:
            row = _guess_row(old, new, _part(piece, first, count, width)) or row
        dims = (count // row, row) if count > row else (count,)
        after = TensorPlace(
            f"{name}+{first}", kind, dims, piece.new + first * width, count * width, is_guess=True
        )
        afters.append(after)
        befores.append(after.moved(piece.old - piece.new))
    return befores, afters


def _part(piece: _Piece, first: int, count: int, width: int) -> _Piece:
    return _Piece(piece.new + first * width, piece.old + first * width, count)


def _stretches(
    old: _Arrays, new: _Arrays, piece: _Piece, width: int
) -> Iterator[tuple[int, int, bool]]:
    """Stretches of a piece: the first element, how many, and whether they are equal bits."""
    done, before = 0, -1
    for first in range(0, piece.count, _STEP_ELEMENTS):
        part = _part(piece, first, min(_STEP_ELEMENTS, piece.count - first), width)
        differs = new.elements(part.new, part.count) != old.elements(part.old, part.count)
        places = np.concatenate(([before], first + np.flatnonzero(differs)))
        if first + part.count == piece.count:
            places = np.append(places, piece.count)
        gaps = np.diff(places) - 1
        # At both ends whatever is equal is cut off, so that a matrix that moved is whole rows.
        is_cut = (gaps >= _EQUAL_MIN) | (
            (gaps > 0) & ((places[:-1] < 0) | (places[1:] == piece.count))
        )
        for gap in np.flatnonzero(is_cut):
            start, end = int(places[gap]) + 1, int(places[gap + 1])
            if start > done:
                yield done, start - done, False
            yield start, end - start, True
            done = end
        before = int(places[-1])
    if piece.count > done:
        yield done, piece.count - done, False


def _guess_row(old: _Arrays, new: _Arrays, part: _Piece) -> int | None:
    """How long the rows are, where their moves have a low rank; None where they have not."""
    rows_max = part.count // (2 * _ROWS_TRIED)
    candidates = [
        row for row in range(2 * RANK_MAX, min(_ROW_MAX, rows_max) + 1) if part.count % row == 0
    ]
    if not candidates:
        return None
    count = _ROWS_TRIED * candidates[-1]
    moved = new.values(part.new, count) - old.values(part.old, count)
    ranks = {row: _rank(moved[: _ROWS_TRIED * row].reshape(-1, row)) for row in candidates}
    best = min(candidates, key=lambda row: ranks[row])
    return best if ranks[best] <= RANK_MAX else None


def _rank(moved: NDArray[np.float64]) -> int:
    """How many factors make up nearly all of a matrix."""
    powers = np.linalg.eigvalsh(moved @ moved.T)[::-1].clip(min=0.0)
    total = powers.sum()
    return int(np.searchsorted(powers.cumsum(), _NEARLY_ALL * total)) + 1 if total > 0 else 1


def _left_over(places: Tensors, pieces: list[_Piece], kind: ElementKind) -> Iterator[TensorPlace]:
    """What no piece covers of the arrays that were found."""
    width = kind.size_bytes(1)
    for place in places:
        start = place.offset
        inside = [piece for piece in pieces if place.offset <= piece.new < place.end]
        for piece in [*inside, _Piece(place.end, 0, 0)]:
            if piece.new > start:
                count = (piece.new - start) // width
                yield replace(place, offset=start, size_bytes=count * width, dims=(count,))
            start = piece.new + piece.count * width
