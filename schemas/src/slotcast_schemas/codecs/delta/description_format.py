"""What a section of a delta says of its segments: written and read in one place.

docs/delta-format.md is the specification. This module checks every number against the signed sizes;
how a delta and a section begin is in `headers`, what the segments mean is left to `decoder`,
`predict` and `other`.
"""

from __future__ import annotations

import struct

import numpy as np
import zstandard
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.bounded_fields import (
    FieldReader,
    FieldWriter,
    read_steps,
    write_steps,
)
from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32
from slotcast_schemas.codecs.delta.gather_format import read_gather_maps, write_map
from slotcast_schemas.codecs.delta.headers import DESCRIPTION_MAX, SectionHeader, check_bound
from slotcast_schemas.codecs.delta.segment_format import SIZE_MAX, read_segment, write_segment
from slotcast_schemas.codecs.delta.segments import (
    CONTEXT_COUNT,
    MODE_DICTIONARY,
    MODE_SPARSE_PATCH,
    OTHER_MAX,
    PACKER_MAX,
    RANK_MAX,
    ROW_MAX,
    SEGMENTS_MAX,
    STREAMS_OF_MODE,
    SYMBOL_COUNT,
    DecayMap,
    Description,
    LowRank,
    OtherStreams,
    Predictor,
    Rebase,
    Segment,
    TensorSegment,
    other_bytes_of,
)
from slotcast_schemas.errors import PayloadCorrupt


def pack_description(description: Description) -> bytes:
    """Give the description's bytes, before they are compressed."""
    writer = FieldWriter()
    writer.uint(len(description.segments))
    expected_offset = 0
    for segment in description.segments:
        expected_offset = write_segment(writer, segment, expected_offset)
    for segment in description.segments:
        if isinstance(segment, TensorSegment):
            if segment.gather is not None:
                write_map(writer, segment.gather.rows)
                write_map(writer, segment.gather.columns)
            _write_predictor(writer, segment)
    _write_other(writer, description.other)
    writer.raw(np.packbits(description.used_contexts, bitorder="little").tobytes())
    writer.raw(np.packbits(description.used_symbols, bitorder="little").tobytes())
    scales = [
        segment.scales for segment in description.segments if isinstance(segment, TensorSegment)
    ]
    write_steps(writer, np.concatenate([np.zeros(0, dtype=np.int16), *scales]))
    return bytes(writer.data)


def _write_predictor(writer: FieldWriter, segment: TensorSegment) -> None:
    predictor = segment.predictor
    if isinstance(predictor, DecayMap):
        writer.uint(predictor.table_bits)
        write_steps(writer, predictor.steps)
        writer.raw(np.packbits(predictor.is_mapped, bitorder="little").tobytes())
    elif isinstance(predictor, LowRank):
        writer.uint(predictor.right.shape[0])
        writer.uint(predictor.right.shape[1])
        writer.planes(predictor.left.astype("<f4"))
        writer.planes(predictor.right.astype("<f4"))
    elif isinstance(predictor, Rebase):
        writer.raw(struct.pack("<f", predictor.step))


def _write_other(writer: FieldWriter, other: OtherStreams) -> None:
    writer.uint(other.mode)
    writer.uint(len(other.ranges))
    end = 0
    for offset, size_bytes in other.ranges:
        writer.sint(offset - end)
        writer.uint(size_bytes)
        end = offset + size_bytes
    for packer, packed_bytes, size_bytes in other.streams:
        writer.uint(packer)
        writer.uint(packed_bytes)
        writer.uint(size_bytes)


def parse_description(packed: bytes, header: SectionHeader, *, base_size_bytes: int) -> Description:
    """Unpack and read a section's description, checked against the header and the base.

    Args:
        packed: the description's bytes, as stored.
        header: the section's header.
        base_size_bytes: the size of the image to start from.

    Raises:
        PayloadCorrupt: it does not unpack to its size, or a number is out of its bounds.
    """
    reader = FieldReader(unpack_description(packed, header.description_size_bytes))
    count = reader.uint("segments", SEGMENTS_MAX)
    segments: list[Segment] = []
    left, expected_offset = header.image_size_bytes, 0
    for _ in range(count):
        segment, expected_offset = read_segment(reader, left, expected_offset, base_size_bytes)
        segments.append(segment)
        left -= segment.size_bytes
    if left:
        raise PayloadCorrupt(f"expected segments to cover the section, got {left} bytes uncovered")
    tensors = [segment for segment in segments if isinstance(segment, TensorSegment)]
    for tensor in tensors:
        tensor.gather = read_gather_maps(reader, tensor.gather)
        tensor.predictor = _read_predictor(reader, tensor)
    other = _read_other(reader, segments, header.other_bytes, base_size_bytes)
    used_contexts = _read_flags(reader, CONTEXT_COUNT)
    used_symbols = _read_flags(reader, SYMBOL_COUNT)
    _read_scales(reader, tensors)
    reader.finish()
    return Description(segments, other, used_contexts, used_symbols)


def unpack_description(packed: bytes, size_bytes: int) -> bytes:
    """Unpack a description, which is one zstd frame of exactly so many bytes.

    Raises:
        PayloadCorrupt: it is not.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=DESCRIPTION_MAX)
    try:
        with decompressor.stream_reader(packed) as reader:
            data = reader.read(size_bytes + 1)
    except zstandard.ZstdError as exc:
        raise PayloadCorrupt(f"expected a description in zstd, got: {exc}") from exc
    if len(data) != size_bytes:
        raise PayloadCorrupt(f"expected {size_bytes} bytes of description, got another number")
    return data


def _read_predictor(reader: FieldReader, tensor: TensorSegment) -> Predictor:
    if isinstance(tensor.predictor, DecayMap):
        return _read_decay_map(reader, tensor)
    if isinstance(tensor.predictor, LowRank):
        return _read_low_rank(reader, tensor)
    if isinstance(tensor.predictor, Rebase):
        if tensor.kind not in (FLOAT32, FLOAT16):
            raise PayloadCorrupt(f"expected rebased floats, got {tensor.kind.name}")
        return Rebase(np.float32(struct.unpack("<f", reader.raw(4))[0]))
    return None


def _read_decay_map(reader: FieldReader, tensor: TensorSegment) -> DecayMap:
    if tensor.kind.mantissa_bits is None:
        raise PayloadCorrupt(f"expected a decay map over floats, got {tensor.kind.name}")
    bits = reader.uint("decay map bits", min(13, tensor.kind.mantissa_bits), least=1)
    steps = read_steps(reader, 1 << bits)
    return DecayMap(bits, steps, _read_flags(reader, tensor.block_count))


def _read_low_rank(reader: FieldReader, tensor: TensorSegment) -> LowRank:
    if tensor.kind not in (FLOAT32, FLOAT16):
        raise PayloadCorrupt(f"expected a low rank over floats, got {tensor.kind.name}")
    rank = reader.uint("rank", RANK_MAX, least=1)
    columns = reader.uint("columns", min(ROW_MAX, tensor.count), least=1)
    # Rows are what the factors are for, and strips are of whole rows.
    has_rows = tensor.transposed is not None or tensor.gather is not None
    if tensor.count % columns or (has_rows and columns != tensor.row_length):
        raise PayloadCorrupt(f"expected whole rows of {columns}, got {tensor.count} elements")
    float32 = np.dtype("<f4")
    left = reader.planes(tensor.count // columns * rank, float32).reshape(-1, rank)
    right = reader.planes(rank * columns, float32).reshape(rank, columns)
    return LowRank(left, right)


def _read_other(
    reader: FieldReader, segments: list[Segment], stored_bytes: int, base_size_bytes: int
) -> OtherStreams:
    total = sum(other_bytes_of(segment) for segment in segments)
    check_bound("other bytes", total, OTHER_MAX)
    other = OtherStreams(reader.uint("other mode", MODE_SPARSE_PATCH))
    end = 0
    for _ in range(reader.uint("ranges", SEGMENTS_MAX)):
        offset = end + reader.sint("range offset")
        check_bound("range offset", offset, base_size_bytes)
        size_bytes = reader.uint("range size", base_size_bytes - offset)
        other.ranges.append((offset, size_bytes))
        end = offset + size_bytes
    ranges_bytes = sum(size_bytes for _, size_bytes in other.ranges)
    check_bound(
        "ranges in all", ranges_bytes, OTHER_MAX if other.mode == MODE_DICTIONARY else SIZE_MAX
    )
    left = stored_bytes
    for _ in range(STREAMS_OF_MODE[other.mode]):
        packer = reader.uint("packer", PACKER_MAX)
        packed_bytes = reader.uint("packed stream", left)
        other.streams.append((packer, packed_bytes, reader.uint("stream", 4 * total + 64)))
        left -= packed_bytes
    if left:
        raise PayloadCorrupt(f"expected streams to fill {stored_bytes} bytes, got {left} unused")
    return other


def _read_flags(reader: FieldReader, count: int) -> NDArray[np.bool_]:
    data = np.frombuffer(reader.raw(-(-count // 8)), dtype=np.uint8)
    return np.unpackbits(data, count=count, bitorder="little").astype(np.bool_)


def _read_scales(reader: FieldReader, tensors: list[TensorSegment]) -> None:
    coded = [tensor for tensor in tensors if not tensor.is_exact]
    scales = read_steps(reader, sum(tensor.block_count for tensor in coded)).astype(np.int16)
    start = 0
    for tensor in coded:
        tensor.scales = scales[start : start + tensor.block_count]
        start += tensor.block_count
