"""Pairs of models whose rows or columns came, went or moved, drawn by a seed.

One model stands for what people ship: a table of words, a layer of an LSTM, a convolution, a dense
layer, a head of classes. Each pair changes it in one way, as happens when a class is added, a
vocabulary is edited, a model is pruned, exported by another tool or trained on afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Tensors = dict[str, NDArray[Any]]

_WORDS: Final = 6000
_WIDTH: Final = 128
_HIDDEN: Final = 160
_CLASSES: Final = 200
_FINE_TUNED: Final = 1e-3
"""How far a fine-tune moves weights of a spread of 0.05, as the standard deviation."""


@dataclass(frozen=True, slots=True)
class MovedPair:
    """Two models in one file each, and what was done to the first to make the second."""

    name: str
    old: bytes
    new: bytes


def moved_pairs(seed: int) -> Iterator[MovedPair]:
    """Give every pair, made one at a time; the same seed gives the same files."""
    for name, change in _CHANGES.items():
        old = _model(np.random.default_rng(seed))
        new = change(dict(old), np.random.default_rng(seed + 1))
        yield MovedPair(name, model_file(old), model_file(new))
    yield _in_kind("int8, rows shuffled", seed, np.dtype(np.int8), _shuffle_rows)
    yield _in_kind("fp16, columns inserted", seed, np.dtype(np.float16), _insert_columns)
    old, other = (_model(np.random.default_rng(seed + number)) for number in (0, 7))
    yield MovedPair("unrelated, fp32", model_file(old), model_file(other))
    yield _unrelated("unrelated, int8", seed, np.dtype(np.int8))
    yield _unrelated("unrelated, fp16", seed, np.dtype(np.float16))


def model_file(tensors: Tensors) -> bytes:
    """Give an ONNX file with these tensors, each the input of a node."""
    protos = [numpy_helper.from_array(np.ascontiguousarray(t), n) for n, t in tensors.items()]
    nodes = [helper.make_node("Identity", [p.name], [f"{p.name}/out"]) for p in protos]
    graph = helper.make_graph(nodes, "graph", [], [], initializer=protos)
    model: onnx.ModelProto = helper.make_model(graph, producer_name="slotcast benchmarks")
    data: bytes = model.SerializeToString()
    return data


def _model(rng: np.random.Generator) -> Tensors:
    def weights(*dims: int) -> NDArray[np.float32]:
        spread = np.exp(rng.normal(-3.0, 0.25, (dims[0], *[1] * (len(dims) - 1))))
        return (rng.standard_normal(dims) * spread).astype(np.float32)

    return {
        "words": weights(_WORDS, _WIDTH),
        "lstm.w": weights(1, 4 * _HIDDEN, _WIDTH),
        "lstm.r": weights(1, 4 * _HIDDEN, _HIDDEN),
        "lstm.b": weights(1, 8 * _HIDDEN),
        "conv": weights(96, 64, 3, 3),
        "dense": weights(_HIDDEN, 512),
        "head": weights(512, _CLASSES),
        "head.b": weights(_CLASSES),
    }


def _fresh(rng: np.random.Generator, *dims: int) -> NDArray[np.float32]:
    return (rng.standard_normal(dims) * 0.05).astype(np.float32)


def _append_rows(t: Tensors, rng: np.random.Generator) -> Tensors:
    return t | {"words": np.concatenate([t["words"], _fresh(rng, 40, _WIDTH)])}


def _insert_rows(t: Tensors, rng: np.random.Generator) -> Tensors:
    places = np.sort(rng.integers(0, _WORDS, 25))
    return t | {"words": np.insert(t["words"], places, _fresh(rng, 25, _WIDTH), axis=0)}


def _delete_rows(t: Tensors, rng: np.random.Generator) -> Tensors:
    return t | {"words": np.delete(t["words"], rng.integers(0, _WORDS, 300), axis=0)}


def _swap_rows(t: Tensors, rng: np.random.Generator) -> Tensors:
    words = t["words"].copy()
    one, other = rng.choice(_WORDS, 2, replace=False)
    words[[one, other]] = words[[other, one]]
    return t | {"words": words}


def _shuffle_rows(t: Tensors, rng: np.random.Generator) -> Tensors:
    return t | {"words": t["words"][rng.permutation(_WORDS)]}


def _append_class(t: Tensors, rng: np.random.Generator) -> Tensors:
    """A head of (inputs, classes): a class is a column."""
    head = np.concatenate([t["head"], _fresh(rng, 512, 1)], axis=1)
    return t | {"head": head, "head.b": np.concatenate([t["head.b"], _fresh(rng, 1)])}


def _insert_columns(t: Tensors, rng: np.random.Generator) -> Tensors:
    places = np.sort(rng.integers(0, _WIDTH, 3))
    fresh = _fresh(rng, _WORDS, 3).astype(t["words"].dtype)
    return t | {"words": np.insert(t["words"], places, fresh, axis=1)}


def _delete_columns(t: Tensors, rng: np.random.Generator) -> Tensors:
    return t | {"words": np.delete(t["words"], rng.integers(0, _WIDTH, 12), axis=1)}


def _swap_columns(t: Tensors, rng: np.random.Generator) -> Tensors:
    words = t["words"].copy()
    one, other = rng.choice(_WIDTH, 2, replace=False)
    words[:, [one, other]] = words[:, [other, one]]
    return t | {"words": words}


def _shuffle_columns(t: Tensors, rng: np.random.Generator) -> Tensors:
    return t | {"words": t["words"][:, rng.permutation(_WIDTH)]}


def _shuffle_both(t: Tensors, rng: np.random.Generator) -> Tensors:
    words = t["words"][rng.permutation(_WORDS)]
    return t | {"words": words[:, rng.permutation(_WIDTH)]}


def _prune(t: Tensors, rng: np.random.Generator) -> Tensors:
    """Some channels of the convolution go, as outputs and as inputs."""
    kept_out, kept_in = (np.sort(rng.choice(n, n - n // 8, replace=False)) for n in (96, 64))
    return t | {"conv": t["conv"][kept_out][:, kept_in]}


def _reorder_gates(t: Tensors, rng: np.random.Generator) -> Tensors:
    """From the order of one framework (input, forget, cell, output) to ONNX's (i, o, f, c)."""
    del rng

    def reordered(values: NDArray[Any], sets: int) -> NDArray[Any]:
        gates = values.reshape(sets, 4, _HIDDEN, -1)[:, [0, 3, 1, 2]]
        return gates.reshape(values.shape)

    parts = {"lstm.w": 1, "lstm.r": 1, "lstm.b": 2}
    return t | {name: reordered(t[name], sets) for name, sets in parts.items()}


def _other_shape(t: Tensors, rng: np.random.Generator) -> Tensors:
    del rng
    conv = t["conv"].reshape(96, 576)
    return t | {"conv": conv, "words": t["words"].reshape(-1, 2 * _WIDTH)}


def _other_axes(t: Tensors, rng: np.random.Generator) -> Tensors:
    """From outputs, inputs, height, width to outputs, height, width, inputs; words turned."""
    del rng
    return t | {"conv": t["conv"].transpose(0, 2, 3, 1), "words": t["words"].T}


def _join(t: Tensors, rng: np.random.Generator) -> Tensors:
    """Two tensors become one, as when an exporter joins the matrices of an attention."""
    del rng
    joined = np.concatenate([t["lstm.w"][0], t["words"]])
    return {"joined": joined} | {n: v for n, v in t.items() if n not in ("lstm.w", "words")}


def _trained(t: Tensors, rng: np.random.Generator) -> Tensors:
    return {
        name: (values + rng.standard_normal(values.shape) * _FINE_TUNED).astype(values.dtype)
        for name, values in t.items()
    }


def _then_trained(change: Callable[[Tensors, np.random.Generator], Tensors]) -> Change:
    return lambda tensors, rng: _trained(change(tensors, rng), rng)


Change = Callable[[Tensors, np.random.Generator], Tensors]

_CHANGES: Final[dict[str, Change]] = {
    "rows appended": _append_rows,
    "rows inserted": _insert_rows,
    "rows deleted": _delete_rows,
    "two rows swapped": _swap_rows,
    "rows shuffled": _shuffle_rows,
    "a class appended": _append_class,
    "columns inserted": _insert_columns,
    "columns deleted": _delete_columns,
    "two columns swapped": _swap_columns,
    "columns shuffled": _shuffle_columns,
    "rows and columns shuffled": _shuffle_both,
    "channels pruned": _prune,
    "gates of an LSTM reordered": _reorder_gates,
    "another shape": _other_shape,
    "another order of axes": _other_axes,
    "two tensors joined": _join,
    "rows inserted, then trained": _then_trained(_insert_rows),
    "rows shuffled, then trained": _then_trained(_shuffle_rows),
    "a class appended, then trained": _then_trained(_append_class),
    "columns shuffled, then trained": _then_trained(_shuffle_columns),
    "gates reordered, then trained": _then_trained(_reorder_gates),
}


def _in_kind(name: str, seed: int, dtype: np.dtype[Any], change: Change) -> MovedPair:
    old = _as(_model(np.random.default_rng(seed)), dtype)
    return MovedPair(
        name, model_file(old), model_file(change(dict(old), np.random.default_rng(seed + 1)))
    )


def _unrelated(name: str, seed: int, dtype: np.dtype[Any]) -> MovedPair:
    files = [model_file(_as(_model(np.random.default_rng(seed + n)), dtype)) for n in (0, 7)]
    return MovedPair(name, files[0], files[1])


def _as(tensors: Tensors, dtype: np.dtype[Any]) -> Tensors:
    scale = 300.0 if dtype.kind == "i" else 1.0
    return {
        name: np.clip(values * scale, -127, 127).astype(dtype) for name, values in tensors.items()
    }
