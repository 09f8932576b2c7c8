"""Records taken apart: blocks of quantised weights with all scales first, then all quants.

A block of GGUF is a scale or two and then the quants, some dozens of bytes in all; as they lie, a
coder sees neither. So a delta may be made between images in *field order*: in each run of records,
a group of them at a time, the first fields of all, then the second fields of all, and so on. The
runs of both images are in the payload (docs/delta-format.md, section 12); all else of a delta means
the images in that order, and what comes out is put back before the caller sees it.

A group is at most 64 KiB, which is all that this holds in memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slotcast_schemas.codecs.delta.bounded_fields import FieldReader, FieldWriter
from slotcast_schemas.codecs.source import Sink, Source, check_range
from slotcast_schemas.errors import PayloadCorrupt

GROUP_BYTES_MAX: Final = 64 * 1024
"""The most bytes of records that are taken apart together."""

RUNS_MAX: Final = 65_536
"""The most runs of records in one image."""

FIELDS_MAX: Final = 16
"""The most fields of a record."""

RECORDS_SIZE_BYTES: Final = 4
"""The bytes of the number, after a delta's header, that says how long both images' runs are."""

TABLE_MAX_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of the runs of both images."""


@dataclass(frozen=True, slots=True)
class RecordRun:
    """Records that follow one another in an image.

    Attributes:
        offset: where the first begins, in bytes.
        count: how many there are.
        group: how many are taken apart together.
        fields: the sizes of a record's fields, in bytes, in their order.
    """

    offset: int
    count: int
    group: int
    fields: tuple[int, ...]

    @property
    def record_bytes(self) -> int:
        """The size of one record."""
        return sum(self.fields)

    @property
    def end(self) -> int:
        """Where the bytes after the last record begin."""
        return self.offset + self.count * self.record_bytes

    def group_at(self, offset: int) -> tuple[int, int]:
        """Give where the group begins that a byte lies in, and how many bytes it has."""
        group_bytes = self.group * self.record_bytes
        start = self.offset + (offset - self.offset) // group_bytes * group_bytes
        return start, min(group_bytes, self.end - start)

    def take_apart(self, data: bytes) -> bytes:
        """Give a group's bytes in field order."""
        records = np.frombuffer(data, dtype=np.uint8).reshape(-1, self.record_bytes)
        return b"".join(records[:, low:high].tobytes() for low, high in self._spans())

    def put_together(self, data: bytes) -> bytes:
        """Give a group's bytes as they lie in the image; undoes `take_apart`."""
        flat = np.frombuffer(data, dtype=np.uint8)
        records = np.empty((len(flat) // self.record_bytes, self.record_bytes), dtype=np.uint8)
        for low, high in self._spans():
            part = flat[low * len(records) : high * len(records)]
            records[:, low:high] = part.reshape(len(records), high - low)
        return records.tobytes()

    def _spans(self) -> list[tuple[int, int]]:
        ends = np.cumsum(self.fields).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))


class InFieldOrder:
    """A source as it is in field order.

    Args:
        source: the image as it lies.
        runs: its records, ordered, none overlapping another.
    """

    def __init__(self, source: Source, runs: Sequence[RecordRun]) -> None:
        self._source = source
        self._runs = runs
        self._starts = [run.offset for run in runs]
        self._cached_start = -1
        self._cached = b""

    @property
    def size_bytes(self) -> int:
        """How many bytes there are."""
        return self._source.size_bytes

    def read_at(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes from `offset`, in field order.

        Raises:
            ValueError: the range is not wholly inside the source.
            SlotDamaged: a file is shorter than it was said to be, or cannot be read.
        """
        check_range(offset, size, self.size_bytes)
        parts: list[bytes] = []
        while size > 0:
            part = self._part(offset, size)
            parts.append(part)
            offset, size = offset + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _part(self, offset: int, size: int) -> bytes:
        """What lies there, up to the end of a group or to where records begin."""
        index = bisect_right(self._starts, offset) - 1
        if index >= 0 and offset < self._runs[index].end:
            run = self._runs[index]
            start, group_bytes = run.group_at(offset)
            if start != self._cached_start:
                self._cached = run.take_apart(self._source.read_at(start, group_bytes))
                self._cached_start = start
            return self._cached[offset - start : offset - start + size]
        following = self._starts[index + 1] if index + 1 < len(self._starts) else self.size_bytes
        return self._source.read_at(offset, min(size, following - offset))


class PutTogether:
    """A sink for an image in field order, which hands it on as it lies.

    Args:
        sink: takes the image's bytes, in order.
        runs: its records, ordered, none overlapping another.
    """

    def __init__(self, sink: Sink, runs: Sequence[RecordRun]) -> None:
        self._sink = sink
        self._runs = list(runs)
        self._position = 0
        self._held = bytearray()

    def __call__(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        while view:
            run = self._runs[0] if self._runs else None
            at = self._position + len(self._held)
            if run is None or at < run.offset:
                size = len(view) if run is None else min(len(view), run.offset - at)
                self._sink(view[:size])
                self._position += size
            else:
                size = self._hold(run, view)
            view = view[size:]

    def _hold(self, run: RecordRun, view: memoryview) -> int:
        """Take a part of a group; hand it on when it is whole. Gives the bytes taken."""
        _, group_bytes = run.group_at(self._position)
        size = min(len(view), group_bytes - len(self._held))
        self._held += view[:size]
        if len(self._held) == group_bytes:
            self._sink(run.put_together(bytes(self._held)))
            self._position += group_bytes
            self._held.clear()
            if self._position == run.end:
                self._runs.pop(0)
        return size


def pack_runs(base: Sequence[RecordRun], target: Sequence[RecordRun]) -> bytes:
    """Give the bytes of both images' runs."""
    writer = FieldWriter()
    for runs in (base, target):
        writer.uint(len(runs))
        end = 0
        for run in runs:
            writer.uint(run.offset - end)
            writer.uint(run.count)
            writer.uint(run.group)
            writer.uint(len(run.fields))
            for field in run.fields:
                writer.uint(field)
            end = run.end
    return bytes(writer.data)


def parse_runs(
    data: bytes, *, base_size_bytes: int, image_size_bytes: int
) -> tuple[list[RecordRun], list[RecordRun]]:
    """Read both images' runs, checked against the images.

    Args:
        data: as `pack_runs` gave it.
        base_size_bytes: the size of the image to start from.
        image_size_bytes: the size of the image that comes out.

    Raises:
        PayloadCorrupt: a number is out of its bounds.
    """
    reader = FieldReader(data)
    runs = [_read_runs(reader, base_size_bytes), _read_runs(reader, image_size_bytes)]
    reader.finish()
    return runs[0], runs[1]


def _read_runs(reader: FieldReader, size_bytes: int) -> list[RecordRun]:
    runs: list[RecordRun] = []
    end = 0
    for _ in range(reader.uint("runs of records", RUNS_MAX)):
        offset = end + reader.uint("offset of records", size_bytes - end)
        count = reader.uint("records", size_bytes, least=1)
        group = reader.uint("records of a group", GROUP_BYTES_MAX, least=1)
        fields = tuple(
            reader.uint("field", GROUP_BYTES_MAX, least=1)
            for _ in range(reader.uint("fields", FIELDS_MAX, least=1))
        )
        run = RecordRun(offset, count, group, fields)
        if run.end > size_bytes or group * run.record_bytes > GROUP_BYTES_MAX:
            raise PayloadCorrupt(
                f"expected records inside {size_bytes} bytes, in groups of at most"
                f" {GROUP_BYTES_MAX}, got {run}"
            )
        runs.append(run)
        end = run.end
    return runs
