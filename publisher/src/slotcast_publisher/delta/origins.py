"""Where the bytes of a new image come from: tensors that moved, bytes that lie elsewhere, noise.

Tensors are matched as wholes first (`match`). What that leaves is searched for in the whole base:
rows and columns that moved, then runs of bytes (`moved_bytes`). Only what is nowhere is noise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.delta.block_index import Run
from slotcast_publisher.delta.line_table import LineTable
from slotcast_publisher.delta.lines import views_of
from slotcast_publisher.delta.match import Match, match_tensors
from slotcast_publisher.delta.moved_bytes import (
    MovedTensors,
    cost_bytes,
    find_moved_files,
    without_runs,
)
from slotcast_publisher.delta.moved_lines import Moved, explain, pieces_of
from slotcast_publisher.delta.partly_moved import refine
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.source import Source

_NOISE_MIN_BYTES: Final = 64 * 1024
"""The least bytes of an old tensor of floats without a new self that nothing is searched for in."""

_SEARCHED_WHOLE_BYTES: Final = 6 * 1024 * 1024
"""The most other bytes that are suffix sorted as a whole; in more, runs are found first."""

_CHEAP_BYTES: Final = 256
"""The cost of a tensor below which no better explanation is looked for."""

_DOUBTFUL: Final = 0.02
"""The distance of samples from which a tensor without rows is searched for in runs."""

_CERTAIN_SHARE: Final = 0.3
"""The share of a tensor that it must cost at most in runs, to be told by them and not as moved."""

_MUCH_CHEAPER: Final = 1.03
"""How much more runs may cost than lines, which decoders of before do not know."""


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
    base: Source,
    old: list[TensorPlace],
    target: Source,
    new: list[TensorPlace],
    *,
    may_gather: bool = True,
) -> Origins:
    """Find where the target's bytes come from.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors, which do not overlap, in order.
        may_gather: decoders can put rows and columns in another order.
    """
    origins = Origins()
    matches = match_tensors(base, old, target, new)
    matched = {match.new.offset for match in matches}
    lost = [place for place in new if place.offset not in matched]
    search = _Search(base, old, target, may_gather=may_gather)
    for match in matches:
        search.refine(match, origins)
    for place in lost:
        search.explain(place, origins)
    used = {match.old.offset for match in origins.matches}
    origins.forgotten = [
        place
        for place in old
        if place.kind.is_float and place.offset not in used and place.size_bytes >= _NOISE_MIN_BYTES
    ]
    gaps = _gaps([(place.offset, place.size_bytes) for place in new], target.size_bytes)
    large = [gap for gap in gaps if gap[1] > _SEARCHED_WHOLE_BYTES]
    origins.runs += find_moved_files(base, origins.free_ranges(base.size_bytes), target, large)
    return origins


class _Search:
    """The whole base, searched for what no tensor explains."""

    def __init__(
        self, base: Source, old: list[TensorPlace], target: Source, *, may_gather: bool
    ) -> None:
        self._base = base
        self._target = target
        self._may_gather = may_gather
        self._runs = MovedTensors(base, old)
        self._lines = LineTable(base, old)

    def refine(self, match: Match, origins: Origins) -> None:
        """Look at a matched tensor again, line by line, or in runs where it has no lines."""
        place = match.new
        if not views_of(place) and match.doubt > _DOUBTFUL:
            runs = self._runs.find(self._target, place)
            if cost_bytes(place, runs) < _CERTAIN_SHARE * place.size_bytes:
                self._as_runs(place, runs, origins)
                return
        refined = refine(self._lines, self._base, self._target, match)
        if not isinstance(refined, Moved):
            origins.matches += refined
        elif not self._as_lines(refined, origins):
            origins.matches.append(match)

    def explain(self, place: TensorPlace, origins: Origins) -> None:
        """Find where a tensor's bytes come from, as lines or as runs, whichever costs less."""
        runs = self._runs.find(self._target, place)
        if cost_bytes(place, runs) > _CHEAP_BYTES:
            moved = explain(self._lines, self._base, self._target, place)
            # Runs are what every decoder knows, so lines must be worth it.
            is_worth_it = (
                moved is not None and cost_bytes(place, runs) > _MUCH_CHEAPER * moved.cost_bytes()
            )
            if moved is not None and is_worth_it and self._as_lines(moved, origins):
                return
        self._as_runs(place, runs, origins)

    def _as_lines(self, moved: Moved, origins: Origins) -> bool:
        """Tell a tensor by its lines; False where decoders do not know how."""
        matches, lost = pieces_of(moved)
        if not self._may_gather and any(match.gather for match in matches):
            return False
        origins.matches += matches
        for part in lost:
            self._as_runs(part, self._runs.find(self._target, part), origins)
        return True

    def _as_runs(self, place: TensorPlace, runs: list[Run], origins: Origins) -> None:
        origins.runs += runs
        if place.kind.is_float:
            origins.noise += without_runs(place, runs)


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
