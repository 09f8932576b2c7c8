"""What a graph says of the inputs that it can take: sizes of free dimensions, and telling values.

An exporter leaves a dimension free that the weights fix: a convolution of weights [32, 3, 3, 3]
takes images of 3 channels, whatever the input's shape says. So each input is followed through
operators that keep its axes, to the first that knows a size. And where an input is compared with
constants (a sampling rate), those are the values that the graph tells apart. An input that is
compared with 0, 1, 2 and so on, or that a recurrent layer takes as its lengths, says how much of
the other inputs counts: of none of it every answer is the same. An input that says of
each region in which image of a batch it lies can only name the first for certain: onnxruntime
1.18 reads past the images for any other, and gives what lies there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnx
from onnx import numpy_helper

from slotcast_publisher.release.graph_words import (
    integers_in,
    likely_sizes,
    nodes_of,
    texts_in,
    weights_of,
)

Axes = tuple[int | None, ...]
"""Which of an input's axes each axis of a value is; None for one that is another's."""

_KEEP: Final = frozenset(
    {
        *("Identity", "Cast", "Clip", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Abs", "Neg", "Sqrt"),
        *("Log", "Exp", "Floor", "Round", "Sub", "Add", "Mul", "Div", "Pow", "Where", "Pad"),
        *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "Dropout", "Elu", "Erf"),
        *("InstanceNormalization", "Softmax", "MaxPool", "AveragePool"),
    }
)
"""Operators whose output has the axes of their first input, if not the sizes."""

_DEPTH_MAX: Final = 12
"""How many operators deep an input is followed."""

_TREES: Final = frozenset({"TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"})
_NUMBERS_IMAGES: Final = frozenset({"RoiAlign", "CropAndResize"})
"""Operators whose third input is the number of an image, for each region."""
_ORDER: Final = frozenset({"Less", "Greater", "LessOrEqual", "GreaterOrEqual"})
"""Operators that say which of two numbers is the larger."""
_RECURRENT: Final = frozenset({"LSTM", "GRU", "RNN"})
_LENGTHS_AT: Final = {"LSTM": 4, "GRU": 4, "RNN": 4, "ReverseSequence": 1}
"""Operators that take lengths, and at which input."""
_RESHAPE: Final = frozenset({"Cast", "Unsqueeze", "Reshape", "Expand", "Tile", "Identity"})
"""Operators that give the values of their first input in another shape or type."""
_COLUMNS_MAX: Final = 65_536
"""A feature whose number is larger is not looked at."""

_VALUES_MAX: Final = 4
"""The number of telling values that one input can have."""


@dataclass(slots=True)
class Hints:
    """What was found.

    Attributes:
        sizes: of an input's axis, by the input's name and the axis.
        values: with which an input is compared, by its name.
        columns: between which numbers each column of an input is told apart, by the input's name:
            the thresholds of decision trees, with as much around them.
        image_numbers: names of inputs that number images of a batch.
        lengths: names of inputs that say how much of the others counts.
        steps: axes of inputs along which a recurrent layer goes, which are no batch.
        items: of a sequence, the shape of its tensors, by the input's name.
        likely_sizes: that stand somewhere in the graph, for dimensions of which nothing is known.
        texts: that the graph knows, for inputs of text and names in a map.
        integers: by which an input is looked up in a table, by its name.
    """

    sizes: dict[tuple[str, int], int] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    columns: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    image_numbers: set[str] = field(default_factory=set)
    lengths: set[str] = field(default_factory=set)
    steps: set[tuple[str, int]] = field(default_factory=set)
    items: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    likely_sizes: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    integers: dict[str, list[int]] = field(default_factory=dict)


def hints_of(model: onnx.ModelProto) -> Hints:
    """Look through a model's graph; its weights need not be loaded.

    Hints only help: of a graph that is not as onnx has it there are none, and the model goes on.
    """
    try:
        return _Reader(model).read()
    except Exception:  # noqa: BLE001 (attributes of any type, tensors that lie elsewhere)
        return Hints()


class _Reader:
    """Follows each input through the graph."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        weights = list(weights_of(model.graph))
        self._shapes = {t.name: tuple(t.dims) for t in weights}
        self._constants: dict[str, onnx.TensorProto] = {t.name: t for t in weights}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        self._makers: dict[str, onnx.NodeProto] = {}
        # A graph in a node sees the values around it by their names.
        for node in nodes_of(model.graph):
            self._makers |= dict.fromkeys(node.output, node)
            for name in node.input:
                self._users.setdefault(name, []).append(node)
            if node.op_type == "Constant" and (value := _attribute(node, "value")) is not None:
                self._constants[node.output[0]] = value
                self._shapes[node.output[0]] = tuple(value.dims)
        self._hints = Hints()

    def read(self) -> Hints:
        for given in self._graph.input:
            if given.name in self._shapes:
                continue  # an initializer that older files list among the inputs
            if given.type.HasField("sequence_type"):
                self._hints.items[given.name] = _item_shape(given.type.sequence_type)
            rank = len(given.type.tensor_type.shape.dim)
            self._follow(given.name, given.name, tuple(range(rank)), 0)
        self._hints.likely_sizes = likely_sizes(self._graph)
        self._hints.texts = texts_in(self._graph)
        return self._hints

    def _follow(self, source: str, name: str, axes: Axes, depth: int) -> None:
        if depth > _DEPTH_MAX:
            return
        for node in self._users.get(name, []):
            for axis, size in self._sizes(node, name):
                if -len(axes) <= axis < len(axes) and (own := axes[axis]) is not None and size > 0:
                    self._hints.sizes.setdefault((source, own), size)
            if node.op_type in _RECURRENT and node.input[0] == name:
                self._hints.steps.update((source, at) for at in axes[:1] if at is not None)
            if (keys := integers_in(node)) and depth == 0:
                self._hints.integers[source] = keys
            self._note_meaning(source, node, name)
            after = self._axes_after(node, name, axes)
            if after is not None:
                self._follow(source, node.output[0], after, depth + 1)

    def _note_meaning(self, source: str, node: onnx.NodeProto, name: str) -> None:
        """Note what a node says of the numbers of an input that comes to it under some name."""
        if node.op_type in {"Equal", *_ORDER}:
            self._note_values(source, node)
        if self._takes_lengths(node, name):
            self._hints.lengths.add(source)
        if node.op_type in _TREES:
            self._note_thresholds(source, node)
        if node.op_type in _NUMBERS_IMAGES and list(node.input[2:3]) == [name]:
            self._hints.image_numbers.add(source)

    def _axes_after(self, node: onnx.NodeProto, name: str, axes: Axes) -> Axes | None:
        """Which axes the output has; None where that is not known."""
        if node.op_type == "Transpose":
            order = _attribute(node, "perm") or list(reversed(range(len(axes))))
            return tuple(axes[at] for at in order) if len(order) == len(axes) else None
        if node.op_type in {"Squeeze", "Unsqueeze"}:
            return self._axes_after_squeeze(node, axes)
        if node.op_type not in _KEEP:
            return None
        # Added to something of more axes, it has that one's.
        ranks = [len(self._shapes[n]) for n in node.input if n in self._shapes and n != name]
        return axes if max(ranks, default=0) <= len(axes) else None

    def _axes_after_squeeze(self, node: onnx.NodeProto, axes: Axes) -> Axes | None:
        """Axes after a dimension of 1 went or came; which it is may be an input or an attribute."""
        said = _attribute(node, "axes")
        if said is None and len(node.input) > 1 and node.input[1] in self._constants:
            said = numpy_helper.to_array(self._constants[node.input[1]]).reshape(-1).tolist()
        if said is None:
            return None
        if node.op_type == "Squeeze":
            gone = {at % len(axes) for at in said} if axes else set()
            return tuple(axis for at, axis in enumerate(axes) if at not in gone)
        rank, rest = len(axes) + len(said), iter(axes)
        new = {at % rank for at in said}
        return tuple(None if at in new else next(rest) for at in range(rank))

    def _sizes(self, node: onnx.NodeProto, name: str) -> Iterator[tuple[int, int]]:
        """Give axes of a value whose size a node knows."""
        kind, at = node.op_type, list(node.input).index(name)
        if at != 0:
            yield from self._sizes_behind(node, at)
            return
        weights = [self._shape(n) for n in node.input]
        if kind in {"Conv", "ConvInteger", "QLinearConv", "ConvTranspose"}:
            shape = weights[3 if kind == "QLinearConv" else 1]
            if shape is not None and len(shape) > 1:
                groups = _attribute(node, "group") or 1
                yield 1, shape[0] if kind == "ConvTranspose" else shape[1] * groups
        elif kind in {"MatMul", "MatMulInteger", "QLinearMatMul"}:
            shape = weights[3 if kind == "QLinearMatMul" else 1]
            if shape is not None and len(shape) > 1:
                yield -1, shape[-2]
        elif kind == "Gemm" and (shape := weights[1]) is not None and len(shape) == 2:
            axis = 0 if _attribute(node, "transA") else 1
            yield axis, shape[1] if _attribute(node, "transB") else shape[0]
        elif kind in _RECURRENT and (shape := weights[1]) is not None:
            yield -1, shape[-1]
        elif kind in {"BatchNormalization", "LayerNormalization"} and (shape := weights[1]):
            yield (1 if kind == "BatchNormalization" else -1), shape[0]

    def _sizes_behind(self, node: onnx.NodeProto, at: int) -> Iterator[tuple[int, int]]:
        """Give axes of a value that is not the first input of a node which knows their size."""
        if node.op_type == "MatMul" and (left := self._shape(node.input[0])):
            yield -2, left[-1]
        elif node.op_type in _RECURRENT and at in {5, 6}:
            recurrence = self._shape(node.input[2])
            if recurrence is not None:
                yield 0, recurrence[0]
                yield -1, recurrence[-1]

    def _shape(self, name: str, depth: int = 3) -> tuple[int, ...] | None:
        """Give the shape of a weight, also of one that is made of another where it is used."""
        if name in self._shapes:
            return self._shapes[name]
        maker = self._makers.get(name)
        if maker is None or depth == 0 or not maker.input:
            return None
        shape = self._shape(maker.input[0], depth - 1)
        if shape is not None and maker.op_type == "Transpose":
            order = _attribute(maker, "perm") or list(reversed(range(len(shape))))
            return tuple(shape[at] for at in order)
        return shape if maker.op_type in _KEEP else None

    def _note_values(self, source: str, node: onnx.NodeProto) -> None:
        for name in node.input:
            tensor = self._constants.get(name)
            if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
                continue
            found = self._hints.values.setdefault(source, [])
            numbers = numpy_helper.to_array(tensor).reshape(-1)[:_VALUES_MAX]
            if numbers.dtype.kind in "biuf":
                found += [float(one) for one in numbers if float(one) not in found]
                del found[_VALUES_MAX:]

    def _takes_lengths(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether a value says to a node how many of something count."""
        if node.op_type in _ORDER:
            return any(self._counts_up(other) for other in node.input if other != name)
        at = _LENGTHS_AT.get(node.op_type)
        return at is not None and list(node.input[at : at + 1]) == [name]

    def _counts_up(self, name: str) -> bool:
        """Whether a value is 0, 1, 2 and so on, in whatever shape."""
        maker = self._makers.get(name)
        for _ in range(_DEPTH_MAX):
            if maker is None or maker.op_type not in _RESHAPE:
                break
            maker = self._makers.get(maker.input[0])
        return maker is not None and maker.op_type == "Range"

    def _note_thresholds(self, source: str, node: onnx.NodeProto) -> None:
        """Note between which numbers trees ask of each feature, which is a column of their input.

        `TreeEnsemble` (ai.onnx.ml 5) calls its attributes otherwise than those before it.
        """
        features = _attribute(node, "nodes_featureids") or []
        values = _attribute(node, "nodes_values") or _attribute(node, "nodes_splits")
        if isinstance(values, onnx.TensorProto):
            values = numpy_helper.to_array(values).tolist()
        modes = _attribute(node, "nodes_modes")
        # As a tensor (ai.onnx.ml 5) they are of nodes that all ask: leaves are kept apart.
        leaves = modes if isinstance(modes, list) else []
        found: dict[int, list[float]] = {}
        for at, (feature, value) in enumerate(zip(features, values or [], strict=False)):
            is_leaf = at < len(leaves) and leaves[at] == b"LEAF"
            if not is_leaf and math.isfinite(value) and 0 <= feature < _COLUMNS_MAX:
                found.setdefault(feature, []).append(float(value))
        if found:
            self._hints.columns[source] = [
                _around(found.get(column, ())) for column in range(max(found) + 1)
            ]


def _item_shape(kind: onnx.TypeProto.Sequence) -> tuple[int | None, ...]:
    dims = kind.elem_type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in dims)


def _around(values: Sequence[float]) -> tuple[float, float]:
    """Give a range in which a number is now below, now above each of some values."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = max((high - low) / 4, abs(high) / 4, 1.0)
    return low - room, high + room


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    found = next((one for one in node.attribute if one.name == name), None)
    return None if found is None else onnx.helper.get_attribute_value(found)
