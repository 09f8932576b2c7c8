"""Tensors of ONNX files, and of the files that hold their external data.

Field numbers are those of onnx.proto.
"""

from __future__ import annotations

import dataclasses
import math
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.delta.formats.protobuf import (
    BYTES,
    VARINT,
    Field,
    ProtobufFile,
)
from slotcast_publisher.delta.place import DIMS_MAX, TensorPlace, place_of
from slotcast_schemas.byte_reader import NotThisFormat
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

TENSOR_MIN_BYTES: Final = 128
"""The bytes of an attribute below which no tensor in it is looked for."""

_NUMBERS: Final = (7, 8)
"""The fields of an attribute that are lists of numbers."""

# TensorProto.DataType of onnx.proto. 8-byte integers and floats are taken as pairs of 4-byte ones:
# lossless, and rare among weights.
_KINDS: Final[dict[int, tuple[ElementKind, int]]] = {
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


@dataclass(slots=True)
class OnnxContents:
    """What a ModelProto holds, by its place in the *image*.

    Attributes:
        tensors: all of them.
        number_lists: offset and end of the attributes that are lists of numbers, a tag before each,
            as those of trees are: no arrays, whatever they look like.
    """

    tensors: list[TensorPlace] = dataclasses.field(default_factory=list)
    number_lists: list[tuple[int, int]] = dataclasses.field(default_factory=list)


def find_in_onnx(source: Source, name: str, starts: Mapping[str, tuple[int, int]]) -> OnnxContents:
    """Find the tensors of a ModelProto, and its long lists of numbers.

    Args:
        source: the file.
        name: its path in the release; external data are looked for beside it.
        starts: where each file of the release begins in the image, and how many bytes it has.
    """
    folder = posixpath.dirname(name)
    walker = _Walker(ProtobufFile(source), folder, starts, starts[name][0])
    try:
        walker.model(0, source.size_bytes)
    except (NotThisFormat, ValueError, RecursionError):
        # Not the ONNX that its name promises: opaque, also what was found before it went wrong.
        return OnnxContents()
    return walker.found


class _Walker:
    """Walks a ModelProto; field numbers are those of onnx.proto."""

    def __init__(
        self, file: ProtobufFile, folder: str, starts: Mapping[str, tuple[int, int]], offset: int
    ) -> None:
        self._file = file
        self._folder = folder
        self._starts = starts
        self._offset = offset
        self.found = OnnxContents()

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
        for field in self._file.fields(attribute.start, attribute.end):
            if field.number in _NUMBERS and field.wire_type != BYTES:
                # An attribute is of one type: to look at millions of numbers takes seconds.
                start, end = (self._offset + each for each in (attribute.start, attribute.end))
                self.found.number_lists.append((start, end))
                return
            if field.wire_type == BYTES and field.number in (5, 10):
                self._tensor(field)
            elif field.wire_type == BYTES and field.number in (6, 11):
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
        if data_type not in _KINDS or len(dims) > DIMS_MAX:
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
        kind, parts = _KINDS[data_type]
        offset = int(texts[0] or 0)
        size_bytes = int(texts[1]) if texts[1] else math.prod(dims) * parts * kind.bits // 8
        if offset + size_bytes <= file_bytes:
            self._add(name, data_type, dims, start + offset, size_bytes)

    def _add(
        self, name: str, data_type: int, dims: tuple[int, ...], offset: int, size_bytes: int
    ) -> None:
        kind, parts = _KINDS[data_type]
        place = place_of(name, kind, dims, offset, size_bytes, parts)
        if place is not None:
            self.found.tensors.append(place)
