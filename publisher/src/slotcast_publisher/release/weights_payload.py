"""The small `full+weights` payload: a frame for each file, of sections that know floats.

It stands beside the easy one, `full+zstd`, which every device can decode and which costs no numpy
time; a device takes whichever it has sooner (`core.plan`, of the device). Decides where a file is
cut into sections; how a section is coded is `delta.weights`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from slotcast_publisher.delta.layout import find_tensors, image_of
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.weights import WeightsPiece, encode_weights
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.full_weights import pack_frame_header
from slotcast_schemas.codecs.source import Source

_SECTION_BYTES: Final = 8 * 1024 * 1024
"""The most bytes of the image that one section makes."""

_SECTION_ELEMENTS: Final = 4 * 1024 * 1024
"""The most elements of one section: the encoder holds up to ten bytes for each byte of them."""

Piece = tuple[int, WeightsPiece]
"""Where a piece begins in the image, and what it is."""


def encode_weights_payload(
    files: Image, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> tuple[int, ...]:
    """Write the image of `files` to `out`; the same files give the same bytes.

    Args:
        files: the release's files in manifest order.
        out: the payload; replaced if it exists.
        progress: told bytes done and bytes in all.

    Returns:
        Bytes of the payload that each file takes, in order.

    Raises:
        SlotDamaged: a file cannot be read.
        OSError: `out` cannot be written.
    """
    tensors = find_tensors(files)
    frames: list[int] = []
    with image_of(files) as image, out.open("wb") as target:
        start = 0
        for _, path in files:
            size_bytes = path.stat().st_size
            before = target.tell()
            target.write(pack_frame_header(size_bytes))
            for section in _sections(tensors, start, start + size_bytes):
                target.write(_encoded(image, section))
                if progress is not None:
                    progress(section[-1][0] + section[-1][1].size_bytes, image.size_bytes)
            frames.append(target.tell() - before)
            start += size_bytes
    return tuple(frames)


def _encoded(image: Source, section: Sequence[Piece]) -> bytes:
    pieces = [piece for _, piece in section]
    data = image.read_at(section[0][0], sum(piece.size_bytes for piece in pieces))
    return encode_weights(data, pieces)


def _sections(tensors: Sequence[TensorPlace], start: int, end: int) -> Iterator[list[Piece]]:
    """A file's pieces, in order, as many at a time as fit one section."""
    section: list[Piece] = []
    held_bytes = held_elements = 0
    for offset, piece in _pieces(tensors, start, end):
        elements = 0 if piece.kind is None else piece.kind.count(piece.size_bytes)
        is_full = held_bytes + piece.size_bytes > _SECTION_BYTES
        if section and (is_full or held_elements + elements > _SECTION_ELEMENTS):
            yield section
            section, held_bytes, held_elements = [], 0, 0
        section.append((offset, piece))
        held_bytes += piece.size_bytes
        held_elements += elements
    if section:
        yield section


def _pieces(tensors: Sequence[TensorPlace], start: int, end: int) -> Iterator[Piece]:
    """Tensors and what lies between them, each cut into pieces that fit a section."""
    for place in tensors:
        if not start <= place.offset < end:
            continue
        yield from _cut(start, WeightsPiece(place.offset - start), 1)
        piece = WeightsPiece(place.size_bytes, place.kind, place.row)
        yield from _cut(place.offset, piece, place.kind.size_bytes(place.row))
        start = place.offset + place.size_bytes
    yield from _cut(start, WeightsPiece(end - start), 1)


def _cut(offset: int, piece: WeightsPiece, row_bytes: int) -> Iterator[Piece]:
    """A piece in parts of whole rows where they fit, of 8 bytes where a row is longer."""
    most = _SECTION_BYTES
    if piece.kind is not None:
        most = min(most, piece.kind.size_bytes(_SECTION_ELEMENTS))
    unit = row_bytes if 0 < row_bytes <= most else 8
    step = most // unit * unit
    for start in range(0, piece.size_bytes, step):
        size_bytes = min(step, piece.size_bytes - start)
        yield offset + start, WeightsPiece(size_bytes, piece.kind, piece.row)
