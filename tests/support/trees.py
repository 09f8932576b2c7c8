"""Models of trees in ONNX, drawn at random: all of their numbers are attributes of one node."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper

_FEATURES: Final = 20

Columns = dict[str, list[Any]]


def tree_model(trees: list[Columns]) -> bytes:
    """Give an ONNX file of a regressor that adds up these trees.

    Args:
        trees: each as `draw_tree` gives it.
    """
    columns: dict[str, Any] = defaultdict(list)
    for number, tree in enumerate(trees):
        for name, values in tree.items():
            columns[name] += values
        columns["nodes_treeids"] += [number] * len(tree["nodes_nodeids"])
        columns["target_treeids"] += [number] * len(tree["target_nodeids"])
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, **columns
    )
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, width])
        for name, width in (("x", _FEATURES), ("y", 1))
    ]
    graph = helper.make_graph([node], "trees", values[:1], values[1:])
    data: bytes = helper.make_model(graph, producer_name="tests").SerializeToString()
    return data


def draw_tree(rng: np.random.Generator, splits: int) -> Columns:
    """Draw a tree, its nodes in the order of depth first, as scikit-learn numbers them.

    Args:
        rng: where chance comes from.
        splits: how many of its nodes are no leaves.
    """
    tree: Columns = defaultdict(list)

    def grow(count: int) -> int:
        number = len(tree["nodes_nodeids"])
        tree["nodes_nodeids"].append(number)
        tree["nodes_modes"].append("BRANCH_LEQ" if count else "LEAF")
        tree["nodes_featureids"].append(int(rng.integers(_FEATURES)) if count else 0)
        tree["nodes_values"].append(float(np.float32(rng.standard_normal())) if count else 0.0)
        tree["nodes_hitrates"].append(1.0)
        for side in ("true", "false"):
            tree[f"nodes_{side}nodeids"].append(0)
        if not count:
            _add_leaf(tree, number, float(np.float32(rng.standard_normal())))
            return number
        left = int(rng.integers(count))
        tree["nodes_truenodeids"][number] = grow(left)
        tree["nodes_falsenodeids"][number] = grow(count - 1 - left)
        return number

    grow(splits)
    return tree


def _add_leaf(tree: Columns, number: int, weight: float) -> None:
    for name, value in (("nodeids", number), ("ids", 0), ("weights", weight)):
        tree[f"target_{name}"].append(value)
