"""Deltas of which nothing is coded, written with fewer bytes for every decoder that there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from slotcast_publisher.delta.shorter import shorten
from slotcast_schemas.codecs.delta.headers import HEADER_SIZE, SECTION_HEADER_SIZE
from tests.support.deltas import bytes_of, model_bytes, round_trip, write_image

RNG = np.random.default_rng(8)
WEIGHTS = (RNG.standard_normal((96, 128)) * 0.05).astype(np.float32)
OVERHEAD = HEADER_SIZE + SECTION_HEADER_SIZE


def test_two_rows_that_changed_places_cost_a_few_copies(tmp_path: Path) -> None:
    swapped = WEIGHTS.copy()
    swapped[[3, 70]] = WEIGHTS[[70, 3]]
    old, new = ({"m__onnx": model_bytes({"w": each})} for each in (WEIGHTS, swapped))
    report, payload = round_trip(tmp_path, old, new)
    assert report.section_count == 1
    assert len(payload) < OVERHEAD + 70


def test_a_large_image_has_as_few_sections_as_the_format_allows(tmp_path: Path) -> None:
    """Two labels that differ, in 17 MiB that are copied across the end of the first section."""
    noise = RNG.bytes(17 << 20)
    edited = noise[:1000] + b"label" + noise[1005:-1000] + b"label" + noise[-995:]
    report, payload = round_trip(tmp_path, {"m__bin": noise}, {"m__bin": edited})
    assert report.section_count == 2
    assert len(payload) < HEADER_SIZE + 2 * (SECTION_HEADER_SIZE + 60)


def test_rows_that_moved_stay_maps_in_a_section_each_has_room_in(tmp_path: Path) -> None:
    """A tensor is not cut where a section ends."""
    rows = RNG.standard_normal((3000, 512)).astype(np.float32)
    mixed = rows[:, RNG.permutation(512)]
    names = ("a", "b", "c", "d")
    old, new = ({"m__onnx": model_bytes(dict.fromkeys(names, each))} for each in (rows, mixed))
    report, payload = round_trip(tmp_path, old, new)
    assert report.section_count == 2
    assert len(payload) < 10_000


@pytest.mark.parametrize("how", ["trained", "too large"])
def test_what_would_gain_nothing_stays_as_it_is(tmp_path: Path, how: str) -> None:
    noise = RNG.standard_normal(WEIGHTS.shape).astype(np.float32)
    changed = {"trained": WEIGHTS + noise * np.float32(1e-4), "too large": noise.repeat(2, axis=0)}
    old, new = ({"m__onnx": model_bytes({"w": each})} for each in (WEIGHTS, changed[how]))
    _, payload = round_trip(tmp_path, old, new)
    images = write_image(tmp_path / "old", **old), write_image(tmp_path / "new", **new)
    assert bytes_of(images[1]) == new["m__onnx"]
    assert shorten(tmp_path / "delta", *images) is None
    assert (tmp_path / "delta").read_bytes() == payload
