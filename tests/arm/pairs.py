"""Pairs of models, an old one and a new one, of each kind of weights that a delta treats apart.

All take `x`, float [N, 32], and give `scores`, float [N, 4], through two layers of 256 x 256 whose
weights are of the kind; nothing else in them is large. They are small because an emulated product
of matrices is about 1,000 times slower.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEATURES: Final = 32
CLASSES: Final = 4
WIDTH: Final = 256
STEP: Final = 3e-4
"""Standard deviation of how far a weight moves; weights have one of 0.05."""
INT8_SCALE: Final = 2e-3
INT8_MOVED: Final = 0.05
"""The share of int8 weights that move, by one."""
RANK: Final = 4
SAMPLES: Final = 4

Weights = NDArray[np.float32]
Layer = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def _plain(name: str, weights: NDArray[Any]) -> Layer:
    """Weights that are stored as they are, and turned to float32 where they are not."""
    tensor = numpy_helper.from_array(weights, f"{name}.stored")
    return [helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT)], [tensor]


def _quantized(name: str, weights: NDArray[Any]) -> Layer:
    tensors = [
        numpy_helper.from_array(weights, f"{name}.stored"),
        numpy_helper.from_array(np.array(INT8_SCALE, np.float32), f"{name}.scale"),
    ]
    return [helper.make_node("DequantizeLinear", [one.name for one in tensors], [name])], tensors


def model(layers: list[NDArray[Any]], write: Callable[[str, NDArray[Any]], Layer]) -> bytes:
    """Give the model with these two layers' weights."""
    rng = np.random.default_rng(0)
    ends = {
        "first": rng.standard_normal((FEATURES, WIDTH)).astype(np.float32) / 8,
        "last": rng.standard_normal((WIDTH, CLASSES)).astype(np.float32) / 16,
    }
    tensors = [numpy_helper.from_array(array, name) for name, array in ends.items()]
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"])]
    last = "h"
    for index, weights in enumerate(layers):
        made, stored = write(f"w{index}", weights)
        nodes += [
            *made,
            helper.make_node("MatMul", [last, f"w{index}"], [f"sum{index}"]),
            helper.make_node("Tanh", [f"sum{index}"], [f"h{index}"]),
        ]
        tensors += stored
        last = f"h{index}"
    nodes.append(helper.make_node("MatMul", [last, "last"], ["scores"]))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])
    graph = helper.make_graph(nodes, "pair", [x], [scores], tensors)
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def pair(kind: str) -> tuple[bytes, bytes]:
    """Give the old and the new model of a kind: fp32, fp16, int8 or low-rank."""
    rng = np.random.default_rng(1)
    old = [(rng.standard_normal((WIDTH, WIDTH)) * 0.05).astype(np.float32) for _ in range(2)]
    if kind == "int8":
        stored = [np.clip(np.rint(w / INT8_SCALE), -127, 127).astype(np.int8) for w in old]
        moved = [w + (rng.random(w.shape) < INT8_MOVED).astype(np.int8) for w in stored]
        return model(stored, _quantized), model([np.clip(w, -127, 127) for w in moved], _quantized)
    if kind == "low-rank":
        new = [w + _low_rank(rng) for w in old]
        return model(old, _plain), model(new, _plain)
    new = [(w + rng.standard_normal(w.shape) * STEP).astype(np.float32) for w in old]
    if kind == "fp16":
        half = [[w.astype(np.float16) for w in layers] for layers in (old, new)]
        return model(half[0], _plain), model(half[1], _plain)
    return model(old, _plain), model(new, _plain)


def _low_rank(rng: np.random.Generator) -> Weights:
    """What a merged adapter adds: the product of two thin matrices."""
    left, right = rng.standard_normal((WIDTH, RANK)), rng.standard_normal((RANK, WIDTH))
    product: Weights = (left.astype(np.float32) @ right.astype(np.float32)) * np.float32(1e-3)
    return product


def main() -> None:
    """Write OLD and NEW of a kind, and the inputs of their golden samples, into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["fp32", "fp16", "int8", "low-rank"])
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for version, data in zip(("1.0", "1.1"), pair(given.kind), strict=True):
        (given.folder / f"{version}.onnx").write_bytes(data)
    x = np.random.default_rng(3).uniform(-1, 1, (SAMPLES, 1, FEATURES)).astype(np.float32)
    np.savez(given.folder / "samples.npz", x=x)


if __name__ == "__main__":
    main()
