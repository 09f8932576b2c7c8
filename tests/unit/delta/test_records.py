"""Quantised blocks: scales apart from quants, and put together again bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slotcast_publisher.delta.formats import gguf
from slotcast_schemas.codecs.delta.decoder import decode_delta
from slotcast_schemas.codecs.delta.headers import FEATURE_RECORDS, FEATURE_WEIGHTS, HEADER_SIZE
from slotcast_schemas.codecs.delta.records import (
    InFieldOrder,
    PutTogether,
    RecordRun,
    pack_runs,
    parse_runs,
)
from slotcast_schemas.codecs.source import MemorySource
from slotcast_schemas.errors import PayloadCorrupt, RefusedRelease
from tests.support.deltas import bytes_of, kinds_of, round_trip, write_image
from tests.support.model_files import gguf_bytes

Quantised = dict[str, NDArray[np.float32]]


def quantised(seed: int = 1, rows: int = 96) -> Quantised:
    rng = np.random.default_rng(seed)
    shapes = {"embed": (rows, 128), "q": (64, 128), "up": (192, 64)}
    return {n: (rng.standard_normal(s) * 0.05).astype(np.float32) for n, s in shapes.items()}


def tuned(weights: Quantised, by: float = 1e-3) -> Quantised:
    rng = np.random.default_rng(2)
    moved = {n: w + by * rng.standard_normal(w.shape) for n, w in weights.items()}
    return {name: each.astype(np.float32) for name, each in moved.items()}


def deltas(folder: Path, old: bytes, new: bytes) -> tuple[Any, bytes, bytes]:
    """A delta's report and payload, and that of one that every device can decode."""
    report, payload = round_trip(folder / "records", {"m.gguf": old}, {"m.gguf": new})
    _, plain = round_trip(
        folder / "plain", {"m.gguf": old}, {"m.gguf": new}, features=FEATURE_WEIGHTS
    )
    return report, payload, plain


def test_scales_and_quants_are_coded_apart(tmp_path: Path) -> None:
    """Blocks as they lie cost a tenth more: scales among quants tell a coder nothing."""
    old, new = gguf_bytes({}, quantised()), gguf_bytes({}, tuned(quantised()))
    report, payload, plain = deltas(tmp_path, old, new)
    assert report.features & FEATURE_RECORDS
    assert {"float16 difference", "int8 difference"} <= kinds_of(report)
    assert len(payload) < 0.95 * len(plain)


def test_tensors_that_moved_in_the_file_are_found_all_the_same(tmp_path: Path) -> None:
    """Another tensor before them, and a vocabulary that grew: the blocks lie elsewhere now."""
    more = {"first": np.ones((4, 32), dtype=np.float32)}
    grown = {**more, **tuned(quantised())}
    old, new = gguf_bytes({}, quantised()), gguf_bytes({}, grown)
    report, payload, plain = deltas(tmp_path, old, new)
    assert report.features & FEATURE_RECORDS
    assert len(payload) < 0.97 * len(plain)


@pytest.mark.parametrize("trained", [0, 1])
def test_blocks_whose_rows_changed_places_cost_a_number_a_row(tmp_path: Path, trained: int) -> None:
    """In parts, the scales of each row would be told again."""
    rows = 900
    weights = quantised(rows=rows)
    order = np.random.default_rng(3).permutation(rows)
    moved = {**weights, "embed": weights["embed"][order]}
    moved["embed"][:trained] += np.float32(0.01)
    _, payload = round_trip(
        tmp_path, {"m.gguf": gguf_bytes({}, weights)}, {"m.gguf": gguf_bytes({}, moved)}
    )
    assert len(payload) < 2 * rows + 400


def shuffled(weights: Quantised, order: NDArray[np.int64]) -> Quantised:
    return {**weights, "embed": weights["embed"][order]}


@pytest.mark.parametrize(("by", "at_most"), [(1e-3, 1.06), (1e-4, 1.12)])
def test_blocks_whose_rows_changed_places_and_were_trained_cost_what_the_training_does(
    tmp_path: Path, by: float, at_most: float
) -> None:
    """In parts, whose rows came from all over the tensor, they would cost up to all of it."""
    rows = 1500
    weights = quantised(rows=rows)
    order = np.random.default_rng(3).permutation(rows)
    trained = tuned(weights, by)
    old = {"m.gguf": gguf_bytes({}, weights)}
    _, in_place = round_trip(tmp_path / "in_place", old, {"m.gguf": gguf_bytes({}, trained)})
    moved = gguf_bytes({}, shuffled(trained, order))
    _, payload = round_trip(tmp_path / "moved", old, {"m.gguf": moved})
    assert len(payload) < at_most * len(in_place) + 2 * rows
    assert not list(tmp_path.rglob("*.whole"))


def test_rows_of_blocks_that_only_moved_help_those_that_were_trained_too(tmp_path: Path) -> None:
    rows = 900
    weights = quantised(rows=rows)
    order = np.random.default_rng(3).permutation(rows)
    old = {"m.gguf": gguf_bytes({}, weights)}
    partly = {**weights, "embed": weights["embed"].copy()}
    partly["embed"][: rows // 4] = tuned(weights)["embed"][: rows // 4]
    new = gguf_bytes({}, shuffled(partly, order))
    _, payload = round_trip(tmp_path, old, {"m.gguf": new})
    assert len(payload) < 2 * rows + 0.65 * (rows // 4) * 136


def test_a_file_without_quantised_tensors_asks_for_no_feature(tmp_path: Path) -> None:
    weights = quantised()
    report, _, _ = deltas(tmp_path, gguf_bytes(weights), gguf_bytes(tuned(weights)))
    assert not report.features & FEATURE_RECORDS


def test_the_payload_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    from slotcast_publisher.delta.encode import encode_delta

    base = write_image(tmp_path / "a", m__gguf=gguf_bytes({}, quantised()))
    target = write_image(tmp_path / "b", m__gguf=gguf_bytes({}, tuned(quantised())))
    payloads = []
    for workers in (1, 2):
        encode_delta(base, target, tmp_path / "d", workers=workers)
        payloads.append((tmp_path / "d").read_bytes())
    assert payloads[0] == payloads[1]


def test_fields_fill_their_blocks() -> None:
    for ggml_type, fields in gguf._FIELDS.items():
        assert sum(size for _, size in fields) == gguf._BLOCKS[ggml_type][1], ggml_type


@st.composite
def runs_and_size(draw: st.DrawFn) -> tuple[list[RecordRun], int]:
    runs, end = [], 0
    for _ in range(draw(st.integers(0, 3))):
        fields = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
        offset = end + draw(st.integers(0, 20))
        run = RecordRun(offset, draw(st.integers(1, 30)), draw(st.integers(1, 12)), fields)
        runs.append(run)
        end = run.end
    return runs, end + draw(st.integers(0, 20))


@settings(max_examples=200, deadline=None)
@given(given_runs=runs_and_size(), data=st.data())
def test_taken_apart_and_put_together_it_is_the_same_in_whatever_pieces(
    given_runs: tuple[list[RecordRun], int], data: st.DataObject
) -> None:
    runs, size = given_runs
    image = np.random.default_rng(size).bytes(size)
    source = InFieldOrder(MemorySource(image), runs)
    ordered = source.read_at(0, size)
    assert sorted(ordered) == sorted(image)
    low = data.draw(st.integers(0, size))
    high = data.draw(st.integers(low, size))
    assert source.read_at(low, high - low) == ordered[low:high]
    out = bytearray()
    sink = PutTogether(out.extend, runs)
    cuts = sorted(data.draw(st.lists(st.integers(0, size), max_size=6)))
    for start, end in zip([0, *cuts], [*cuts, size], strict=True):
        sink(ordered[start:end])
    assert bytes(out) == image
    assert parse_runs(pack_runs(runs, []), base_size_bytes=size, image_size_bytes=0) == (runs, [])


@pytest.mark.parametrize(
    "run",
    [
        RecordRun(90, 2, 1, (4, 4)),
        RecordRun(0, 1, 65_536, (2,)),
        RecordRun(0, 1, 1, (65_537,)),
        RecordRun(0, 1, 1, tuple([1] * 17)),
    ],
    ids=["outside", "group", "field", "fields"],
)
def test_runs_out_of_their_bounds_are_refused(run: RecordRun) -> None:
    with pytest.raises(PayloadCorrupt):
        parse_runs(pack_runs([run], []), base_size_bytes=100, image_size_bytes=100)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_table_is_refused_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base, payload, image = _specimen(tmp_path_factory)
    broken = bytearray(payload)
    at = HEADER_SIZE + data.draw(st.integers(0, 40))
    broken[at] = data.draw(st.integers(0, 255))
    out = bytearray()
    try:
        decode_delta(
            MemorySource(bytes(broken)),
            MemorySource(base),
            image_size_bytes=len(image),
            base_sha256=hashlib.sha256(base).digest(),
            sink=out.extend,
        )
    except RefusedRelease:
        return
    assert len(out) == len(image)


_MADE: dict[str, tuple[bytes, bytes, bytes]] = {}


def _specimen(factory: pytest.TempPathFactory) -> tuple[bytes, bytes, bytes]:
    if not _MADE:
        folder = factory.mktemp("specimen")
        old, new = gguf_bytes({}, quantised(rows=8)), gguf_bytes({}, tuned(quantised(rows=8)))
        _, payload = round_trip(folder, {"m.gguf": old}, {"m.gguf": new})
        assert bytes_of([("m", folder / "new" / "m.gguf")]) == new
        _MADE["one"] = old, payload, new
    return _MADE["one"]
