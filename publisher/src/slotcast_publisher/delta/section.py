"""Encodes one section: for each tensor the cheapest predictor, then all streams and their header.

A section is encoded from files alone, so that it can be done in any process.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import zstandard

from slotcast_publisher.delta.coder import CodedSymbols, SymbolCollector
from slotcast_publisher.delta.decay import TABLE_BITS, fit_decay
from slotcast_publisher.delta.known_moves import NOTHING_KNOWN, KnownMoves
from slotcast_publisher.delta.low_rank import factor_bits, fit_low_rank
from slotcast_publisher.delta.other import Packed, encode_other
from slotcast_publisher.delta.sectioning import SectionPlan, TargetPiece
from slotcast_publisher.delta.tensors import (
    TensorPair,
    choose_block,
    collect,
    estimate_bits,
    is_equal,
    is_predicted,
    with_scales,
)
from slotcast_schemas.codecs.delta.description_format import pack_description
from slotcast_schemas.codecs.delta.headers import FEATURE_WEIGHTS, KNOWN_FEATURES, SectionHeader
from slotcast_schemas.codecs.delta.packed import PACK_WEIGHTS
from slotcast_schemas.codecs.delta.segments import (
    Copy,
    Description,
    LowRank,
    Other,
    Rebase,
    Segment,
    TensorSegment,
    Transposition,
)
from slotcast_schemas.codecs.source import Source

_READ_BYTES = 1024 * 1024
"""The bytes that are read at once."""

_OUTPUT_SHARE_MAX = 0.97
"""The share of a small piece's bytes above which coding it as elements does not pay."""

_FEW_BITS = 1.0
"""The bits of an element below which one scale for a whole tensor is tried beside one a row."""


@dataclass(frozen=True, slots=True)
class SegmentUse:
    """What became of one kind of segment: bytes of the target, and about what they cost."""

    kind: str
    target_bytes: int
    coded_bytes: int


@dataclass(frozen=True, slots=True)
class EncodedSection:
    """A section as it goes into the payload, what it consists of, and what it asks of a decoder."""

    payload: bytes
    image_bytes: int
    uses: list[SegmentUse]
    features: int = 0


def encode_section(
    base: Source,
    target: Source,
    plan: SectionPlan,
    known: KnownMoves = NOTHING_KNOWN,
    *,
    features: int = KNOWN_FEATURES,
) -> EncodedSection:
    """Encode the section that `plan` describes.

    Args:
        base: the old image.
        target: the new image.
        plan: the section's pieces.
        known: how the new image was made, if that is known.
        features: those that a decoder may be asked for.
    """
    segments, uses, coded = _code_segments(base, target, plan, known)
    streams, stored = _store_other(base, target, plan, segments, features)
    uses = _with_other(uses, len(stored))
    description = Description(_merged(segments), streams, coded.used_contexts, coded.used_symbols)
    raw = pack_description(description)
    packed = zstandard.ZstdCompressor(19).compress(raw)
    header = SectionHeader(
        plan.size_bytes,
        len(raw),
        len(packed),
        len(stored),
        len(coded.words),
        len(coded.plain),
        coded.lanes_log2,
        coded.precision_bits,
        _crc32(target, plan),
    )
    uses.append(SegmentUse("description", 0, len(packed) + len(header.pack())))
    payload = b"".join((header.pack(), packed, stored, coded.words, coded.plain))
    needed = FEATURE_WEIGHTS if streams.streams[0][0] == PACK_WEIGHTS else 0
    return EncodedSection(payload, plan.size_bytes, uses, needed)


def _code_segments(
    base: Source, target: Source, plan: SectionPlan, known: KnownMoves
) -> tuple[list[Segment], list[SegmentUse], CodedSymbols]:
    """Make a segment of each piece; gives them, what each takes, and the symbols of all."""
    segments: list[Segment] = []
    collector = SymbolCollector()
    uses: list[SegmentUse] = []
    for piece in plan.pieces:
        segment, bits = _segment(base, target, piece, known)
        if isinstance(segment, Other) and segments and isinstance(segments[-1], Copy):
            segment = _continued(base, target, piece, segments[-1]) or segment
        segments.append(segment)
        uses.append(SegmentUse(_name(segment), piece.size_bytes, int(bits / 8)))
        if isinstance(segment, TensorSegment) and not segment.is_exact:
            collect(TensorPair(base, target, piece.offset), segment, collector)
    return segments, uses, collector.finish()


def _store_other(
    base: Source,
    target: Source,
    plan: SectionPlan,
    segments: Sequence[Segment],
    features: int,
) -> Packed:
    """Pack the bytes that no segment codes; gives how, and the packed streams."""
    given = [
        (piece, _other_of(base, target, piece, segment))
        for piece, segment in zip(plan.pieces, segments, strict=True)
    ]
    data = b"".join(part for _, part in given)
    weights = [piece.as_weights_of(len(part)) for piece, part in given if part]
    old = b"".join(base.read_at(*each) for each in plan.ranges) if data else b""
    return encode_other(
        data,
        old,
        plan.ranges,
        is_noise=plan.is_noise,
        is_patch_hopeless=plan.is_patch_hopeless,
        is_in_crumbs=plan.is_in_crumbs,
        weights=weights if features & FEATURE_WEIGHTS else [],
    )


def _segment(
    base: Source, target: Source, piece: TargetPiece, known: KnownMoves
) -> tuple[Segment, float]:
    """The cheapest segment for a piece, and about how many bits it costs."""
    if piece.copied_from is not None:
        return Copy(piece.size_bytes, piece.copied_from), 0.0
    if piece.match is None:
        return Other(piece.size_bytes), 0.0
    tensor = _tensor(piece)
    pair = TensorPair(base, target, piece.offset)
    if is_equal(pair, tensor):
        if tensor.transposed is None and tensor.gather is None:
            return Copy(piece.size_bytes, tensor.base_offset), 0.0
        return replace(tensor, is_exact=True), 0.0
    factored = _factored(pair, tensor, piece, known)
    if factored is not None:
        return factored
    best, bits = _cheapest(pair, tensor, piece.match.new.row, known.rebase)
    if bits > 8 * piece.size_bytes * _OUTPUT_SHARE_MAX and piece.size_bytes < 1 << 20:
        return Other(piece.size_bytes), 0.0
    return best, bits


def _continued(base: Source, target: Source, piece: TargetPiece, last: Copy) -> Copy | None:
    """The piece as part of the copy before it, where it goes on as the base does there."""
    offset = last.base_offset + last.size_bytes
    if piece.size_bytes > _READ_BYTES or offset + piece.size_bytes > base.size_bytes:
        return None
    is_equal = base.read_at(offset, piece.size_bytes) == target.read_at(
        piece.offset, piece.size_bytes
    )
    return Copy(piece.size_bytes, offset) if is_equal else None


def _other_of(base: Source, target: Source, piece: TargetPiece, segment: Segment) -> bytes:
    """The bytes of a piece that are given as they are."""
    if isinstance(segment, Other):
        return target.read_at(piece.offset, piece.size_bytes)
    if isinstance(segment, Copy):
        return b""
    return TensorPair(base, target, piece.offset).hole_bytes(segment)


def _tensor(piece: TargetPiece) -> TensorSegment:
    assert piece.match is not None  # noqa: S101  (the caller looked)
    old, new = piece.match.old, piece.match.new
    row = new.row
    block = choose_block(row, new.kind.count(piece.size_bytes))
    gather = piece.match.gather
    if gather is not None:
        first = piece.first // row
        rows = gather.rows[first : first + new.kind.count(piece.size_bytes) // row]
        return TensorSegment(
            piece.size_bytes, old.offset, new.kind, block, gather=replace(gather, rows=rows)
        )
    if not piece.match.is_transposed:
        offset = old.offset + new.kind.size_bytes(piece.first)
        return TensorSegment(piece.size_bytes, offset, new.kind, block)
    turned = Transposition(old.dims[0], old.dims[1], piece.first // row)
    return TensorSegment(piece.size_bytes, old.offset, new.kind, block, turned)


def _factored(
    pair: TensorPair, tensor: TensorSegment, piece: TargetPiece, known: KnownMoves
) -> tuple[TensorSegment, float] | None:
    """The tensor as its known factors alone, where they give it bit for bit."""
    assert piece.match is not None  # noqa: S101  (the caller looked)
    factors = known.factors.get(piece.match.new.offset)
    if factors is None:
        return None
    columns = factors.right.shape[1]
    first = piece.first // columns
    left = factors.left[first : first + tensor.count // columns]
    exact = replace(tensor, predictor=LowRank(left, factors.right), is_exact=True)
    if piece.first % columns or tensor.count % columns or not is_predicted(pair, exact):
        return None
    return exact, factor_bits(factors)


def _cheapest(
    pair: TensorPair, tensor: TensorSegment, row: int, rebase: Rebase | None
) -> tuple[TensorSegment, float]:
    """The predictor whose coded size, with what it costs itself, is smallest."""
    if rebase is not None:
        rebased = with_scales(pair, replace(tensor, predictor=rebase))
        if rebased is not None:
            return rebased, estimate_bits(pair, rebased)
    plain = with_scales(pair, tensor)
    assert plain is not None  # noqa: S101  (only a rebase can be impossible)
    best, bits = plain, estimate_bits(pair, plain)
    if bits < _FEW_BITS * tensor.count and tensor.block < tensor.count:
        # Where few elements move, a row's scale says little but how many happened to.
        even = with_scales(pair, replace(tensor, block=tensor.count))
        assert even is not None  # noqa: S101  (as above)
        even_bits = estimate_bits(pair, even)
        if even_bits < bits:
            best, bits = even, even_bits
    for candidate, own_bits in _candidates(pair, tensor, row):
        scaled = with_scales(pair, candidate)
        assert scaled is not None  # noqa: S101  (as above)
        total = estimate_bits(pair, scaled) + own_bits
        if total < bits:
            best, bits = scaled, total
    return best, bits


def _candidates(
    pair: TensorPair, tensor: TensorSegment, row: int
) -> list[tuple[TensorSegment, float]]:
    """The tensor with each predictor that may help, and the bits that the predictor takes."""
    found: list[tuple[TensorSegment, float]] = [
        (replace(tensor, predictor=factors), factor_bits(factors))
        for factors in fit_low_rank(pair, tensor, row)
    ]
    decay = fit_decay(pair, tensor) if not found else None
    if decay is not None:
        table_bits = 4.0 * (1 << TABLE_BITS)
        found.append((replace(tensor, predictor=decay), table_bits + tensor.block_count))
    return found


def _merged(segments: list[Segment]) -> list[Segment]:
    """Neighbouring copies of neighbouring bytes as one, and neighbouring other bytes as one."""
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if isinstance(segment, Other) and isinstance(last, Other):
            merged[-1] = Other(last.size_bytes + segment.size_bytes)
        elif (
            isinstance(segment, Copy)
            and isinstance(last, Copy)
            and last.base_offset + last.size_bytes == segment.base_offset
        ):
            merged[-1] = Copy(last.size_bytes + segment.size_bytes, last.base_offset)
        else:
            merged.append(segment)
    return merged


def _name(segment: Segment) -> str:
    if isinstance(segment, Other):
        return "other"
    if isinstance(segment, Copy):
        return "copy"
    if segment.is_exact and segment.predictor is None:
        return "copy, transposed" if segment.gather is None else "copy, rows or columns moved"
    if segment.predictor is None:
        return f"{segment.kind.name} difference"
    if isinstance(segment.predictor, LowRank):
        return f"{segment.kind.name} low rank {segment.predictor.right.shape[0]}"
    return f"{segment.kind.name} " + (
        "rebase" if isinstance(segment.predictor, Rebase) else "decay"
    )


def _with_other(uses: list[SegmentUse], stored_bytes: int) -> list[SegmentUse]:
    """The other stream's cost, told at the first piece that is part of it."""
    told = False
    result = []
    for use in uses:
        if use.kind == "other" and not told:
            use, told = replace(use, coded_bytes=stored_bytes), True  # noqa: PLW2901
        result.append(use)
    return result


def _crc32(target: Source, plan: SectionPlan) -> int:
    crc32, start = 0, plan.pieces[0].offset
    for offset in range(start, start + plan.size_bytes, _READ_BYTES):
        size_bytes = min(_READ_BYTES, start + plan.size_bytes - offset)
        crc32 = zlib.crc32(target.read_at(offset, size_bytes), crc32)
    return crc32
