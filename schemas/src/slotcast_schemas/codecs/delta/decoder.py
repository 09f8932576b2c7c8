"""The delta decoder: a payload and the base image in, the new image out, in order.

Memory is bounded by a strip of a tensor and the streams' windows, whatever the size of the model.
Whether the image is the one that was signed is left to the caller, who hashes what the sink gets.
"""

from __future__ import annotations

from slotcast_schemas.codecs.delta.compact import is_compact, read_compact
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_RECORDS,
    HEADER_SIZE,
    SECTION_HEADER_SIZE,
    Header,
    SectionHeader,
)
from slotcast_schemas.codecs.delta.records import (
    RECORDS_SIZE_BYTES,
    TABLE_MAX_BYTES,
    InFieldOrder,
    PutTogether,
    RecordRun,
    parse_runs,
)
from slotcast_schemas.codecs.delta.section_decoder import SectionDecoder
from slotcast_schemas.codecs.delta.selftest import check_arithmetic
from slotcast_schemas.codecs.source import Sink, Source
from slotcast_schemas.errors import PayloadCorrupt


def decode_delta(
    payload: Source, base: Source, *, image_size_bytes: int, base_sha256: bytes, sink: Sink
) -> None:
    """Give the new image to `sink`, in order, exactly `image_size_bytes` of it.

    Args:
        payload: the received delta.
        base: the image that it starts from, which the caller has verified.
        image_size_bytes: the signed size of the new image; never exceeded.
        base_sha256: digest of the base image, as the caller has it on record.
        sink: gets the bytes; a piece is valid until the call returns.

    Raises:
        WrongBase: the delta starts from another image; nothing was given to the sink.
        Incompatible: the delta needs what this decoder, or this machine's arithmetic, has not.
        PayloadCorrupt: the payload breaks a bound or does not decode.
        SlotDamaged: the base cannot be read.
    """
    check_arithmetic()
    if is_compact(payload):
        script = read_compact(
            payload,
            base,
            base_sha256=base_sha256,
            image_size_bytes=image_size_bytes,
        )
        SectionDecoder.of_script(script, base).decode(sink)
        return
    header = Header.parse(
        payload.read_at(0, min(HEADER_SIZE, payload.size_bytes)),
        base_size_bytes=base.size_bytes,
        base_sha256=base_sha256,
        image_size_bytes=image_size_bytes,
    )
    offset = HEADER_SIZE
    if header.features & FEATURE_RECORDS:
        base_runs, image_runs, offset = _read_records(payload, header)
        base, sink = InFieldOrder(base, base_runs), PutTogether(sink, image_runs)
    decode_sections(payload, offset, header.section_count, base, image_size_bytes, sink)


def _read_records(payload: Source, header: Header) -> tuple[list[RecordRun], list[RecordRun], int]:
    """Both images' runs of records, and where the sections begin."""
    offset = HEADER_SIZE + RECORDS_SIZE_BYTES
    if payload.size_bytes < offset:
        raise PayloadCorrupt(f"expected runs of records, got {payload.size_bytes} bytes")
    size_bytes = int.from_bytes(payload.read_at(HEADER_SIZE, RECORDS_SIZE_BYTES), "little")
    if size_bytes > min(TABLE_MAX_BYTES, payload.size_bytes - offset):
        raise PayloadCorrupt(f"expected runs of records, got {size_bytes} bytes of them")
    base_runs, image_runs = parse_runs(
        payload.read_at(offset, size_bytes),
        base_size_bytes=header.base_size_bytes,
        image_size_bytes=header.image_size_bytes,
    )
    return base_runs, image_runs, offset + size_bytes


def decode_sections(
    payload: Source, offset: int, count: int, base: Source, image_size_bytes: int, sink: Sink
) -> None:
    """Decode `count` sections that begin at `offset`; together they make the whole image.

    Args:
        payload: what was received.
        offset: where in it the first section begins, in bytes.
        count: how many sections follow one another.
        base: the image to start from.
        image_size_bytes: the size of what they make.
        sink: takes the image's bytes, in order.

    Raises:
        PayloadCorrupt: a section does not decode, or they end before or after image and payload do.
        SlotDamaged: the base cannot be read.
    """
    image_left = image_size_bytes
    for _ in range(count):
        if payload.size_bytes - offset < SECTION_HEADER_SIZE:
            raise PayloadCorrupt(f"expected a section at {offset} of {payload.size_bytes} bytes")
        data = payload.read_at(offset, SECTION_HEADER_SIZE)
        offset += SECTION_HEADER_SIZE
        section = SectionHeader.parse(
            data, image_left_bytes=image_left, payload_left_bytes=payload.size_bytes - offset
        )
        SectionDecoder.opened(payload, offset, section, base).decode(sink)
        offset += section.body_bytes
        image_left -= section.image_size_bytes
    if image_left or offset != payload.size_bytes:
        raise PayloadCorrupt(
            f"expected sections to end with image and payload, got {image_left} bytes of image and "
            f"{payload.size_bytes - offset} of payload left"
        )
