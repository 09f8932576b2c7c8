"""Deltas without guesses, where arrays that were found by their looks cost more than bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta import guess_doubt
from slotcast_publisher.delta.guess_doubt import is_guess_doubtful, is_only_one_told
from slotcast_publisher.delta.place import TensorPlace
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.delta.headers import KNOWN_FEATURES
from slotcast_schemas.codecs.source import MemorySource
from tests.support.deltas import model_bytes, round_trip

RNG: Final = np.random.default_rng(5)
OLD: Final = (RNG.standard_normal(50_000) * 0.05).astype("<f4").tobytes()
OTHER: Final = (RNG.standard_normal(50_000) * 0.05).astype("<f4").tobytes()


def is_doubtful(old: bytes, new: bytes, payload_bytes: int, *, is_guess: bool = True) -> bool:
    places = [
        [TensorPlace("", FLOAT32, (len(data) // 4,), 0, len(data), is_guess)] for data in (old, new)
    ]
    return is_guess_doubtful(
        MemorySource(old), places[0], MemorySource(new), places[1], payload_bytes
    )


def test_a_large_delta_of_shared_bytes_is_doubtful() -> None:
    assert is_doubtful(OLD, OLD[400:] + OLD[:400], 1000)


def test_there_is_no_doubt_where_other_tools_gain_nothing() -> None:
    moved = OLD[400:] + OLD[:400]
    assert not is_doubtful(OLD, OTHER, 150_000), "nothing is shared"
    assert not is_doubtful(OLD, moved, 256), "it is small already"
    assert not is_doubtful(OLD, moved, 1000, is_guess=False), "a format told of it"
    assert not is_doubtful(OLD, OLD[:100_000] + OTHER[:100_000], 70_000), "the rest is new"


def test_large_images_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess_doubt, "_GUESSED_MAX_BYTES", len(OLD) - 1)
    assert not is_doubtful(OLD, OLD[400:] + OLD[:400], 1000)


def test_of_many_bytes_half_must_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guess_doubt, "_MANY_BYTES", len(OLD) - 1)
    assert is_doubtful(OLD, OLD[400:] + OLD[:400], 1000)
    assert not is_doubtful(OLD, OLD[:60_000] + OTHER[60_000:], 180_000)
    monkeypatch.undo()
    assert is_doubtful(OLD, OLD[:60_000] + OTHER[60_000:], 180_000)


def opaque_file(matrices: list[NDArray[np.uint16]]) -> bytes:
    parts = [b"layer.%d.weight\0" % n + each.tobytes() for n, each in enumerate(matrices)]
    return b"OPAQUE\1" + b"".join(parts) + b"end"


def bf16_pair() -> tuple[bytes, bytes]:
    """Few columns deleted from bfloat16 matrices: their rows' lengths are not found."""
    rng = np.random.default_rng(5)
    shapes = (1500, 96), (700, 256), (400, 300)
    values = [(rng.standard_normal(shape) * 0.05).astype("<f4") for shape in shapes]
    old = [(each.view("<u4") >> 16).astype("<u2") for each in values]
    new = [np.delete(m, rng.choice(m.shape[1], 2, replace=False), axis=1) for m in old]
    return opaque_file(old), opaque_file(new)


@pytest.mark.parametrize("features", [0, KNOWN_FEATURES])
def test_a_guess_that_fails_costs_no_more_than_the_bytes(tmp_path: Path, features: int) -> None:
    before, after = bf16_pair()
    report, _ = round_trip(tmp_path, {"m__bin": before}, {"m__bin": after}, features=features)
    assert report.payload_size_bytes < 400
    assert not report.features
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta", "new", "old"]


def test_a_guess_that_holds_is_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    old = (rng.standard_normal((1000, 64)) * 0.05).astype("<f4")
    new = old[:, rng.permutation(64)]
    report, _ = round_trip(tmp_path, {"m__bin": old.tobytes()}, {"m__bin": new.tobytes()})
    assert report.payload_size_bytes < 1000


def places(told_bytes: int, guessed_bytes: int) -> list[TensorPlace]:
    sizes = ((told_bytes, False), (guessed_bytes, True))
    return [TensorPlace("", FLOAT32, (n // 4,), 0, n, is_guess) for n, is_guess in sizes if n]


@pytest.mark.parametrize(
    ("old", "new", "payload_bytes", "expected"),
    [
        ((0, 80_000), (80_000, 0), 70_000, True),
        ((80_000, 0), (0, 80_000), 70_000, True),
        ((80_000, 0), (80_000, 0), 70_000, False),
        ((0, 80_000), (0, 80_000), 70_000, False),
        ((0, 80_000), (80_000, 0), 800, False),
        ((0, 80_000), (17 << 20, 0), 1 << 20, False),
        ((0, 0), (80_000, 0), 70_000, False),
    ],
    ids=["old opaque", "new opaque", "both told", "neither", "little left", "large", "no arrays"],
)
def test_where_one_format_alone_is_known(
    old: tuple[int, int], new: tuple[int, int], payload_bytes: int, expected: bool
) -> None:
    assert is_only_one_told(places(*old), places(*new), payload_bytes) is expected


def test_matrices_that_were_turned_are_found_in_a_file_of_no_known_format(
    tmp_path: Path,
) -> None:
    """As PyTorch wrote models before 1.6: pickles, then each storage, its size before it."""
    rng = np.random.default_rng(5)
    shapes = (500, 64), (256, 128), (120, 512)
    tensors = [(rng.standard_normal(shape) * 0.05).astype("<f4") for shape in shapes]
    opaque = b"pickle" + b"".join(
        each.size.to_bytes(8, "little") + each.tobytes() for each in tensors
    )
    told = model_bytes({"a": tensors[0], "b": tensors[1].T, "c": tensors[2].T})
    report, _ = round_trip(tmp_path, {"m__bin": opaque}, {"m__onnx": told})
    assert report.payload_size_bytes < 500
