"""Where the bytes of a new image come from: tensors that moved, bytes that lie elsewhere, noise.

Tensors are matched as wholes first (`match`). What that leaves is searched for in the whole base:
rows and columns that moved, then runs of bytes (`moved_bytes`). Only what is nowhere is noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.delta.block_index import Run
from slotcast_publisher.delta.match import Match, match_tensors
from slotcast_publisher.delta.moved_bytes import (
    find_moved_files,
    find_moved_tensors,
    without_runs,
)
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.source import Source

_NOISE_MIN_BYTES: Final = 64 * 1024
"""The least bytes of an old tensor of floats without a new self that nothing is searched for in."""

_SEARCHED_WHOLE_BYTES: Final = 6 * 1024 * 1024
"""The most other bytes that are suffix sorted as a whole; in more, runs are found first."""


@dataclass(slots=True)
class Origins:
    """What is known of the target's bytes; no two of these overlap in the target.

    Attributes:
        matches: tensors, or rows of them, and their old selves, in the order of the target.
        runs: bytes that lie in the base as they are.
        noise: weights that are nowhere in the base.
        forgotten: old weights that nothing was made of, and that nothing is like.
    """

    matches: list[Match] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    noise: list[TensorPlace] = field(default_factory=list)
    forgotten: list[TensorPlace] = field(default_factory=list)

    def free_ranges(self, base_size_bytes: int) -> list[tuple[int, int]]:
        """Give the ranges of the base that may have bytes like the new ones: offset and size."""
        used = [(match.old.offset, match.old.size_bytes) for match in self.matches]
        used += [(place.offset, place.size_bytes) for place in self.forgotten]
        return _gaps(used, base_size_bytes)


def find_origins(
    base: Source, old: list[TensorPlace], target: Source, new: list[TensorPlace]
) -> Origins:
    """Find where the target's bytes come from.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors, which do not overlap, in order.
    """
    matches = match_tensors(base, old, target, new)
    matched = {match.new.offset for match in matches}
    lost = [place for place in new if place.offset not in matched]
    origins = Origins(matches)
    runs: list[Run] = []
    for place, inside in find_moved_tensors(base, old, target, lost):
        runs += inside
        if place.kind.is_float:
            origins.noise += without_runs(place, inside)
    used = {match.old.offset for match in matches}
    origins.forgotten = [
        place
        for place in old
        if place.kind.is_float and place.offset not in used and place.size_bytes >= _NOISE_MIN_BYTES
    ]
    gaps = _gaps([(place.offset, place.size_bytes) for place in new], target.size_bytes)
    large = [gap for gap in gaps if gap[1] > _SEARCHED_WHOLE_BYTES]
    runs += find_moved_files(base, origins.free_ranges(base.size_bytes), target, large)
    origins.runs = sorted(runs, key=lambda run: run.offset)
    return origins


def _gaps(taken: Iterable[tuple[int, int]], size_bytes: int) -> list[tuple[int, int]]:
    """Give what lies between ranges, which may overlap: offset and size of each."""
    gaps, end = [], 0
    for offset, taken_bytes in sorted(taken):
        if offset > end:
            gaps.append((end, offset - end))
        end = max(end, offset + taken_bytes)
    if end < size_bytes:
        gaps.append((end, size_bytes - end))
    return gaps
