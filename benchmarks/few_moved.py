"""Deltas of bfloat16 weights of which few moved, by one unit in the last place.

That is what a step of training at a small learning rate leaves of weights that are kept in
bfloat16: most updates are rounded away. There is a bound: which weights moved, and to which side,
takes n (H(p) + p) bits, with H the entropy of a choice (C. Shannon, 1948).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray
from onnx import TensorProto, helper

from benchmarks.report import Figure, Options
from slotcast_publisher.delta.try_delta import try_delta

SHARES: Final = (0.01, 0.02, 0.05)
"""The shares of weights that move."""

OF_BOUND_MAX: Final = 1.05
"""How much larger than the bound a delta may be."""

_LAYERS: Final = 2
_WIDTH: Final = 384

Weights = dict[str, NDArray[np.uint16]]


def few_moved_figures(options: Options) -> Iterator[Figure]:
    """Give for each share the delta's size against the bound, beside other ways to send it."""
    folder = options.work / "few-moved"
    folder.mkdir()
    rng = np.random.default_rng(options.seed)
    before = _weights(rng)
    old, new = folder / "old.onnx", folder / "new.onnx"
    old.write_bytes(_model(before))
    for share in SHARES:
        options.say(f"bfloat16, {share:.0%} moved: ours")
        after, bound_bytes = _moved(rng, before, share)
        new.write_bytes(_model(after))
        trial = try_delta([("model.onnx", old)], [("model.onnx", new)])
        name = f"bfloat16, {share:.0%} of weights moved by one step"
        yield Figure(f"{name}: identical", float(trial.identical), "", limit=1, better="==")
        yield Figure(
            f"{name}: delta",
            trial.patch_bytes,
            "bytes",
            note=", ".join(_others(options, old, new)),
        )
        yield Figure(f"{name}: share of the file", trial.patch_bytes / trial.new_bytes, "ratio")
        yield Figure(
            f"{name}: against the bound",
            trial.patch_bytes / bound_bytes,
            "ratio",
            limit=OF_BOUND_MAX,
            note=f"{bound_bytes / trial.new_bytes:.2%} of the file",
        )


def _weights(rng: np.random.Generator) -> Weights:
    """Weights as a small encoder has them, each row of its own width, rounded to bfloat16."""
    weights: Weights = {}
    dims = [(_WIDTH, _WIDTH)] * 4 + [(4 * _WIDTH, _WIDTH), (_WIDTH, 4 * _WIDTH)]
    for layer in range(_LAYERS):
        for number, shape in enumerate(dims):
            spread = np.exp(rng.normal(-3.0, 0.25, (shape[0], 1)))
            values = (rng.standard_normal(shape) * spread).astype(np.float32).view(np.uint32)
            weights[f"layer.{layer}.{number}"] = ((values + 0x8000) >> 16).astype(np.uint16)
    return weights


def _moved(rng: np.random.Generator, weights: Weights, share: float) -> tuple[Weights, float]:
    """The weights with a share of them one step up or down, and the bytes that take to tell."""
    after: Weights = {}
    moved = count = 0
    for name, values in weights.items():
        is_moved = rng.random(values.shape) < share
        step = np.where(rng.random(values.shape) < 0.5, 1, -1)
        after[name] = (values.astype(np.int32) + is_moved * step).astype(np.uint16)
        moved, count = moved + int(is_moved.sum()), count + values.size
    p = moved / count
    choice_bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
    return after, count * float(choice_bits + p) / 8


def _model(weights: Weights) -> bytes:
    protos = [
        helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, values.tobytes(), raw=True)
        for name, values in weights.items()
    ]
    nodes = [helper.make_node("Identity", [each.name], [f"{each.name}/out"]) for each in protos]
    graph = helper.make_graph(nodes, "encoder", [], [], initializer=protos)
    data: bytes = helper.make_model(graph, producer_name="benchmarks").SerializeToString()
    return data


def _others(options: Options, old: Path, new: Path) -> Iterator[str]:
    """What other ways take, in words; each is undone and compared."""
    for name, size_of in (("XOR and zstd -19", _xor_zstd), ("z4ai", _z4ai)):
        options.say(f"{new.parent.name}: {name}")
        size_bytes = size_of(old.read_bytes(), new.read_bytes())
        yield f"{name} {size_bytes:,}" if size_bytes else f"{name} is not installed"


def _xor_zstd(old: bytes, new: bytes) -> int:
    a, b = (np.frombuffer(data, dtype=np.uint8) for data in (old, new))
    difference = np.bitwise_xor(a, b).tobytes()
    packed = zstandard.ZstdCompressor(level=19).compress(difference)
    if zstandard.ZstdDecompressor().decompress(packed) != difference:
        raise ValueError("expected zstd to give back what it packed")
    return len(packed)


def _z4ai(old: bytes, new: bytes) -> int:
    """PyPI's `z4ai`, where somebody installed it; it is no part of our environment."""
    if importlib.util.find_spec("z4ai") is None:
        return 0
    z4ai = importlib.import_module("z4ai")
    compress: Callable[..., bytes] = z4ai.compress_delta
    decompress: Callable[..., bytes] = z4ai.decompress_delta
    packed = compress(new, reference=old)
    if decompress(packed, reference=old) != new:
        raise ValueError("expected z4ai to give back what it packed")
    return len(packed)
