"""Numbers and arrays in a section's description: written one after another, read with bounds.

Every number is read with the largest value that makes sense there, so that nothing read from a
payload is used, or allocated for, before it was checked.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.errors import PayloadCorrupt

_VARINT_BYTES_MAX = 10
"""The most bytes that a variable-length integer of 64 bits takes, 7 bits a byte."""


class FieldWriter:
    """Appends fields to `data`."""

    def __init__(self) -> None:
        self.data = bytearray()

    def uint(self, value: int) -> None:
        """Write an integer of 0 or more, 7 bits a byte, the lowest first (LEB128)."""
        while value >= 0x80:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def sint(self, value: int) -> None:
        """Write an integer of either sign: 0, -1, 1, -2 ... as 0, 1, 2, 3 ..."""
        self.uint(2 * value if value >= 0 else -2 * value - 1)

    def raw(self, data: bytes) -> None:
        """Write bytes whose number the reader knows."""
        self.data += data

    def planes(self, array: NDArray[Any]) -> None:
        """Write an array whose type and shape the reader knows: all lowest bytes, then the next."""
        as_bytes = np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize)
        self.data += as_bytes.T.tobytes()


class FieldReader:
    """Reads what a `FieldWriter` wrote.

    Raises:
        PayloadCorrupt: from every method, where the data ends or a bound is broken.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def uint(self, what: str, largest: int, *, least: int = 0) -> int:
        """Read an integer that must lie within bounds.

        Args:
            what: what an error calls it.
            largest: the largest that it may be.
            least: the least that it may be.
        """
        value = 0
        for index in range(_VARINT_BYTES_MAX):
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                break
        else:
            raise PayloadCorrupt(f"{what}: expected at most {_VARINT_BYTES_MAX} bytes, got more")
        if not least <= value <= largest:
            raise PayloadCorrupt(f"{what}: expected {least} to {largest}, got {value}")
        return value

    def sint(self, what: str) -> int:
        """Read an integer of either sign; the caller checks its range."""
        value = self.uint(what, 1 << 64)
        return -(value + 1) // 2 if value & 1 else value // 2

    def raw(self, size_bytes: int) -> bytes:
        """Read the next bytes."""
        end = self._position + size_bytes
        if end > len(self._data):
            raise PayloadCorrupt(
                f"expected {size_bytes} more bytes of description, "
                f"got {len(self._data) - self._position}"
            )
        data = self._data[self._position : end]
        self._position = end
        return data

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.raw(len(self._data) - self._position)

    def planes(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        """Read an array of `count` elements of a type, shape (count,)."""
        data = self.raw(count * dtype.itemsize)
        planes = np.frombuffer(data, dtype=np.uint8).reshape(dtype.itemsize, count)
        return np.ascontiguousarray(planes.T).view(dtype).reshape(count)

    def finish(self) -> None:
        """Check that nothing is left."""
        if self._position != len(self._data):
            raise PayloadCorrupt(
                f"expected {self._position} bytes of description, got {len(self._data)}"
            )


def zigzag(values: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Turn signed to unsigned so that small magnitudes stay small, modulo 2**32; shape (n,)."""
    result: NDArray[np.uint32] = ((values << 1) ^ (values >> 31)).view(np.uint32)
    return result


def unzigzag(values: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Give what `zigzag` was given; int32, shape (n,)."""
    result: NDArray[np.int32] = ((values >> 1) ^ (0 - (values & 1)).astype(np.uint32)).view(
        np.int32
    )
    return result


def write_steps(writer: FieldWriter, values: NDArray[Any]) -> None:
    """Write an integer array, shape (n,), as the steps between neighbours, in planes."""
    numbers = values.astype(np.int32)
    steps = numbers.copy()
    steps[1:] -= numbers[:-1]
    writer.planes(zigzag(steps))


def read_steps(reader: FieldReader, count: int) -> NDArray[np.int32]:
    """Read what `write_steps` was given, int32, shape (count,); sums wrap modulo 2**32."""
    steps = unzigzag(reader.planes(count, np.dtype("<u4")))
    return np.cumsum(steps, dtype=np.int32)
