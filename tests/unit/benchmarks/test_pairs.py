"""Pairs of made models: the same for the same seed, and moved as a fine-tune moves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pairs import Shape, write_pair
from tests.support.deltas import load_initializers

TINY = Shape(tokens=400, width=32, layers=1, steps=5)


def test_the_same_seed_makes_the_same_pair(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    first = write_pair(tmp_path / "a", TINY, 1)
    second = write_pair(tmp_path / "b", TINY, 1)
    third = write_pair(tmp_path / "c", TINY, 2)
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes() != third[0].read_bytes()


def test_every_weight_moves_and_most_tokens_only_decay(tmp_path: Path) -> None:
    old, new = (load_initializers(path.read_bytes()) for path in write_pair(tmp_path, TINY, 1))
    for name, weights in old.items():
        assert np.mean(new[name] != weights) > 0.9, name
    words, moved = old["embeddings.word.weight"], new["embeddings.word.weight"]
    only_decayed = np.all(np.abs(moved) <= np.abs(words), axis=1)
    assert 0.9 < only_decayed.mean() < 1.0
