"""Where the fields of a protobuf message lie in a file, without loading the file.

Only what finding tensors needs: field numbers, wire types and byte ranges (the encoding is in the
Protocol Buffers documentation, "Encoding"). What the fields mean is left to `onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from slotcast_schemas.byte_reader import NotThisFormat, Reader
from slotcast_schemas.codecs.source import Source

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
"""The wire types of protobuf (its documentation, "Encoding")."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its value if a number, else where its content lies."""

    number: int
    wire_type: int
    value: int
    start: int
    end: int


class ProtobufFile:
    """Reads fields anywhere in a source, through a small cache."""

    def __init__(self, source: Source) -> None:
        self._reader = Reader(source)

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes of a range.

        Raises:
            NotThisFormat: the range is not inside the file.
        """
        return self._reader.read(start, end - start)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """Read a number, and say where it ends.

        Raises:
            NotThisFormat: it does not end in time.
        """
        value = 0
        for index, byte in enumerate(self.read(position, min(position + 10, end))):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, position + index + 1
        raise NotThisFormat(f"expected a number to end by {end}")

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Give the fields of the message that lies there.

        Raises:
            NotThisFormat: it is no message.
        """
        position = start
        while position < end:
            tag, position = self.varint(position, end)
            number, wire_type = tag >> 3, tag & 7
            value, content = 0, position
            if wire_type == VARINT:
                value, position = self.varint(position, end)
            elif wire_type == BYTES:
                size, content = self.varint(position, end)
                position = content + size
            elif wire_type in (FIXED32, FIXED64):
                position += 4 if wire_type == FIXED32 else 8
            else:
                raise NotThisFormat(f"expected a wire type of 0, 1, 2 or 5, got {wire_type}")
            if number == 0 or position > end:
                raise NotThisFormat(f"expected field {number} to end by {end}, got {position}")
            yield Field(number, wire_type, value, content, position)
