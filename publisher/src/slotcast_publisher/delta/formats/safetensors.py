"""Tensors of safetensors files: 8 bytes of size, a header in JSON, then the data."""

from __future__ import annotations

import json
from typing import Any, Final

from slotcast_publisher.delta.place import TensorPlace, place_of
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT8,
    INT16,
    INT32,
    ElementKind,
)
from slotcast_schemas.codecs.source import Source

_KINDS: Final[dict[str, tuple[ElementKind, int]]] = {
    "F32": (FLOAT32, 1),
    "F16": (FLOAT16, 1),
    "BF16": (BFLOAT16, 1),
    "I8": (INT8, 1),
    "U8": (INT8, 1),
    "BOOL": (INT8, 1),
    "F8_E4M3": (INT8, 1),
    "F8_E5M2": (INT8, 1),
    "I16": (INT16, 1),
    "U16": (INT16, 1),
    "I32": (INT32, 1),
    "U32": (INT32, 1),
    "I64": (INT32, 2),
    "U64": (INT32, 2),
    "F64": (INT32, 2),
}
_HEADER_MAX: Final = 64 * 1024 * 1024
"""The most bytes of a safetensors header that is read."""


def find_in_safetensors(source: Source) -> list[TensorPlace]:
    """Find the tensors that the header names (the format's README)."""
    if source.size_bytes < 8:
        return []
    header_bytes = int.from_bytes(source.read_at(0, 8), "little")
    if header_bytes > min(_HEADER_MAX, source.size_bytes - 8):
        return []
    try:
        header = json.loads(source.read_at(8, header_bytes))
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        places = [_tensor(name, entry, 8 + header_bytes) for name, entry in entries]
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [place for place in places if place and place.end <= source.size_bytes]


def _tensor(name: str, entry: dict[str, Any], data: int) -> TensorPlace | None:
    start, end = (int(offset) for offset in entry["data_offsets"])
    dims = tuple(int(dim) for dim in entry["shape"])
    known = _KINDS.get(str(entry["dtype"]))
    if known is None or not 0 <= start <= end:
        return None
    kind, parts = known
    return place_of(name, kind, dims, data + start, end - start, parts)
