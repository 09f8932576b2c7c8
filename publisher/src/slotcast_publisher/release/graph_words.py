"""Sizes, texts and numbers that stand somewhere in a graph, as candidates for made inputs.

Where no rule says what an input must be like (`input_hints`), the graph still names what it knows:
how large its weights are, into which shapes it cuts what comes in, which words its tables hold. To
try those costs a run each; nothing here is certain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import onnx
from onnx import numpy_helper

LIKELY_SIZES_MAX: Final = 24
"""The most sizes that are given, those that the graph uses first."""

TEXTS_MAX: Final = 32
"""The most texts, or integers, that are given."""

_TEXT_MAX_CHARS: Final = 256
_SIZE_MAX: Final = 65_536
_SMALL: Final = 64
"""The most numbers of a constant that may be a shape or a list of sizes."""

_TEXTS: Final = frozenset({"keys_strings", "cats_strings", "pool_strings", "string_vocabulary"})
_INTEGERS: Final = frozenset({"keys_int64s", "cats_int64s", "int64_vocabulary", "pool_int64s"})
"""Attributes of ai.onnx.ml's and onnx's tables that hold what is looked up."""


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Give a graph's nodes, and behind each those of the graphs in it."""
    for node in graph.node:
        yield node
        for inner in _graphs_in(node):
            yield from nodes_of(inner)


def weights_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Give a graph's named constants, and those of the graphs in it."""
    yield from graph.initializer
    for node in graph.node:
        for inner in _graphs_in(node):
            yield from weights_of(inner)


def likely_sizes(graph: onnx.GraphProto) -> list[int]:
    """Give sizes of weights, sizes into which values are cut, and how much those come to."""
    weights = {tensor.name: tensor for tensor in weights_of(graph)}
    found: dict[int, None] = {}
    for node in nodes_of(graph):
        for name in node.input:
            if name in weights:
                found |= dict.fromkeys(_sizes_in(node.op_type, weights[name]))
        for value in _attributes(node, "value"):
            if isinstance(value, onnx.TensorProto):
                found |= dict.fromkeys(_sizes_in(node.op_type, value))
    return [size for size in found if 1 < size <= _SIZE_MAX][:LIKELY_SIZES_MAX]


def texts_in(graph: onnx.GraphProto) -> list[str]:
    """Give words that the graph's tables hold, or that it compares with."""
    found: dict[str, None] = {}
    for node in nodes_of(graph):
        for attribute in node.attribute:
            if attribute.name in _TEXTS:
                found |= dict.fromkeys(each.decode(errors="replace") for each in attribute.strings)
            if attribute.t.data_type == onnx.TensorProto.STRING:
                found |= dict.fromkeys(_texts(attribute.t))
    for tensor in weights_of(graph):
        if tensor.data_type == onnx.TensorProto.STRING:
            found |= dict.fromkeys(_texts(tensor))
    return [text for text in found if len(text) <= _TEXT_MAX_CHARS][:TEXTS_MAX]


def integers_in(node: onnx.NodeProto) -> list[int]:
    """Give the integers that a node looks its input up by; none for most nodes."""
    return [number for each in node.attribute if each.name in _INTEGERS for number in each.ints][
        :TEXTS_MAX
    ]


def _texts(tensor: onnx.TensorProto) -> Iterator[str]:
    return (each.decode(errors="replace") for each in tensor.string_data)


def _sizes_in(operator: str, tensor: onnx.TensorProto) -> Iterator[int]:
    """Give what a constant says of sizes: its own, and if it is a shape or a list, its numbers."""
    yield from tensor.dims
    is_external = tensor.data_location == onnx.TensorProto.EXTERNAL
    is_list = tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) == 1
    if is_external or not is_list or tensor.dims[0] > _SMALL:
        return
    numbers = [int(one) for one in numpy_helper.to_array(tensor)]
    sizes = [one for one in numbers if one > 0]
    if operator == "Split":
        yield sum(sizes)
    else:
        yield math.prod(sizes)
        yield from sizes


def _graphs_in(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _attributes(node: onnx.NodeProto, name: str) -> Iterator[Any]:
    for each in node.attribute:
        if each.name == name:
            yield onnx.helper.get_attribute_value(each)
