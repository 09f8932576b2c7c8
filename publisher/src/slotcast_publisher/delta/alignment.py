"""Cuts guessed arrays of two images into pieces that belong together.

An array that was found by its looks has no name, may hold many tensors, and one of them may have
grown. Matrices whose rows or columns moved are cut out first (`guessed_matrices`); of the rest,
stretches that training left nearly what they were are found by their signs (`sign_words`), and
what of those is equal is cut from what moved (`piece_places`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from slotcast_publisher.delta.guessed_matrices import find_matrices
from slotcast_publisher.delta.guessed_rows import STRETCHES_MIN, find_rows
from slotcast_publisher.delta.piece_places import places_of_piece
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.sign_words import Arrays, Piece, find_pieces
from slotcast_schemas.codecs.delta.elements import ElementKind
from slotcast_schemas.codecs.source import Source

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
        pairs = find_matrices(base, theirs, target, ours)
        old += [before for before, _ in pairs]
        moved = sorted((after for _, after in pairs), key=lambda place: place.offset)
        new, ours = _cut_out(new, ours, moved)
        arrays = Arrays(base, theirs, kind), Arrays(target, ours, kind)
        pieces = list(find_pieces(*arrays, kind.size_bytes(1)))
        if len(pieces) >= STRETCHES_MIN:
            old_matrices, matrices = find_rows(base, theirs, target, ours)
            old += old_matrices
            pieces = [piece for piece in pieces if not _is_in(piece, matrices)]
            new, ours = _cut_out(new, ours, matrices)
        names = [f"{kind.name} found at {piece.new}" for piece in pieces]
        both = [
            places_of_piece(base, target, kind, *each) for each in zip(pieces, names, strict=True)
        ]
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


def _is_in(piece: Piece, matrices: Tensors) -> bool:
    end = piece.new + matrices[0].kind.size_bytes(piece.count) if matrices else 0
    return any(piece.new < each.end and each.offset < end for each in matrices)


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


def _left_over(places: Tensors, pieces: list[Piece], kind: ElementKind) -> Iterator[TensorPlace]:
    """What no piece covers of the arrays that were found."""
    width = kind.size_bytes(1)
    for place in places:
        start = place.offset
        inside = [piece for piece in pieces if place.offset <= piece.new < place.end]
        for piece in [*inside, Piece(place.end, 0, 0)]:
            if piece.new > start:
                count = (piece.new - start) // width
                yield replace(place, offset=start, size_bytes=count * width, dims=(count,))
            start = piece.new + piece.count * width
