"""Which old tensor each new tensor came from.

By name first, then by what a few hundred sampled elements say, in both orientations, so that
tensors which an exporter renamed, reordered or transposed are found. A name whose samples
contradict it is not believed. Sampling positions are fixed: the same files match the same way.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT4,
    Bits,
    ElementKind,
    unpack,
)
from slotcast_schemas.codecs.delta.gather import Gather
from slotcast_schemas.codecs.delta.segments import (
    ROW_MAX,
)
from slotcast_schemas.codecs.source import Source

_SAMPLES: Final = 192
"""The number of elements by which two tensors are compared."""

_READ_WHOLE_BYTES: Final = 32 * 1024
"""The most bytes of a tensor that is read whole instead of element by element."""

_NAMED_DISTANCE_MAX: Final = 0.6
"""The distance of samples below which a tensor of the same name is taken for the one before."""

_DISTANCE_MAX: Final = 0.45
"""The distance of samples below which a tensor of another name is taken for the one before: two
unrelated tensors of mean zero have 0.71, a fine-tune under 0.2."""


@dataclass(frozen=True, slots=True)
class Match:
    """A new tensor and the old one that it came from.

    Attributes:
        new: the tensor, or some rows of one, as a matrix where `gather` is given.
        old: the tensor of the base, or some rows of one.
        is_transposed: rows became columns.
        gather: where each row and column was, if they moved.
        doubt: how far samples of both are apart: 0 for equal ones, 0.7 for unrelated ones.
    """

    new: TensorPlace
    old: TensorPlace
    is_transposed: bool = False
    gather: Gather | None = None
    doubt: float = 0.0


def match_tensors(
    base: Source, old: list[TensorPlace], target: Source, new: list[TensorPlace]
) -> list[Match]:
    """Match each new tensor with at most one old one, in the order given; an old one may do twice.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors.
    """
    sampler = _Sampler(base, target)
    by_name = {(place.name, place.kind.code, place.count): place for place in old}
    by_size: dict[tuple[int, int], list[TensorPlace]] = defaultdict(list)
    for place in old:
        by_size[place.kind.code, place.count].append(place)
    matches: list[Match] = []
    for place in new:
        named = by_name.get((place.name, place.kind.code, place.count))
        best = _best(sampler, place, named, by_size[place.kind.code, place.count])
        if best is not None:
            matches.append(best)
    return matches


def _best(
    sampler: _Sampler, new: TensorPlace, named: TensorPlace | None, others: list[TensorPlace]
) -> Match | None:
    if named is not None and sampler.distance(new, named, turned=False) < _NAMED_DISTANCE_MAX:
        # Quadratic matrices may be transposed under the same name.
        turned = _may_be_turned(new, named) and (
            sampler.distance(new, named, turned=True) < sampler.distance(new, named, turned=False)
        )
        return Match(new, named, turned, doubt=sampler.doubt(new, named, turned=turned))
    best, best_distance = None, _DISTANCE_MAX
    for old in others:
        for turned in (False, True) if _may_be_turned(new, old) else (False,):
            distance = sampler.distance(new, old, turned=turned)
            if distance < best_distance:
                doubt = sampler.doubt(new, old, turned=turned)
                best, best_distance = Match(new, old, turned, doubt=doubt), distance
    return best


def _may_be_turned(new: TensorPlace, old: TensorPlace) -> bool:
    return (
        len(new.dims) == len(old.dims) == 2
        and new.dims == old.dims[::-1]
        and 1 < old.dims[0] <= ROW_MAX
        and old.dims[1] > 1
        and new.kind != INT4
    )


class _Sampler:
    """Sampled elements of tensors as float64, remembered."""

    def __init__(self, base: Source, target: Source) -> None:
        self._base = base
        self._target = target
        self._known: dict[tuple[bool, TensorPlace, bool], NDArray[np.float64]] = {}

    def distance(self, new: TensorPlace, old: TensorPlace, *, turned: bool) -> float:
        """0 for equal samples, about 0.7 for unrelated ones."""
        ours = self._samples(new, is_new=True, turned=False)
        theirs = self._samples(old, is_new=False, turned=turned)
        return _relative(ours, theirs)

    def doubt(self, new: TensorPlace, old: TensorPlace, *, turned: bool) -> float:
        """Give the distance without the mean, which weights around a zero point have in common."""
        ours = self._samples(new, is_new=True, turned=False)
        theirs = self._samples(old, is_new=False, turned=turned)
        mean = (ours.mean() + theirs.mean()) / 2
        return _relative(ours - mean, theirs - mean)

    def _samples(self, place: TensorPlace, *, is_new: bool, turned: bool) -> NDArray[np.float64]:
        # Not by the offset alone: two tensors of the base that were guessed may begin together.
        key = (is_new, place, turned)
        if key not in self._known:
            positions = _positions(place.count)
            if turned:
                rows, columns = place.dims
                row, column = np.divmod(positions, rows)
                positions = column * columns + row
            source = self._target if is_new else self._base
            self._known[key] = as_floats(
                place.kind, unpack(place.kind, _read(source, place, positions))
            )
        return self._known[key]


def _relative(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    size = np.abs(ours).mean() + np.abs(theirs).mean()
    return float(np.abs(ours - theirs).mean() / size) if size > 0 else 0.0


def _positions(count: int) -> NDArray[np.int64]:
    """Spread by the golden ratio, so that no dimension is a multiple of the distance."""
    if count <= _SAMPLES:
        return np.arange(count, dtype=np.int64)
    fractions = np.arange(_SAMPLES) * 0.6180339887498949 % 1.0
    return np.asarray(fractions * count, dtype=np.int64)


def _read(source: Source, place: TensorPlace, positions: NDArray[np.int64]) -> bytes:
    if place.kind == INT4:
        positions = np.unique(positions // 2)
    width = place.kind.unsigned.itemsize
    if place.size_bytes <= _READ_WHOLE_BYTES:
        whole = np.frombuffer(
            source.read_at(place.offset, place.size_bytes), dtype=place.kind.unsigned
        )
        return whole[positions].tobytes()
    offsets = place.offset + positions * width
    return b"".join(source.read_at(int(offset), width) for offset in offsets)


def as_floats(kind: ElementKind, bits: Bits) -> NDArray[np.float64]:
    """Give elements' values, with what is not finite as zero; float64, shape (n,)."""
    # Signalling NaNs and numbers past float64's range are no error here: they become zero.
    with np.errstate(invalid="ignore", over="ignore"):
        values = _values(kind, bits)
        return np.where(np.abs(values) < 1e30, values, 0.0)


def _values(kind: ElementKind, bits: Bits) -> NDArray[np.float64]:
    if kind == FLOAT32:
        return bits.view(np.float32).astype(np.float64)
    if kind == FLOAT16:
        return bits.view(np.float16).astype(np.float64)
    if kind == BFLOAT16:
        return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    if kind == INT4:
        return bits.astype(np.float64) - 8
    return bits.view(kind.signed).astype(np.float64)
