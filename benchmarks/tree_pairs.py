"""Pairs of models of trees, whose numbers lie in a node's attributes and not in tensors.

A column of them grows in many places when a tree comes, and little of it is long enough to copy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.moved_rows import MovedPair
from tests.support.trees import draw_tree, tree_model


def tree_pairs(seed: int) -> Iterator[MovedPair]:
    """Give every pair.

    Args:
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    trees = [draw_tree(rng, 12) for _ in range(101)]
    yield MovedPair("trees, small, one appended", tree_model(trees[:100]), tree_model(trees))
    forest = [draw_tree(rng, 260) for _ in range(61)]
    old = tree_model(forest[:60])
    yield MovedPair("trees, large, one appended", old, tree_model(forest))
    changed = [{name: list(values) for name, values in tree.items()} for tree in forest[:60]]
    for tree in changed[::12]:
        tree["nodes_values"][3] += 0.5
    yield MovedPair("trees, large, thresholds changed", old, tree_model(changed))
