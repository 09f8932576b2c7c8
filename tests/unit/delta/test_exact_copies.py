"""Copies that end at the first byte that differs."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from unittest.mock import patch

import bsdiff4
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_publisher.delta import exact_copies
from slotcast_publisher.delta.exact_copies import find_copies
from tests.support.deltas import round_trip

WORDS: Final = st.lists(st.sampled_from([b"abcd", b"efgh1234", b"\0" * 9, b"x", b"yz"]))


def made(data: bytes, old: bytes, window: int) -> bytes:
    """What a decoder makes of the steps."""
    found = find_copies(data, old, window)
    assert found is not None
    steps, inserted = found
    out, position, used = b"", 0, 0
    for added, count, seek in steps:
        assert 0 <= position <= position + added <= len(old)
        out += old[position : position + added] + inserted[used : used + count]
        position, used = position + added + seek, used + count
    assert used == len(inserted)
    return out


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64) | WORDS.map(b"".join), WORDS.map(b"".join), st.sampled_from([4, 8]))
def test_steps_make_the_data(data: bytes, old: bytes, window: int) -> None:
    assert made(data, old, window) == data


@given(WORDS.map(b"".join), WORDS.map(b"".join), st.sampled_from([4, 8]))
def test_windows_that_no_data_has_need_not_be_sorted(data: bytes, old: bytes, window: int) -> None:
    steps = find_copies(data, old, window)
    every = np.ones(1 << exact_copies._KIND_BITS, dtype=np.bool_)
    with patch.object(exact_copies, "kinds_of_windows", return_value=every):
        assert find_copies(data, old, window) == steps


def test_of_bytes_that_are_not_alike_hardly_any_window_is_sorted() -> None:
    rng = np.random.default_rng(4)
    data, old = rng.bytes(40_000), rng.bytes(400_000) + b"a window that both have"
    kinds = exact_copies.kinds_of_windows([data, b"a window that both have"], 8)
    keys = exact_copies.sorted_windows(old, 8, kinds)
    assert 16 <= len(keys) < len(old) // 20


@pytest.mark.parametrize("window", [4, 8])
def test_copies_across_slabs_and_of_many_bytes_are_found(window: int) -> None:
    rng = np.random.default_rng(3)
    old = rng.bytes(exact_copies._SLAB_BYTES + 5000)
    middle = exact_copies._SLAB_BYTES
    data = rng.bytes(700) + old[middle - 9 : middle + 900] + old[100:3000]
    found = find_copies(data, old, window)
    assert found is not None
    steps, inserted = found
    assert made(data, old, window) == data
    assert len(inserted) == 700
    assert len(steps) == 3


def test_of_equal_windows_the_one_behind_the_last_copy_is_taken() -> None:
    row = b"column-1column-2"
    old = b"the start" + row * 3
    steps, inserted = find_copies(b"the start" + row + b"!" + row * 2, old, 8) or ([], b"")
    assert steps == [(0, 0, 0), (9 + 16, 1, 0), (32, 0, 0)]
    assert inserted == b"!"


def test_too_many_copies_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact_copies, "STEPS_MAX", 3)
    old = np.random.default_rng(3).bytes(400)
    parts = [old[start : start + 20] for start in range(0, 400, 40)]
    assert find_copies(b"".join(parts), old, 8) is None


@pytest.mark.parametrize("kind", ["<f4", "<f2"])
def test_columns_deleted_from_a_small_matrix_cost_less_than_a_patch_that_blurs_them(
    tmp_path: Path, kind: str
) -> None:
    rng = np.random.default_rng(7)
    old = (rng.standard_normal((64, 64)) * 0.05).astype(kind)
    new = np.delete(old, rng.choice(64, 6, replace=False), axis=1)
    before, after = b"OPAQUE\1" + old.tobytes(), b"OPAQUE\1" + new.tobytes()
    _, payload = round_trip(tmp_path, {"m__bin": before}, {"m__bin": after})
    assert len(payload) < 256 < len(bsdiff4.diff(before, after))
