"""Where the tensors of a release lie: in ONNX files, their external data, and safetensors files.

An offset counts from the start of the image, the release's files laid end to end.
A file that is not what its name promises has no tensors, and goes the way of all other bytes.
"""

from __future__ import annotations

import json
import math
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from slotcast_publisher.delta.protobuf import BYTES, VARINT, Field, NotProtobuf, ProtobufFile
from slotcast_publisher.image_files import Image
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
from slotcast_schemas.codecs.source import FilesImage

TENSOR_MIN_BYTES: Final = 128
"""The least bytes of a tensor that is coded as one; smaller ones cost more to describe than they
save, and go with the bytes around them."""

# TensorProto.DataType of onnx.proto. 8-byte integers and floats are taken as pairs of 4-byte ones:
# lossless, and rare among weights.
_ONNX_KINDS: Final[dict[int, tuple[ElementKind, int]]] = {
    1: (FLOAT32, 1),
    2: (INT8, 1),
    3: (INT8, 1),
    4: (INT16, 1),
    5: (INT16, 1),
    6: (INT32, 1),
    7: (INT32, 2),
    9: (INT8, 1),
    10: (FLOAT16, 1),
    11: (INT32, 2),
    12: (INT32, 1),
    13: (INT32, 2),
    16: (BFLOAT16, 1),
    17: (INT8, 1),
    18: (INT8, 1),
    19: (INT8, 1),
    20: (INT8, 1),
    21: (INT4, 1),
    22: (INT4, 1),
}
_SAFETENSORS_KINDS: Final[dict[str, tuple[ElementKind, int]]] = {
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
_SAFETENSORS_HEADER_MAX: Final = 64 * 1024 * 1024
"""The most bytes of a safetensors header that is read."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor's bytes in an image."""

    name: str
    kind: ElementKind
    dims: tuple[int, ...]
    offset: int
    size_bytes: int

    @property
    def count(self) -> int:
        """Number of elements of `kind`."""
        return self.kind.count(self.size_bytes)

    @property
    def row(self) -> int:
        """Elements that belong to one output: all dimensions but the first."""
        if len(self.dims) < 2 or self.dims[0] == 0:
            return self.count
        return max(1, self.count // self.dims[0])


def image_of(files: Image) -> FilesImage:
    """Open files, laid end to end, for reading."""
    return FilesImage([(path, path.stat().st_size) for _, path in files])


def find_tensors(files: Image) -> list[TensorPlace]:
    """Find every tensor of at least 128 bytes, by its place in the image; none overlaps another.

    Args:
        files: the release's files in manifest order.

    Raises:
        SlotDamaged: a file cannot be read.
    """
    starts: dict[str, tuple[int, int]] = {}
    offset = 0
    for name, path in files:
        size_bytes = path.stat().st_size
        starts[name] = (offset, size_bytes)
        offset += size_bytes
    found: list[TensorPlace] = []
    for name, path in files:
        with FilesImage([(path, starts[name][1])]) as source:
            if name.endswith(".safetensors"):
                found += _safetensors(source, starts[name][0])
            elif name.endswith(".onnx"):
                found += _onnx(source, name, starts)
    return list(_without_overlaps(found))


def _without_overlaps(found: Iterable[TensorPlace]) -> Iterator[TensorPlace]:
    end = 0
    for place in sorted(found, key=lambda place: (place.offset, place.size_bytes)):
        if place.offset >= end and place.size_bytes >= TENSOR_MIN_BYTES:
            yield place
            end = place.offset + place.size_bytes


def _onnx(source: FilesImage, name: str, starts: dict[str, tuple[int, int]]) -> list[TensorPlace]:
    folder = posixpath.dirname(name)
    walker = _OnnxWalker(ProtobufFile(source), folder, starts, starts[name][0])
    try:
        walker.model(0, source.size_bytes)
    except (NotProtobuf, UnicodeDecodeError, RecursionError):
        # Not the ONNX that its name promises: opaque, also what was found before it went wrong.
        return []
    return walker.found


class _OnnxWalker:
    """Walks a ModelProto; field numbers are those of onnx.proto."""

    def __init__(
        self, file: ProtobufFile, folder: str, starts: dict[str, tuple[int, int]], offset: int
    ) -> None:
        self._file = file
        self._folder = folder
        self._starts = starts
        self._offset = offset
        self.found: list[TensorPlace] = []

    def model(self, start: int, end: int) -> None:
        for field in self._messages(start, end):
            if field.number == 7:
                self._graph(field)
            elif field.number == 25:
                self._nodes(field, node_number=7)

    def _messages(self, start: int, end: int) -> Iterator[Field]:
        return (field for field in self._file.fields(start, end) if field.wire_type == BYTES)

    def _graph(self, graph: Field) -> None:
        for field in self._messages(graph.start, graph.end):
            if field.number == 5:
                self._tensor(field)
            elif field.number == 15:
                for part in self._messages(field.start, field.end):
                    self._tensor(part)
        self._nodes(graph, node_number=1)

    def _nodes(self, parent: Field, node_number: int) -> None:
        for node in self._messages(parent.start, parent.end):
            if node.number != node_number:
                continue
            for attribute in self._messages(node.start, node.end):
                if attribute.number == 5 and attribute.end - attribute.start >= TENSOR_MIN_BYTES:
                    self._attribute(attribute)

    def _attribute(self, attribute: Field) -> None:
        for field in self._messages(attribute.start, attribute.end):
            if field.number in (5, 10):
                self._tensor(field)
            elif field.number in (6, 11):
                self._graph(field)

    def _tensor(self, tensor: Field) -> None:
        dims: list[int] = []
        data_type, name, external = 0, "", {}
        raw: list[Field] = []
        for field in self._file.fields(tensor.start, tensor.end):
            if field.number == 1:
                dims += self._dims(field)
            elif field.number == 2 and field.wire_type == VARINT:
                data_type = field.value
            elif field.number == 8:
                name = self._text(field)
            elif field.number == 13:
                external.update(self._entry(field))
            elif field.number in (4, 9, 10) and field.wire_type == BYTES:
                raw.append(field)
        if data_type not in _ONNX_KINDS:
            return
        if "location" in external:
            self._external(name, data_type, tuple(dims), external)
        elif len(raw) == 1:
            place = (self._offset + raw[0].start, raw[0].end - raw[0].start)
            self._add(name, data_type, tuple(dims), *place)

    def _dims(self, field: Field) -> list[int]:
        if field.wire_type == VARINT:
            return [field.value]
        dims, position = [], field.start
        while position < field.end:
            value, position = self._file.varint(position, field.end)
            dims.append(value)
        return dims

    def _text(self, field: Field) -> str:
        return self._file.read(field.start, field.end).decode()

    def _entry(self, field: Field) -> dict[str, str]:
        texts = {part.number: self._text(part) for part in self._messages(field.start, field.end)}
        return {texts.get(1, ""): texts.get(2, "")}

    def _external(
        self, name: str, data_type: int, dims: tuple[int, ...], external: dict[str, str]
    ) -> None:
        location = posixpath.normpath(posixpath.join(self._folder, external["location"]))
        start, file_bytes = self._starts.get(location, (0, 0))
        texts = (external.get("offset", "0"), external.get("length", ""))
        if not all(text.isdecimal() or not text for text in texts):
            return
        kind, parts = _ONNX_KINDS[data_type]
        offset = int(texts[0] or 0)
        size_bytes = int(texts[1]) if texts[1] else math.prod(dims) * parts * kind.bits // 8
        if offset + size_bytes <= file_bytes:
            self._add(name, data_type, dims, start + offset, size_bytes)

    def _add(
        self, name: str, data_type: int, dims: tuple[int, ...], offset: int, size_bytes: int
    ) -> None:
        kind, parts = _ONNX_KINDS[data_type]
        if parts > 1:
            dims = (*dims, parts)
        if size_bytes and kind.size_bytes(kind.count(size_bytes)) == size_bytes:
            self.found.append(TensorPlace(name, kind, dims, offset, size_bytes))


def _safetensors(source: FilesImage, offset: int) -> list[TensorPlace]:
    """Header of 8 bytes size and JSON, then the data (the format's README)."""
    if source.size_bytes < 8:
        return []
    header_bytes = int.from_bytes(source.read_at(0, 8), "little")
    if header_bytes > min(_SAFETENSORS_HEADER_MAX, source.size_bytes - 8):
        return []
    try:
        header = json.loads(source.read_at(8, header_bytes))
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
        places = [_safetensor(name, entry, offset + 8 + header_bytes) for name, entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError):
        return []
    end = offset + source.size_bytes
    return [place for place in places if place and place.offset + place.size_bytes <= end]


def _safetensor(name: str, entry: dict[str, Any], data: int) -> TensorPlace | None:
    start, end = (int(offset) for offset in entry["data_offsets"])
    dims = tuple(int(dim) for dim in entry["shape"])
    known = _SAFETENSORS_KINDS.get(str(entry["dtype"]))
    if known is None or not 0 <= start <= end:
        return None
    kind, parts = known
    if kind.size_bytes(kind.count(end - start)) != end - start:
        return None
    return TensorPlace(name, kind, (*dims, parts) if parts > 1 else dims, data + start, end - start)
