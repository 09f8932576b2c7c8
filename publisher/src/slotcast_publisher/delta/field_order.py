"""Tensors of quantised blocks as tensors of their fields, in images that are in field order.

What a block consists of is `formats.gguf`'s; the order is `slotcast_schemas.codecs.delta.records`'.
Only tensors that both images have are taken apart: others would move for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.records import (
    GROUP_BYTES_MAX,
    RUNS_MAX,
    InFieldOrder,
    RecordRun,
)
from slotcast_schemas.codecs.source import Source

Tensors = list[TensorPlace]

Runs = tuple[tuple[RecordRun, ...], tuple[RecordRun, ...]]
"""The runs of records of the base and of the target; empty where nothing is taken apart."""


def in_field_order(old: Source, new: Source, runs: Runs) -> tuple[Source, Source]:
    """Give both images in field order.

    Args:
        old: the base as it lies.
        new: the target as it lies.
        runs: their records.
    """
    if not any(runs):
        return old, new
    return InFieldOrder(old, runs[0]), InFieldOrder(new, runs[1])


def take_apart(
    old: Tensors, new: Tensors
) -> tuple[Tensors, list[RecordRun], Tensors, list[RecordRun]]:
    """Give the tensors of both images in field order, and the runs of records of each.

    Args:
        old: the base's tensors, ordered, none overlapping another.
        new: the target's.
    """
    shared = {_key(place) for place in old if place.fields} & {
        _key(place) for place in new if place.fields
    }
    if not shared or max(_count(old), _count(new)) > RUNS_MAX:
        return old, [], new, []
    return (*_side(old, shared), *_side(new, shared))


def _count(places: Tensors) -> int:
    return sum(1 for place in places if place.fields)


def _key(place: TensorPlace) -> tuple[object, ...]:
    return place.name, place.dims, place.fields


def _side(places: Tensors, shared: set[tuple[object, ...]]) -> tuple[Tensors, list[RecordRun]]:
    tensors: Tensors = []
    runs: list[RecordRun] = []
    for place in places:
        if place.fields and _key(place) in shared:
            run = _run(place)
            runs.append(run)
            tensors += _fields(place, run)
        else:
            tensors.append(place)
    return tensors, runs


def _run(place: TensorPlace) -> RecordRun:
    """Groups are whole rows of the tensor where they fit, so that rows share their scales."""
    sizes = tuple(size for _, size in place.fields)
    record_bytes = sum(sizes)
    count, per_row = place.size_bytes // record_bytes, _records_of_row(place, record_bytes)
    most = max(1, GROUP_BYTES_MAX // record_bytes)
    group = most // per_row * per_row if per_row <= most else most
    return RecordRun(place.offset, count, min(group, count), sizes)


def _records_of_row(place: TensorPlace, record_bytes: int) -> int:
    return max(1, place.row // record_bytes) if len(place.dims) > 1 else 1


def _fields(place: TensorPlace, run: RecordRun) -> Iterator[TensorPlace]:
    """Each field of each group as a tensor, with as many rows as the group has."""
    per_row = _records_of_row(place, run.record_bytes)
    for first in range(0, run.count, run.group):
        records = min(run.group, run.count - first)
        rows = max(1, records // per_row)
        offset = run.offset + first * run.record_bytes
        for number, (kind, size) in enumerate(place.fields):
            size_bytes = records * size
            yield replace(
                place,
                name=f"{place.name} {first} field {number}",
                kind=kind,
                dims=(rows, max(1, kind.count(size_bytes) // rows)),
                offset=offset,
                size_bytes=size_bytes,
                fields=(),
            )
            offset += size_bytes
