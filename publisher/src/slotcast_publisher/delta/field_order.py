"""Tensors of quantised blocks as tensors of their fields, in images that are in field order.

What a block consists of is `formats.gguf`'s; the order is `slotcast_schemas.codecs.delta.records`'.
Only tensors that both images have are taken apart: others would move for nothing. Nor are those
whose rows changed places and are what they were: as wholes they are told by one number a row, in
parts the scales, of a few bytes a row, are no lines that are found again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.block_index import block_hashes
from slotcast_publisher.delta.line_table import LineTable
from slotcast_publisher.delta.moved_lines import explain_near
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.records import (
    GROUP_BYTES_MAX,
    RUNS_MAX,
    InFieldOrder,
    RecordRun,
)
from slotcast_schemas.codecs.source import Source

_HASHED_BYTES: Final = 512 * 1024
"""The bytes that are read and hashed at once, or one row."""

_TRAINED_WEIGHS: Final = 16
"""What a row that is new costs whole, and saves in parts, as rows that moved: their scales."""

_SAMPLED_ROWS: Final = 32
"""The rows by which it is told whether rows are in their places."""

_HARDLY_NEARER: Final = 0.8
"""The distance to the row in the same place, as a share of that to another, from which a tensor is
looked at row by row."""

_ELSEWHERE_SHARE: Final = 0.3
"""The share of rows that must have come from elsewhere for a tensor to be tried whole, too."""

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
    base: Source,
    old: Tensors,
    target: Source,
    new: Tensors,
    whole: frozenset[str] = frozenset(),
) -> tuple[Tensors, list[RecordRun], Tensors, list[RecordRun]]:
    """Give the tensors of both images in field order, and the runs of records of each.

    Args:
        base: the old image.
        old: its tensors, ordered, none overlapping another.
        target: the new image.
        new: its tensors.
        whole: the names of those that are left as they are.
    """
    ours, theirs = ({_key(each): each for each in side if each.fields} for side in (new, old))
    shared = {
        key
        for key in ours.keys() & theirs.keys()
        if ours[key].name not in whole and not _has_moved_rows(base, theirs[key], target, ours[key])
    }
    if not shared or max(_count(old), _count(new)) > RUNS_MAX:
        return old, [], new, []
    return (*_side(old, shared), *_side(new, shared))


def shuffled_and_trained(
    base: Source, old: Tensors, target: Source, new: Tensors
) -> frozenset[str]:
    """Give the names of tensors of blocks whose rows changed places, and were trained.

    Whole, each row is told from where it came; in parts, of a few rows each, it is not. Which of
    both costs less depends on how much training moved: both have to be tried.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors.
    """
    before = {_key(each): each for each in old if each.fields}
    return frozenset(
        each.name
        for each in new
        if each.fields
        and _key(each) in before
        and _is_unlike(base, before[_key(each)], target, each)
        and _came_from_elsewhere(base, before[_key(each)], target, each)
    )


def _is_unlike(base: Source, old: TensorPlace, target: Source, new: TensorPlace) -> bool:
    """Whether sampled rows are hardly nearer to those in their places than to others."""
    row_bytes = new.kind.size_bytes(new.row)
    rows = new.size_bytes // row_bytes
    own, other = 0.0, 0.0
    for row in np.unique(np.linspace(0, rows - 2, _SAMPLED_ROWS).astype(int)).tolist():
        ours = _values(target, new, row, row_bytes)
        own += float(np.abs(ours - _values(base, old, row, row_bytes)).sum())
        other += float(np.abs(ours - _values(base, old, (row + 1) % rows, row_bytes)).sum())
    return rows > 1 and own > _HARDLY_NEARER * other


def _values(source: Source, place: TensorPlace, row: int, row_bytes: int) -> NDArray[np.int16]:
    data = source.read_at(place.offset + row * row_bytes, row_bytes)
    return np.frombuffer(data, np.int8).astype(np.int16)


def _came_from_elsewhere(base: Source, old: TensorPlace, target: Source, new: TensorPlace) -> bool:
    """Whether the rows are near others of the old tensor than those in their places."""
    moved = explain_near(LineTable(base, [old]), base, target, new)
    if moved is None or moved.columns is not None or moved.is_turned:
        return False
    elsewhere = (moved.rows >= 0) & (moved.rows != np.arange(len(moved.rows)))
    return bool(elsewhere.mean() > _ELSEWHERE_SHARE)


def _has_moved_rows(base: Source, old: TensorPlace, target: Source, new: TensorPlace) -> bool:
    """Whether rows changed places, and hardly any is new."""
    theirs, ours = _row_hashes(base, old), _row_hashes(target, new)
    is_other = ours != theirs
    moved = int(np.isin(ours[is_other], theirs).sum())
    return moved > _TRAINED_WEIGHS * (int(is_other.sum()) - moved)


def _row_hashes(source: Source, place: TensorPlace) -> NDArray[np.uint64]:
    row_bytes = place.kind.size_bytes(place.row)
    step = max(1, _HASHED_BYTES // row_bytes) * row_bytes
    hashes = [
        block_hashes(
            np.frombuffer(
                source.read_at(place.offset + at, min(step, place.size_bytes - at)), np.uint8
            ),
            row_bytes,
        )
        for at in range(0, place.size_bytes // row_bytes * row_bytes, step)
    ]
    return np.concatenate(hashes)


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
