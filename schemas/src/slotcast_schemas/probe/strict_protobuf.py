"""Reads a protobuf message in the one way that every reader reads it, or not at all.

The wire format can say one thing in several ways, and readers differ in what they make of the
unusual ones: some cut a field's tag to 32 bits, some take the last of two values and some the
first, some stop at a group. A scan that reads such a file otherwise than the runtime is passed by
it. So what no exporter writes is refused (the encoding is in the Protocol Buffers documentation,
"Encoding"; what its C++ library writes is canonical in this sense). Fields that are not known here
are none of that: exporters are newer than this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
"""The wire types of protobuf (its documentation, "Encoding")."""

_TAG_MAX: Final = 2**32 - 1
"""The largest tag: field numbers have 29 bits, and the wire type three."""
_LENGTH_MAX: Final = 2**31 - 1
"""The largest length of a field; protobuf's own limit of a message."""
_VARINT_MAX: Final = 2**64 - 1
"""The largest number; negative ones are written in two's complement of 64 bits."""
_FIXED_BYTES: Final = {FIXED64: 8, FIXED32: 4}


class NotCanonical(ValueError):
    """The bytes are no protobuf message, or one that readers do not all read alike."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field; `content` is empty unless its wire type is `BYTES`."""

    number: int
    wire_type: int
    content: memoryview


def read_fields(data: memoryview) -> Iterator[Field]:
    """Give the fields of one message in order; nothing is copied.

    Raises:
        NotCanonical: with what is unusual about it, and where.
    """
    at, none = 0, data[:0]
    while at < len(data):
        start = at
        tag, at = _read_varint(data, at, _TAG_MAX, "a field's tag")
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise NotCanonical(f"expected a field's number of at least 1, got 0 at {start}")
        size, content = 0, none
        if wire_type == VARINT:
            _, at = _read_varint(data, at, _VARINT_MAX, "a number")
        elif wire_type == BYTES:
            size, at = _read_varint(data, at, _LENGTH_MAX, "a length")
            content = data[at : at + size]
        elif wire_type in _FIXED_BYTES:
            size = _FIXED_BYTES[wire_type]
        else:
            raise NotCanonical(
                f"expected a wire type of 0, 1, 2 or 5, got {wire_type} at {start}"
                " (groups are written by no exporter)"
            )
        if size > len(data) - at:
            raise NotCanonical(f"a field of {size} bytes at {start} reaches past its message's end")
        at += size
        yield Field(number, wire_type, content)


def _read_varint(data: memoryview, start: int, most: int, what: str) -> tuple[int, int]:
    """Read a number that is written as short as can be, and say where it ends."""
    value, at = 0, start
    while at < len(data) and at - start < 10:
        byte = data[at]
        value |= (byte & 0x7F) << (7 * (at - start))
        at += 1
        if byte >= 0x80:
            continue
        if byte == 0 and at - start > 1:
            raise NotCanonical(f"{what} at {start} is written longer than it need be")
        if value > most:
            raise NotCanonical(f"expected {what} of at most {most}, got {value} at {start}")
        return value, at
    raise NotCanonical(f"{what} at {start} does not end")
