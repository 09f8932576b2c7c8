"""Tables and vectors of a FlatBuffer, read where they lie.

Only what finding tensors needs (the format is in FlatBuffers' documentation, "Internals"): offsets
are 32 bits, a table begins with the distance to its list of fields, and a field that is not in that
list has its default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from slotcast_schemas.byte_reader import NotThisFormat, Reader


@dataclass(frozen=True, slots=True)
class Vector:
    """Where a vector's items begin, and how many there are."""

    start: int
    count: int


class Table:
    """One table; fields are asked for by their number in the schema."""

    def __init__(self, reader: Reader, position: int) -> None:
        """Look at the table at `position`.

        Raises:
            NotThisFormat: there is no table.
        """
        self._reader = reader
        self._position = position
        self._fields = position - reader.signed(position, 4)
        self._fields_bytes = reader.unsigned(self._fields, 2)

    @classmethod
    def root(cls, reader: Reader) -> Table:
        """Give the table that the file begins with.

        Raises:
            NotThisFormat: there is none.
        """
        return cls(reader, reader.unsigned(0, 4))

    def _field(self, number: int) -> int | None:
        entry = 4 + 2 * number
        if entry + 2 > self._fields_bytes:
            return None
        distance = self._reader.unsigned(self._fields + entry, 2)
        return self._position + distance if distance else None

    def unsigned(self, number: int, size_bytes: int) -> int:
        """Give a number that the field holds, 0 by default.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        field = self._field(number)
        return 0 if field is None else self._reader.unsigned(field, size_bytes)

    def vector(self, number: int, item_bytes: int) -> Vector:
        """Give where a vector lies, empty by default.

        Args:
            number: the field.
            item_bytes: the size of an item.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        field = self._field(number)
        if field is None:
            return Vector(0, 0)
        start = field + self._reader.unsigned(field, 4)
        count = self._reader.unsigned(start, 4)
        if start + 4 + count * item_bytes > self._reader.size_bytes:
            raise NotThisFormat(f"expected a vector inside the file, got {count} items at {start}")
        return Vector(start + 4, count)

    def tables(self, number: int) -> Iterator[Table]:
        """Give the tables of a vector of tables.

        Raises:
            NotThisFormat: one is not inside the file.
        """
        vector = self.vector(number, 4)
        for place in range(vector.start, vector.start + 4 * vector.count, 4):
            yield Table(self._reader, place + self._reader.unsigned(place, 4))

    def text(self, number: int) -> str:
        """Give a string, empty by default, whatever its bytes.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        vector = self.vector(number, 1)
        return self._reader.read(vector.start, vector.count).decode(errors="replace")

    def numbers(self, number: int) -> tuple[int, ...]:
        """Give a vector of 32-bit numbers.

        Raises:
            NotThisFormat: it is not inside the file.
        """
        vector = self.vector(number, 4)
        data = self._reader.read(vector.start, 4 * vector.count)
        return tuple(
            int.from_bytes(data[at : at + 4], "little", signed=True)
            for at in range(0, len(data), 4)
        )
