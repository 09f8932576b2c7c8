"""Tensors of LiteRT files (.tflite): a FlatBuffer by TensorFlow Lite's schema.

Field numbers and types are those of schema.fbs; the file says TFL3 at its fifth byte.
"""

from __future__ import annotations

from typing import Final

from slotcast_publisher.delta.place import DIMS_MAX, TensorPlace, place_of
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
from slotcast_schemas.flatbuffer import Table, Vector

IDENTIFIER: Final = b"TFL3"

_MODEL_SUBGRAPHS, _MODEL_BUFFERS = 2, 4
_SUBGRAPH_TENSORS = 0
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME = 0, 1, 2, 3
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2

_TENSORS_MAX: Final = 1 << 17
"""The most tensors, and buffers, that are looked at; subgraphs of a broken file may name the same
ones often."""
_NAME_MAX_BYTES: Final = 1 << 16
"""The most bytes of a tensor's name; a broken file may give the same long one to each."""

# TensorType of schema.fbs. 8-byte numbers are taken as pairs of 4-byte ones.
_KINDS: Final[dict[int, tuple[ElementKind, int]]] = {
    0: (FLOAT32, 1),
    1: (FLOAT16, 1),
    2: (INT32, 1),
    3: (INT8, 1),
    4: (INT32, 2),
    6: (INT8, 1),
    7: (INT16, 1),
    8: (FLOAT32, 2),
    9: (INT8, 1),
    10: (INT32, 2),
    12: (INT32, 2),
    15: (INT32, 1),
    16: (INT16, 1),
    17: (INT4, 1),
    18: (BFLOAT16, 1),
}


def find_in_tflite(source: Source) -> list[TensorPlace]:
    """Find the tensors whose buffers have bytes; one buffer of several tensors counts once."""
    reader = Reader(source)
    try:
        model = Table.root(reader)
        if model.vector(_MODEL_BUFFERS, 4).count > _TENSORS_MAX:
            return []
        buffers = [_buffer(buffer, source.size_bytes) for buffer in model.tables(_MODEL_BUFFERS)]
        return _places(model, buffers)
    except NotThisFormat:
        return []


def _buffer(buffer: Table, file_bytes: int) -> Vector:
    """Where the bytes lie: in the table, or behind all tables where the file is over 2 GB."""
    offset, size_bytes = buffer.unsigned(_BUFFER_OFFSET, 8), buffer.unsigned(_BUFFER_SIZE, 8)
    if offset > 1:
        return Vector(offset, size_bytes) if offset + size_bytes <= file_bytes else Vector(0, 0)
    return buffer.vector(_BUFFER_DATA, 1)


def _places(model: Table, buffers: list[Vector]) -> list[TensorPlace]:
    found: dict[int, TensorPlace] = {}
    looked_at = 0
    for subgraph in model.tables(_MODEL_SUBGRAPHS):
        for tensor in subgraph.tables(_SUBGRAPH_TENSORS):
            looked_at += 1
            if looked_at > _TENSORS_MAX:
                raise NotThisFormat(f"expected at most {_TENSORS_MAX} tensors")
            number = tensor.unsigned(_TENSOR_BUFFER, 4)
            known = _KINDS.get(tensor.unsigned(_TENSOR_TYPE, 1))
            if known is None or number >= len(buffers) or number in found or _is_odd(tensor):
                continue
            data = buffers[number]
            name, dims = tensor.text(_TENSOR_NAME), tensor.numbers(_TENSOR_SHAPE)
            place = place_of(name, known[0], dims, data.start, data.count, known[1])
            if place is not None:
                found[number] = place
    return list(found.values())


def _is_odd(tensor: Table) -> bool:
    """Whether it has more dimensions, or a longer name, than any tensor has."""
    dims, name = tensor.vector(_TENSOR_SHAPE, 4), tensor.vector(_TENSOR_NAME, 1)
    return dims.count > DIMS_MAX or name.count > _NAME_MAX_BYTES
