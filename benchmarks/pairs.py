"""Pairs of models drawn so as to have the statistics of really trained ones, at any size.

The shape is that of a small sentence encoder: one word embedding with half of all weights, then
layers of attention and feed-forward matrices. The new model is the old one after steps of AdamW
(I. Loshchilov, F. Hutter, arXiv:1711.05101) with random gradients: each row has its own gradient
scale, tokens come by Zipf's law, and a share of them never comes, so that their rows only decay.
Nothing is learned; what matters to a codec is how far and how evenly the weights move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Weights = NDArray[np.float32]

_UNSEEN_SHARE: Final = 0.94
"""Rows whose tokens never come. In the fine-tune of MiniLM that our targets were measured on, 49 %
of all weights stayed bit for bit where weight decay was 0: 94 % of the word embedding."""

_BETAS: Final = (0.9, 0.999)
_EPSILON: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of an encoder, and of its fine-tune."""

    tokens: int
    width: int
    layers: int
    steps: int = 60
    learning_rate: float = 5e-5
    weight_decay: float = 0.01


LARGE: Final = Shape(tokens=30_522, width=384, layers=6)
"""22.5 million weights, 90 MB, the shape of all-MiniLM-L6."""

SMALL: Final = Shape(tokens=4_900, width=256, layers=1)
"""8.7 MB of the same."""


def write_pair(folder: Path, shape: Shape, seed: int) -> tuple[Path, Path]:
    """Write `old.onnx` and `new.onnx` into the folder; the same seed gives the same models."""
    rng = np.random.default_rng(seed)
    old: list[onnx.TensorProto] = []
    new: list[onnx.TensorProto] = []
    for name, dims in _tensors(shape):
        weights = _initial(rng, name, dims)
        moved = _fine_tune(rng, name, weights, shape)
        for protos, values in ((old, weights), (new, moved)):
            protos.append(
                helper.make_tensor(name, TensorProto.FLOAT, dims, values.tobytes(), raw=True)
            )
    paths = folder / "old.onnx", folder / "new.onnx"
    for path, protos in zip(paths, (old, new), strict=True):
        path.write_bytes(_model(protos).SerializeToString())
    return paths


def _tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    width = shape.width
    yield "embeddings.word.weight", (shape.tokens, width)
    yield "embeddings.position.weight", (512, width)
    for layer in range(shape.layers):
        for part in ("query", "key", "value", "output"):
            yield f"layer.{layer}.{part}.weight", (width, width)
            yield f"layer.{layer}.{part}.bias", (width,)
        yield f"layer.{layer}.up.weight", (4 * width, width)
        yield f"layer.{layer}.up.bias", (4 * width,)
        yield f"layer.{layer}.down.weight", (width, 4 * width)
        yield f"layer.{layer}.down.bias", (width,)


def _initial(rng: np.random.Generator, name: str, dims: tuple[int, ...]) -> Weights:
    """Trained weights: nearly normal, each row with a spread of its own."""
    spread = np.exp(rng.normal(-3.0, 0.25, (dims[0], *[1] * (len(dims) - 1))))
    values = rng.standard_normal(dims, dtype=np.float32) * spread.astype(np.float32)
    return (values * np.float32(0.1) if name.endswith("bias") else values).astype(np.float32)


def _fine_tune(rng: np.random.Generator, name: str, weights: Weights, shape: Shape) -> Weights:
    """AdamW as PyTorch has it, in float32, one rounding for each operation."""
    weights = weights.copy()
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    drift = rng.standard_normal(weights.shape, dtype=np.float32) * np.float32(0.2)
    is_seen = _seen_rows(rng, name, len(weights), shape)
    decay = np.float32(1 - shape.learning_rate * shape.weight_decay)
    for step in range(1, shape.steps + 1):
        weights *= decay
        rows = np.flatnonzero(next(is_seen))
        gradient = rng.standard_normal((len(rows), *weights.shape[1:]), dtype=np.float32)
        gradient += drift[rows]
        first *= np.float32(_BETAS[0])
        second *= np.float32(_BETAS[1])
        first[rows] += np.float32(1 - _BETAS[0]) * gradient
        second[rows] += np.float32(1 - _BETAS[1]) * np.square(gradient)
        scale = shape.learning_rate / (1 - _BETAS[0] ** step)
        root = np.sqrt(second / np.float32(1 - _BETAS[1] ** step)) + np.float32(_EPSILON)
        weights -= np.float32(scale) * first / root
    return weights


def _seen_rows(
    rng: np.random.Generator, name: str, rows: int, shape: Shape
) -> Iterator[NDArray[np.bool_]]:
    """For each step the rows that have a gradient: all, or the tokens of the batch."""
    if name != "embeddings.word.weight":
        while True:
            yield np.ones(rows, dtype=np.bool_)
    ranks = rng.permutation(rows)
    chance = np.minimum(1.0, 40.0 / (ranks + 1.0) ** 0.6)
    chance[ranks >= rows * (1 - _UNSEEN_SHARE)] = 0.0
    while True:
        yield rng.random(rows) < chance


def _model(protos: list[onnx.TensorProto]) -> onnx.ModelProto:
    """A graph that touches every weight, for the text around them to be as in real files."""
    nodes = [
        helper.make_node("Identity", [proto.name], [f"/{proto.name}/out"], name=f"/{proto.name}")
        for proto in protos
    ]
    graph = helper.make_graph(nodes, "encoder", [], [], initializer=protos)
    return helper.make_model(graph, producer_name="benchmarks")
