"""Many values as one parameter of PostgreSQL: the binary form of an array, packed here.

psycopg writes a list as text, and looks at each value to see whether it needs quotes; that was half
of what it cost to write what devices say. The binary form (PostgreSQL's `array_send`) is a length
and the bytes of each value: here a few operations for a whole column, and no parsing there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from sqlalchemy import Boolean, Dialect, Double, Integer, LargeBinary, String
from sqlalchemy.types import BigInteger, TypeDecorator, TypeEngine, UserDefinedType

_NULL: Final = b"\xff\xff\xff\xff"
"""The length that stands for a value that is none."""
_LENGTH: Final = struct.Struct(">i")
_HEAD: Final = struct.Struct(">iiIii")
"""Dimensions, whether a value may be none, the type's number, how many values, the first index."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of a type are packed.

    Attributes:
        oid: PostgreSQL's number of the type (pg_type.dat), and `array_oid` that of its arrays.
        pack: gives the values' bytes, each after its length.
    """

    oid: int
    array_oid: int
    pack: Callable[[Sequence[Any]], bytes]


def _pack_each(values: Sequence[Any], to_bytes: Callable[[Any], bytes]) -> bytes:
    parts = []
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            data = to_bytes(value)
            parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


def _pack_numbers(values: Sequence[Any], kind: str) -> bytes:
    """Pack numbers of a numpy type, big-endian; a bool's bytes are 0 and 1."""
    if None in values:
        return _pack_each(values, lambda value: np.array(value, kind).tobytes())
    packed = np.empty(len(values), [("size", ">i4"), ("value", kind)])
    packed["size"] = packed.dtype["value"].itemsize
    packed["value"] = values
    return packed.tobytes()


_TEXT: Final = _Kind(25, 1009, lambda values: _pack_each(values, str.encode))
_BYTES: Final = _Kind(17, 1001, lambda values: _pack_each(values, bytes))
_BIGINT: Final = _Kind(20, 1016, lambda values: _pack_numbers(values, ">i8"))
_INTEGER: Final = _Kind(23, 1007, lambda values: _pack_numbers(values, ">i4"))
_BOOLEAN: Final = _Kind(16, 1000, lambda values: _pack_numbers(values, "?"))
_DOUBLE: Final = _Kind(701, 1022, lambda values: _pack_numbers(values, ">f8"))
_KINDS: Final[tuple[tuple[type[TypeEngine[Any]], _Kind], ...]] = (
    (String, _TEXT),
    (LargeBinary, _BYTES),
    (BigInteger, _BIGINT),  # before Integer, of which it is one
    (Integer, _INTEGER),
    (Boolean, _BOOLEAN),
    (Double, _DOUBLE),
)


class _Packed(bytes):
    """An array that is packed."""

    __slots__ = ()


class _Dumper(Dumper):
    """Has psycopg send it as it is."""

    format = Format.BINARY

    def dump(self, obj: _Packed) -> bytes:
        """Give the bytes."""
        return obj


def _make_class(kind: _Kind) -> type[_Packed]:
    """Make the class of a kind's arrays: psycopg tells by it which type to name."""
    made = type(f"Packed{kind.array_oid}", (_Packed,), {"__slots__": ()})
    dumper = type(f"Dumper{kind.array_oid}", (_Dumper,), {"oid": kind.array_oid})
    psycopg.adapters.register_dumper(made, dumper)
    return made


_CLASSES: Final = {kind.oid: _make_class(kind) for _, kind in _KINDS}


class PackedArray(UserDefinedType[Sequence[Any]]):
    """An array of a column's values, as a parameter for PostgreSQL.

    Args:
        element: the type of one value.

    Raises:
        TypeError: a type of which no table has a column.
    """

    cache_ok = True

    def __init__(self, element: TypeEngine[Any]) -> None:
        self.element = element
        self._kind = _kind_of(element)

    def bind_processor(self, dialect: Dialect) -> Callable[[Sequence[Any] | None], _Packed]:
        """Give what packs a list of values."""
        element, kind = self.element, self._kind
        made = _CLASSES[kind.oid]

        def pack(values: Sequence[Any] | None) -> _Packed:
            values = values or ()
            if isinstance(element, TypeDecorator):
                values = [element.process_bind_param(value, dialect) for value in values]
            return made(_HEAD.pack(1, 1, kind.oid, len(values), 1) + kind.pack(values))

        return pack


def _kind_of(element: TypeEngine[Any]) -> _Kind:
    if isinstance(element, TypeDecorator):
        return _kind_of(element.impl_instance)
    for type_, kind in _KINDS:
        if isinstance(element, type_):
            return kind
    raise TypeError(f"expected the type of a column that a table has, got {element!r}")
