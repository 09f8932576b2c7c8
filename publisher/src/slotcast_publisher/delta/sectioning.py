"""Cuts a target image into sections, and each section into pieces: tensors and other bytes.

Sections are encoded on their own, so they bound the encoder's memory and are what cores share.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from slotcast_publisher.delta.match import Match
from slotcast_publisher.delta.origins import Origins
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.weights import WeightsPiece

SECTION_BYTES: Final = 8 * 1024 * 1024
"""The bytes of the image that one section makes, about."""

SECTION_ELEMENTS: Final = 4 * 1024 * 1024
"""The most elements that one section codes; the encoder holds six bytes for each, however small the
element."""

OTHER_WHOLE_BYTES: Final = 6 * 1024 * 1024
"""The most other bytes that are searched as a whole: suffix sorting takes 16 bytes for each byte
searched, and this much fits in 256 MB, with the rest."""

_OTHER_PIECE_BYTES: Final = 4 * 1024 * 1024
"""The bytes of each piece that more other bytes are cut into; searched in a range of 6 MiB, a piece
has 1 MiB on both sides for what moved."""

NOISE_MIN_BYTES: Final = 64 * 1024
"""The least bytes of noise, which no search makes smaller, that are a section of their own."""

_NOISE_BESIDE_MAX_BYTES: Final = 512 * 1024
"""The most bytes of noise in smaller pieces beside which other bytes are still suffix sorted."""

_PIECES_MAX: Final = 32_768
"""The most pieces of one section: the format allows twice as many segments."""

_CRUMB_BYTES: Final = 64
"""The mean bytes of a piece below which a decoder reads other bytes in crumbs."""

_HEAVY_BYTES: Final = 1024 * 1024
"""The other bytes above which a section takes much more memory to make than one of tensors."""


@dataclass(frozen=True, slots=True)
class TargetPiece:
    """A run of the target: elements of a matched tensor from `first` on, a copy, or other bytes.

    Attributes:
        offset: where it begins in the target.
        size_bytes: its size.
        match: the tensor that it is part of, if that has an old self.
        first: its first element in that tensor.
        is_noise: it is weights that nothing explains.
        copied_from: where in the base the same bytes lie, if they do.
        place: the tensor that noise is part of.
    """

    offset: int
    size_bytes: int
    match: Match | None = None
    first: int = 0
    is_noise: bool = False
    copied_from: int | None = None
    place: TensorPlace | None = None

    @property
    def other_bytes(self) -> int:
        """Bytes that are given as they are: all of other bytes, or the holes of a gathered tensor.

        Of a part of a tensor, about.
        """
        if self.is_other or self.match is None or self.match.gather is None:
            return self.size_bytes if self.is_other else 0
        gather = self.match.gather
        first = self.first // gather.row_length
        rows = gather.rows[first : first + self.elements // gather.row_length]
        return self.match.new.kind.size_bytes(replace(gather, rows=rows).hole_count)

    @property
    def is_other(self) -> bool:
        """Whether its bytes are given as they are: neither from a tensor nor a copy."""
        return self.match is None and self.copied_from is None

    def as_weights_of(self, size_bytes: int) -> WeightsPiece:
        """Say what so many of its bytes are to whoever codes them without an old self."""
        place = self.match.new if self.match else self.place
        if place is None:
            return WeightsPiece(size_bytes)
        is_whole = size_bytes == self.size_bytes
        return WeightsPiece(size_bytes, place.kind, place.row if is_whole else 0)

    @property
    def is_noise_apart(self) -> bool:
        """Whether it is so much noise that it is kept apart from bytes that are searched."""
        return self.is_noise and self.size_bytes >= NOISE_MIN_BYTES

    @property
    def elements(self) -> int:
        """Elements of a matched tensor; 0 of other bytes."""
        return self.match.new.kind.count(self.size_bytes) if self.match else 0


@dataclass(slots=True)
class SectionPlan:
    """Pieces that make one section, and ranges of the base that may help its other bytes.

    Attributes:
        pieces: in the order of the target.
        ranges: offset and size of each.
        is_noise: its other bytes are noise, in large pieces.
        size_bytes: its size in the target.
        elements: elements of matched tensors.
        other_bytes: bytes that are neither a matched tensor's nor copied.
        noise_bytes: those of them that are noise.
    """

    pieces: list[TargetPiece] = field(default_factory=list)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    is_noise: bool = False
    size_bytes: int = 0
    elements: int = 0
    other_bytes: int = 0
    noise_bytes: int = 0

    def add(self, piece: TargetPiece) -> None:
        """Take one more piece, which follows the last in the target."""
        self.pieces.append(piece)
        self.size_bytes += piece.size_bytes
        self.elements += piece.elements
        self.other_bytes += piece.other_bytes
        self.noise_bytes += piece.size_bytes if piece.is_noise else 0

    @property
    def is_heavy(self) -> bool:
        """Whether it takes much more memory than sections of tensors do."""
        return self.other_bytes > _HEAVY_BYTES and not self.is_noise

    @property
    def has_gathered(self) -> bool:
        """Whether some of its tensors have rows or columns that moved."""
        return any(piece.match is not None and piece.match.gather for piece in self.pieces)

    @property
    def is_patch_hopeless(self) -> bool:
        """Whether so much of the other bytes is noise that searching them all takes too long."""
        return self.noise_bytes > _NOISE_BESIDE_MAX_BYTES

    @property
    def is_in_crumbs(self) -> bool:
        """Whether other bytes lie between many copies, a few at a time."""
        return self.other_bytes < _CRUMB_BYTES * sum(piece.is_other for piece in self.pieces)


def plan_sections(
    base_size_bytes: int, target_size_bytes: int, origins: Origins
) -> list[SectionPlan]:
    """Plan sections in the order of the target, covering it exactly once.

    Args:
        base_size_bytes: size of the old image.
        target_size_bytes: size of the new one.
        origins: where the bytes of the target come from, as far as that is known.
    """
    # A little more than one section is still one: a second would learn its statistics anew.
    spare = SECTION_BYTES // 8 if target_size_bytes <= SECTION_BYTES * 9 // 8 else 0
    count = max(1, -(-target_size_bytes // (SECTION_BYTES + spare)))
    limit = -(-target_size_bytes // count)
    limit += limit // 16
    plans: list[SectionPlan] = []
    for piece in _cut(_runs(target_size_bytes, origins), limit):
        if not plans or not _fits(plans[-1], piece, limit):
            plans.append(SectionPlan(is_noise=piece.is_noise_apart))
        plans[-1].add(piece)
    free = origins.free_ranges(base_size_bytes)
    start = 0
    for plan in plans:
        plan.ranges = choose_ranges(free, start / target_size_bytes, plan)
        start += plan.size_bytes
    return plans


def _fits(plan: SectionPlan, piece: TargetPiece, limit: int) -> bool:
    return (
        plan.size_bytes + piece.size_bytes <= limit
        and plan.elements + piece.elements <= SECTION_ELEMENTS
        and plan.other_bytes + piece.other_bytes <= OTHER_WHOLE_BYTES
        and (plan.is_noise == piece.is_noise_apart or not piece.is_other)
        and len(plan.pieces) < _PIECES_MAX
    )


def _runs(size_bytes: int, origins: Origins) -> Iterator[TargetPiece]:
    """Tensors, copies, noise, and what lies between them."""
    known = [
        TargetPiece(match.new.offset, match.new.size_bytes, match) for match in origins.matches
    ]
    known += [
        TargetPiece(run.offset, run.size_bytes, copied_from=run.base_offset) for run in origins.runs
    ]
    known += [
        TargetPiece(place.offset, place.size_bytes, is_noise=True, place=place)
        for place in origins.noise
    ]
    end = 0
    for piece in sorted(known, key=lambda piece: piece.offset):
        if piece.offset > end:
            yield TargetPiece(end, piece.offset - end)
        yield piece
        end = piece.offset + piece.size_bytes
    if end < size_bytes:
        yield TargetPiece(end, size_bytes - end)


def _cut(runs: Iterator[TargetPiece], limit: int) -> Iterator[TargetPiece]:
    """Pieces of at most `limit` bytes: tensors cut at the ends of rows, other bytes anywhere."""
    for run in runs:
        most = min(limit, _most_other(run) if run.is_other else _most_bytes(run.match))
        if run.size_bytes <= most:
            yield run
            continue
        place = run.match.new if run.match else run.place
        step = most if place is None else _whole_rows(place, most)
        for start in range(0, run.size_bytes, step):
            size_bytes = min(step, run.size_bytes - start)
            first = run.match.new.kind.count(start) if run.match else 0
            copied_from = None if run.copied_from is None else run.copied_from + start
            yield TargetPiece(
                run.offset + start,
                size_bytes,
                run.match,
                first,
                run.is_noise,
                copied_from,
                run.place,
            )


def _most_other(run: TargetPiece) -> int:
    return OTHER_WHOLE_BYTES if run.size_bytes <= OTHER_WHOLE_BYTES else _OTHER_PIECE_BYTES


def _most_bytes(match: Match | None) -> int:
    return match.new.kind.size_bytes(SECTION_ELEMENTS) if match else SECTION_BYTES


def _whole_rows(place: TensorPlace, limit: int) -> int:
    """The most bytes of whole rows up to the limit; of 8 bytes where a row is longer than that."""
    kind = place.kind
    pair_bytes = max(1, kind.size_bytes(2)) if kind.bits == 4 else kind.size_bytes(1)
    row_bytes = kind.size_bytes(place.row)
    if row_bytes > limit or row_bytes % pair_bytes or kind.count(row_bytes) != place.row:
        return limit // 8 * 8
    return limit // row_bytes * row_bytes


def choose_ranges(
    free: list[tuple[int, int]], position: float, plan: SectionPlan
) -> list[tuple[int, int]]:
    """Choose where to look for a section's other bytes: all ranges, or those at about its place.

    Args:
        free: ranges of the base that no tensor uses.
        position: where the section begins in the target, 0 to 1.
        plan: the section.
    """
    if plan.other_bytes == 0 or plan.is_noise:
        return []
    total = sum(size_bytes for _, size_bytes in free)
    start = 0
    if total > OTHER_WHOLE_BYTES:
        margin = (OTHER_WHOLE_BYTES - min(OTHER_WHOLE_BYTES, plan.other_bytes)) // 2
        start = min(max(0, int(position * total) - margin), total - OTHER_WHOLE_BYTES)
    chosen, seen = [], 0
    for offset, size_bytes in free:
        low, high = max(start - seen, 0), min(start + OTHER_WHOLE_BYTES - seen, size_bytes)
        if low < high:
            chosen.append((offset + low, high - low))
        seen += size_bytes
    return chosen
