"""What moved as it is costs a line in the description, wherever in the base it lies."""

from __future__ import annotations

import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bsdiff4
import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta.block_index import BlockIndex, Region
from slotcast_publisher.delta.origins import Origins
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.sectioning import plan_sections
from slotcast_publisher.delta.worth_trying import has_common_bytes
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.delta.other import open_other
from slotcast_schemas.codecs.delta.packed import PACK_XZ, XZ_FILTERS
from slotcast_schemas.codecs.delta.segments import OtherStreams
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import kinds_of, model_bytes, round_trip, small_weights

ROWS, COLUMNS = 1500, 24


def _cost(folder: Path, old: dict[str, Any], new: dict[str, Any]) -> int:
    files = [{"m__onnx": model_bytes(tensors)} for tensors in (old, new)]
    return len(round_trip(folder, *files)[1])


FRESH = small_weights(9, 3, COLUMNS)
MOVES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "appended": lambda w: np.concatenate([w, FRESH]),
    "inserted": lambda w: np.insert(w, [7, 500, 1200], FRESH, axis=0),
    "deleted": lambda w: np.delete(w, [0, 3, 700], axis=0),
    "halves exchanged": lambda w: np.roll(w, ROWS // 2, axis=0),
    "another shape, some rows gone": lambda w: w[:-12].reshape(-1, 2 * COLUMNS),
}


@pytest.mark.parametrize("name", MOVES)
def test_rows_that_moved_are_copied(tmp_path: Path, name: str) -> None:
    old = small_weights(1, ROWS, COLUMNS)
    assert _cost(tmp_path, {"w": old}, {"w": MOVES[name](old)}) < FRESH.nbytes + 450


def test_two_tensors_that_became_one_are_copied(tmp_path: Path) -> None:
    one, other = small_weights(1, ROWS, COLUMNS), small_weights(2, ROWS, COLUMNS)
    joined = np.concatenate([other, one])
    assert _cost(tmp_path, {"a": one, "b": other}, {"c": joined}) < 450


def test_what_lies_between_equal_tensors_is_copied_along(tmp_path: Path) -> None:
    """Else a model of many tensors in which next to nothing changed costs bytes for each."""
    old = {f"layer.{n}.weight": small_weights(n, 16, COLUMNS) for n in range(60)}
    new = old | {"layer.0.weight": small_weights(99, 16, COLUMNS)}
    assert _cost(tmp_path, old, new) < 16 * COLUMNS * 4 + 300


def test_a_large_file_that_nothing_is_known_of_is_searched_everywhere(tmp_path: Path) -> None:
    """Its end came to its beginning: no window around its own place has it."""
    rng = np.random.default_rng(4)
    data = rng.bytes(13 << 20)
    new = data[-(5 << 20) :] + b"something new" + data[: -(5 << 20)]
    report, payload = round_trip(tmp_path, {"weights__bin": data}, {"weights__bin": new})
    assert "copy" in kinds_of(report)
    assert len(payload) < 1000


def test_unrelated_weights_are_known_by_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suffix sorting them would take a minute and a half, and find nothing."""

    def no_search(old: bytes, new: bytes) -> bytes:
        raise AssertionError(f"expected no search of {len(new)} bytes in {len(old)}")

    monkeypatch.setattr(bsdiff4, "diff", no_search)
    old = {f"w{n}": small_weights(n, 120, 120) for n in range(60)}
    new = {f"w{n}": small_weights(n + 100, 120, 120) for n in range(60)}
    cost = _cost(tmp_path, old, new)
    assert cost < 0.94 * sum(weights.nbytes for weights in new.values())


@pytest.mark.parametrize("kept_rows", [0, 100])
def test_integers_in_wide_floats_cost_integers_also_where_the_base_does_not_help(
    tmp_path: Path, kept_rows: int
) -> None:
    """Each row has a scale of its own: what is left of a tensor has to know its rows."""
    old, fresh = small_weights(60, 600, 250), small_weights(61, 600, 250)
    scales = (np.abs(fresh).max(axis=1, keepdims=True) / 127).astype(np.float32)
    steps = np.rint(fresh / scales).astype(np.float32)
    new = np.concatenate([old[:kept_rows], steps * scales])
    cost = _cost(tmp_path, {"w": old}, {"w": new})
    assert cost < 0.24 * fresh.nbytes


def test_noise_larger_than_a_section_is_cut_between_rows() -> None:
    place = TensorPlace("w", FLOAT32, (3000, 1001), 0, 3000 * 1001 * 4)
    plans = plan_sections(0, place.size_bytes, Origins(noise=[place]))
    pieces = [piece for plan in plans for piece in plan.pieces]
    assert len(pieces) > 1
    assert all(piece.size_bytes % (1001 * 4) == 0 for piece in pieces)
    assert sum(piece.size_bytes for piece in pieces) == place.size_bytes


def test_windows_in_common_are_found_by_a_sample() -> None:
    rng = np.random.default_rng(5)
    old = rng.bytes(1 << 20)
    assert has_common_bytes(rng.bytes(50_000) + old[700_001:710_000], old)
    assert not has_common_bytes(rng.bytes(50_000) + bytes(10_000), old + bytes(50_000))


def test_each_block_is_found_where_it_lies_whatever_regions_are_beside_its_own() -> None:
    """Some are shorter than a block, of another width, or hold the same bytes once more."""
    data = small_weights(5, 4000).tobytes()
    sizes = (20, 4096, 16, 0, 8192, 3620)
    starts = [sum(sizes[:at]) for at in range(len(sizes))]
    regions = [Region(at, size, 4) for at, size in zip(starts, sizes, strict=True)]
    base = data[: sum(sizes)] + data[starts[1] : starts[1] + 4096]
    regions.append(Region(sum(sizes), 4096, 4))
    index = BlockIndex(MemorySource(base), [*regions, Region(0, 64, 2)])
    for region in regions[:-1]:
        if region.size_bytes < 64:
            continue
        piece = base[region.offset : region.offset + region.size_bytes]
        (run,) = index.runs(MemorySource(piece), Region(0, len(piece), 4))
        assert (run.offset, run.base_offset, run.size_bytes) == (0, region.offset, len(piece))
    assert index.runs(MemorySource(small_weights(6, 4000).tobytes()), Region(0, 16_000, 4)) == []


def test_the_table_of_a_large_base_takes_few_bytes_beside_its_keys() -> None:
    """Two processes more are to fit in 256 MB beside it."""
    source = MemorySource(bytes(range(256)) * (1 << 17))  # 32 MiB: a million blocks
    tracemalloc.start()
    try:
        BlockIndex(source, [Region(0, source.size_bytes, 4)])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * (1 << 20) + (16 << 20)


def test_a_run_is_grown_to_its_last_element_on_both_sides() -> None:
    rng = np.random.default_rng(6)
    old, new = rng.bytes(4096), bytearray(rng.bytes(2048))
    new[404:1000] = old[1204:1800]
    index = BlockIndex(MemorySource(old), [Region(0, 4096, 4)])
    (run,) = index.runs(MemorySource(bytes(new)), Region(0, 2048, 4))
    assert (run.offset, run.base_offset, run.size_bytes) == (404, 1204, 596)


def test_a_stream_that_is_read_in_small_pieces_is_read_to_its_end() -> None:
    """A decompressor that gave all that it had asks for more only at the next call."""
    data = np.random.default_rng(7).bytes(200_000)
    packed = lzma.compress(data, format=lzma.FORMAT_RAW, filters=XZ_FILTERS)
    streams = OtherStreams(0, [], [(PACK_XZ, len(packed), len(data))])
    other = open_other(MemorySource(packed), 0, MemorySource(b""), streams)
    assert b"".join(other.read(4) for _ in range(len(data) // 4)) == data
    other.finish()
