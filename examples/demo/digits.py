"""The model of the story: a small network that reads handwritten digits, and really learns.

scikit-learn's digits are 1,797 scans of 8 x 8 pixels from the UCI repository. The network is
trained with scikit-learn and written as ONNX here, so that the bad models (`bad_models`) can be
made from the very same graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # ships no types

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Layers = list[tuple[Floats, Floats]]

PIXELS: Final = 64
CLASSES: Final = 10
HIDDEN: Final = 640
"""Two layers of this width make a file of 1.8 MB: large enough to watch on a slow link."""
OPSET: Final = 17
HELD_OUT_SHARE: Final = 0.3


class Digits:
    """The data: `train_*` to learn from, `held_*` that no model of the story has ever seen.

    Pixels are float32, shape (n, 64), in [0, 1]; labels int64, shape (n,).
    """

    def __init__(self, seed: int = 7) -> None:
        data = load_digits()
        split = train_test_split(
            (data.data / 16).astype(np.float32),
            data.target.astype(np.int64),
            test_size=HELD_OUT_SHARE,
            random_state=seed,
            stratify=data.target,
        )
        self.train_x: Floats = split[0]
        self.held_x: Floats = split[1]
        self.train_y: Labels = split[2]
        self.held_y: Labels = split[3]


class Student:
    """A network that can be trained on, and exported at any time."""

    def __init__(self, digits: Digits, seed: int = 7) -> None:
        self._digits = digits
        self._network = MLPClassifier(
            (HIDDEN, HIDDEN), batch_size=128, learning_rate_init=5e-4, random_state=seed
        )

    def learn(self, epochs: int, share: float = 1.0) -> None:
        """Go over (the first share of) the training data a number of times."""
        count = int(len(self._digits.train_x) * share)
        x, y = self._digits.train_x[:count], self._digits.train_y[:count]
        # One thread: on a busy machine, threads of BLAS wait for each other more than they work.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for _ in range(epochs):
                self._network.partial_fit(x, y, classes=np.arange(CLASSES))

    @property
    def layers(self) -> Layers:
        """Weights and biases, float32, from the input to the output."""
        pairs = zip(self._network.coefs_, self._network.intercepts_, strict=True)
        return [(w.astype(np.float32), b.astype(np.float32)) for w, b in pairs]

    def accuracy(self, x: Floats, labels: Labels) -> float:
        """Give the share of digits, shape (n, 64), that it reads as their labels say."""
        return float(np.mean(self._network.predict(x) == labels))

    def write_samples(self, path: Path, count: int = 64) -> None:
        """Write training digits, their labels, and what the network itself says to them.

        What it says comes from scikit-learn, not from the ONNX file: so a file that was damaged
        on its way from training to release does not answer as these samples say it must.
        """
        x, y = self._digits.train_x[:count], self._digits.train_y[:count]
        scores = self._network.predict_proba(x).astype(np.float32)
        np.savez(path, **{"pixels": x, "labels": y, "output:scores": scores})


def write_onnx(
    layers: Layers,
    before: Sequence[onnx.NodeProto] = (),
    extra: Sequence[onnx.TensorProto] = (),
    *,
    add: str | None = None,
) -> bytes:
    """Give the network as ONNX: `pixels` float [N, 64] to `scores` float [N, 10].

    Args:
        layers: weights and biases.
        before: nodes to put in front; for the bad models.
        extra: constants that those need.
        add: a result of theirs that is added to the scores.
    """
    nodes, tensors, value = list(before), list(extra), "pixels"
    for number, (weights, bias) in enumerate(layers):
        names = [f"weights{number}", f"bias{number}"]
        tensors += [tensor(names[0], weights), tensor(names[1], bias)]
        is_last = number == len(layers) - 1
        nodes.append(helper.make_node("Gemm", [value, *names], [f"sum{number}"]))
        kind, value = ("Softmax", "soft") if is_last else ("Relu", f"hidden{number}")
        nodes.append(helper.make_node(kind, [f"sum{number}"], [value]))
    kind, parts = ("Identity", [value]) if add is None else ("Add", [value, add])
    nodes.append(helper.make_node(kind, parts, ["scores"]))
    graph = helper.make_graph(nodes, "digits", [pixels()], [scores()], tensors)
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def tensor(name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
    """Give a constant of a graph."""
    return numpy_helper.from_array(array, name)


def pixels() -> onnx.ValueInfoProto:
    """Give the declaration of the input."""
    return helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", PIXELS])


def scores() -> onnx.ValueInfoProto:
    """Give the declaration of the output."""
    return helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])
