"""One tensor's place in an image: what finders give, and what matching and planning work on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from slotcast_schemas.codecs.delta.elements import ElementKind

DIMS_MAX: Final = 64
"""The most dimensions that a tensor has; a file that names a million of them is no model's."""


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """One tensor's bytes in an image.

    `is_guess` says that no format told of it: its bytes only look like an array of floats. Such a
    place is good enough to compare with another, and not to change what lies there.
    `fields` are those of the records that it consists of, if it does: a kind, and a size in bytes.
    """

    name: str
    kind: ElementKind
    dims: tuple[int, ...]
    offset: int
    size_bytes: int
    is_guess: bool = False
    fields: tuple[tuple[ElementKind, int], ...] = ()

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

    @property
    def end(self) -> int:
        """Where the bytes after it begin."""
        return self.offset + self.size_bytes

    def moved(self, by_bytes: int, prefix: str = "") -> TensorPlace:
        """Give the same place counted from elsewhere, its name with `prefix` before it."""
        return replace(self, offset=self.offset + by_bytes, name=prefix + self.name)


def place_of(
    name: str,
    kind: ElementKind,
    dims: tuple[int, ...],
    offset: int,
    size_bytes: int,
    parts: int = 1,
) -> TensorPlace | None:
    """Give the place, or None where the bytes are no whole elements of the kind, or no tensor.

    Args:
        name: what the file calls the tensor.
        kind: what its elements are coded as.
        dims: its shape in elements of the file.
        offset: where its bytes begin.
        size_bytes: how many they are.
        parts: how many of `kind` make one element of the file: 2 for 8-byte numbers.
    """
    if len(dims) > DIMS_MAX:
        return None
    if size_bytes <= 0 or kind.size_bytes(kind.count(size_bytes)) != size_bytes:
        return None
    return TensorPlace(name, kind, (*dims, parts) if parts > 1 else dims, offset, size_bytes)
