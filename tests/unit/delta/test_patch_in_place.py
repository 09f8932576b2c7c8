"""Patches of bytes that are like the old ones in their places: trained numbers, tags between."""

from __future__ import annotations

from pathlib import Path

import bsdiff4
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from slotcast_publisher.delta.exact_copies import Step
from slotcast_publisher.delta.patch_in_place import find_in_place
from tests.support.deltas import round_trip

RNG = np.random.default_rng(3)
OLD = RNG.bytes(400)


def linear_model(coefficients: NDArray[np.float32], doc: str = "") -> bytes:
    """A linear classifier as scikit-learn's are exported: the coefficients are an attribute."""
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "scores"],
        domain="ai.onnx.ml",
        coefficients=coefficients.tolist(),
        intercepts=[0.0] * 10,
        classlabels_ints=list(range(10)),
    )
    model = helper.make_model(helper.make_graph([node], "g", [], []), producer_name=doc)
    data: bytes = model.SerializeToString()
    return data


@pytest.mark.parametrize("doc", ["", "a longer name"])
def test_a_linear_model_that_was_trained_costs_what_bsdiff_makes_of_it(
    tmp_path: Path, doc: str
) -> None:
    before = (RNG.standard_normal(40_000) * 0.05).astype(np.float32)
    after = (before + RNG.standard_normal(40_000) * 1e-4).astype(np.float32)
    old, new = linear_model(before), linear_model(after, doc)
    report, _ = round_trip(tmp_path, {"m__onnx": old}, {"m__onnx": new})
    assert report.payload_size_bytes < 1.02 * len(bsdiff4.diff(old, new))


def applied(steps: list[Step], difference: bytes, extra: bytes) -> bytes:
    """What the steps make of OLD, as the format has it."""
    made, position, done, inserted = b"", 0, 0, 0
    for add, insert, seek in steps:
        for index in range(add):
            made += bytes([(OLD[position + index] + difference[done + index]) % 256])
        made += extra[inserted : inserted + insert]
        position, done, inserted = position + add + seek, done + add, inserted + insert
    return made


@pytest.mark.parametrize(
    "data",
    [OLD, OLD[:200], OLD[200:], OLD + b"more", b"more" + OLD, OLD[:150] + RNG.bytes(250)],
    ids=["equal", "its start", "its end", "more after", "more before", "some"],
)
def test_what_lies_in_place_from_the_start_or_up_to_the_end(data: bytes) -> None:
    found = find_in_place(data, OLD)
    assert found is not None
    assert applied(*found) == data


def test_what_is_not_alike_is_no_patch() -> None:
    assert find_in_place(RNG.bytes(400), OLD) is None
    assert find_in_place(b"", OLD) is None
    assert find_in_place(OLD, b"") is None
