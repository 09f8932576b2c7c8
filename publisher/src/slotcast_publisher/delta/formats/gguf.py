"""Tensors of GGUF files: metadata, a list of tensors, then the data, aligned.

The layout is that of the format's specification (ggml's docs/gguf.md), block types those of ggml.h.
Blocks of quantised weights are records: a scale or two, then the quants.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from slotcast_publisher.delta.place import TensorPlace, place_of
from slotcast_schemas.byte_reader import NotThisFormat, Reader
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT4,
    INT8,
    INT16,
    INT32,
    ElementKind,
)
from slotcast_schemas.codecs.source import Source

MAGIC: Final = b"GGUF"

_VERSIONS: Final = (2, 3)
"""The versions that there are with sizes of 64 bits; the first had 32, and is no longer written."""

_ALIGNMENT_BYTES: Final = 32
"""What tensors are aligned to unless the metadata say otherwise."""

_ENTRIES_MAX: Final = 1 << 22
"""The most entries of metadata, items of an array of strings, and tensors that are read."""

_STRING, _ARRAY = 8, 9
_VALUE_BYTES: Final = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

# ggml_type: kind of element, and of how many such one element of the file consists.
_KINDS: Final[dict[int, tuple[ElementKind, int]]] = {
    0: (FLOAT32, 1),
    1: (FLOAT16, 1),
    24: (INT8, 1),
    25: (INT16, 1),
    26: (INT32, 1),
    27: (INT32, 2),
    28: (INT32, 2),
    30: (BFLOAT16, 1),
}

# Fields of the blocks whose parts are told apart (block_* of ggml-common.h), in their order.
_HALF: Final = (FLOAT16, 2)
_FIELDS: Final[dict[int, tuple[tuple[ElementKind, int], ...]]] = {
    2: (_HALF, (INT4, 16)),
    3: (_HALF, _HALF, (INT4, 16)),
    6: (_HALF, (INT8, 4), (INT4, 16)),
    7: (_HALF, _HALF, (INT8, 4), (INT4, 16)),
    8: (_HALF, (INT8, 32)),
    10: ((INT4, 16), (INT8, 64), _HALF, _HALF),
    11: ((INT8, 32), (INT8, 64), (INT8, 12), _HALF),
    12: (_HALF, _HALF, (INT8, 12), (INT4, 128)),
    13: (_HALF, _HALF, (INT8, 12), (INT8, 32), (INT4, 128)),
    14: ((INT4, 128), (INT8, 64), (INT8, 16), _HALF),
    15: ((FLOAT32, 4), (INT8, 256), (INT16, 32)),
    20: (_HALF, (INT4, 16)),
    23: (_HALF, (INT16, 2), (INT4, 4), (INT4, 128)),
    39: ((INT8, 1), (INT4, 16)),
}

# ggml_type: weights of a block, and its bytes.
_BLOCKS: Final = {
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
    15: (256, 292),
    16: (256, 66),
    17: (256, 74),
    18: (256, 98),
    19: (256, 50),
    20: (32, 18),
    21: (256, 110),
    22: (256, 82),
    23: (256, 136),
    29: (256, 56),
    34: (256, 54),
    35: (256, 66),
    39: (32, 17),
    40: (64, 36),
    41: (128, 18),
}


def find_in_gguf(source: Source) -> list[TensorPlace]:
    """Find the tensors that the file lists and whose type is known."""
    try:
        return _Walker(Reader(source)).tensors()
    except NotThisFormat:
        return []


class _Walker:
    """Reads a GGUF file from its start."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._position = len(MAGIC)
        self._alignment = _ALIGNMENT_BYTES

    def tensors(self) -> list[TensorPlace]:
        if self._number(4) not in _VERSIONS:
            raise NotThisFormat(f"expected version {_VERSIONS} of GGUF")
        tensors, entries = self._count(), self._count()
        for _ in range(entries):
            self._metadata()
        listed = [self._listed() for _ in range(tensors)]
        data = -(-self._position // self._alignment) * self._alignment
        places = (_place(data, *each) for each in listed)
        return [place for place in places if place and place.end <= self._reader.size_bytes]

    def _number(self, size_bytes: int) -> int:
        self._position += size_bytes
        return self._reader.unsigned(self._position - size_bytes, size_bytes)

    def _count(self) -> int:
        count = self._number(8)
        if count > _ENTRIES_MAX:
            raise NotThisFormat(f"expected at most {_ENTRIES_MAX} entries, got {count}")
        return count

    def _text(self) -> str:
        size_bytes = self._number(8)
        data = self._reader.read(self._position, size_bytes)
        self._position += size_bytes
        return data.decode(errors="replace")

    def _skip_text(self) -> None:
        size_bytes = self._number(8)
        self._position += size_bytes

    def _metadata(self) -> None:
        key, value_type = self._text(), self._number(4)
        start = self._position
        self._skip(value_type)
        if key == "general.alignment" and _VALUE_BYTES.get(value_type) == 4:
            self._alignment = self._reader.unsigned(start, 4)
            if not self._alignment:
                raise NotThisFormat("expected an alignment of 1 byte or more")

    def _skip(self, value_type: int) -> None:
        if value_type in _VALUE_BYTES:
            self._position += _VALUE_BYTES[value_type]
        elif value_type == _STRING:
            self._skip_text()
        elif value_type == _ARRAY:
            self._skip_array()
        else:
            raise NotThisFormat(f"expected a known type of metadata, got {value_type}")

    def _skip_array(self) -> None:
        item_type, count = self._number(4), self._number(8)
        if item_type in _VALUE_BYTES:
            self._position += _VALUE_BYTES[item_type] * count
            return
        if count > _ENTRIES_MAX or item_type != _STRING:
            raise NotThisFormat(f"expected an array of numbers or strings, got type {item_type}")
        for _ in range(count):
            self._skip_text()

    def _listed(self) -> tuple[str, tuple[int, ...], int, int]:
        """A tensor's name, shape with the longest step first, type and offset in the data."""
        name, rank = self._text(), self._number(4)
        if rank > 8:
            raise NotThisFormat(f"expected at most 8 dimensions, got {rank}")
        dims = [self._number(8) for _ in range(rank)]
        return name, tuple(dims[::-1]), self._number(4), self._number(8)


def _place(
    data: int, name: str, dims: tuple[int, ...], tensor_type: int, offset: int
) -> TensorPlace | None:
    count = math.prod(dims)
    if tensor_type in _KINDS:
        kind, parts = _KINDS[tensor_type]
        size_bytes = count * parts * kind.bits // 8
        return place_of(name, kind, dims, data + offset, size_bytes, parts)
    weights, block_bytes = _BLOCKS.get(tensor_type, (1, 0))
    if not dims or count % weights or dims[-1] % weights:
        return None
    # A row of blocks as so many bytes.
    bytes_of_dims = (*dims[:-1], dims[-1] // weights * block_bytes)
    place = place_of(name, INT8, bytes_of_dims, data + offset, count // weights * block_bytes)
    fields = _FIELDS.get(tensor_type, ())
    return None if place is None else replace(place, fields=fields)
