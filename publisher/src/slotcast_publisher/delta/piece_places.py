"""A piece of a guessed array as tensors: what is equal apart from what moved, and its rows.

What is equal is cut from what moved, so that it is copied, and what moved by a low rank shows how
long its rows are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.sign_words import STEP_ELEMENTS, Arrays, Piece
from slotcast_schemas.codecs.delta.elements import ElementKind
from slotcast_schemas.codecs.delta.segments import RANK_MAX
from slotcast_schemas.codecs.source import Source

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

Tensors = list[TensorPlace]


def places_of_piece(
    base: Source, target: Source, kind: ElementKind, piece: Piece, name: str
) -> tuple[Tensors, Tensors]:
    """Give a piece as tensors of the base and of the target: what is equal apart from what moved.

    Args:
        base: the old image.
        target: the new image.
        kind: of its elements.
        piece: where it lies in both.
        name: what both are called.
    """
    old, new = Arrays(base, [], kind), Arrays(target, [], kind)
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


def _part(piece: Piece, first: int, count: int, width: int) -> Piece:
    return Piece(piece.new + first * width, piece.old + first * width, count)


def _stretches(
    old: Arrays, new: Arrays, piece: Piece, width: int
) -> Iterator[tuple[int, int, bool]]:
    """Stretches of a piece: the first element, how many, and whether they are equal bits."""
    done, before = 0, -1
    for first in range(0, piece.count, STEP_ELEMENTS):
        part = _part(piece, first, min(STEP_ELEMENTS, piece.count - first), width)
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


def _guess_row(old: Arrays, new: Arrays, part: Piece) -> int | None:
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
