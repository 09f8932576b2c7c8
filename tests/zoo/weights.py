"""A model file's weights, to look at and to put others in their places: ONNX and LiteRT."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from slotcast_publisher.delta.formats.tflite import IDENTIFIER, find_in_tflite
from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, INT8
from slotcast_schemas.codecs.source import MemorySource

Array = NDArray[Any]
"""Numbers of any type and shape."""

_WEIGHTS_MIN: Final = 32
"""A tensor of fewer numbers, or of one number many times, is taken for a shape or a constant."""

_ONNX_KINDS: Final = frozenset({"float32", "float16", "float64", "int8", "uint8"})
_LITERT_KINDS: Final = {FLOAT32: "<f4", FLOAT16: "<f2", INT8: "i1"}


class Weights(ABC):
    """The weights of one file."""

    @abstractmethod
    def arrays(self) -> Iterator[tuple[int, Array]]:
        """Give each tensor that could be weights, with its number in the file."""

    @abstractmethod
    def replaced(self, arrays: Mapping[int, Array]) -> bytes:
        """Give the file with other numbers in some tensors."""


def weights_of(data: bytes) -> Weights:
    """Give the weights of a model file."""
    return LiteRtWeights(data) if data[4:8] == IDENTIFIER else OnnxWeights(data)


def are_weights(array: Array) -> bool:
    """Whether a tensor has enough different numbers to be weights."""
    return array.size >= _WEIGHTS_MIN and bool(np.ptp(array.astype(np.float64)) > 0)


class OnnxWeights(Weights):
    """Initializers and constants, of the graph and of the graphs in its nodes.

    Of a model that has none, the numbers in its nodes' attributes: those of decision trees.
    """

    def __init__(self, data: bytes) -> None:
        self._model = onnx.load_from_string(data)

    def arrays(self) -> Iterator[tuple[int, Array]]:
        """Give each tensor that could be weights."""
        yield from self._of_tensors() or self._of_attributes()

    def _of_tensors(self) -> list[tuple[int, Array]]:
        return [
            (number, array)
            for number, tensor in enumerate(_tensors(self._model))
            if _is_of_numbers(tensor) and are_weights(array := numpy_helper.to_array(tensor))
        ]

    def _of_attributes(self) -> list[tuple[int, Array]]:
        """Give numbers in attributes; they are counted from -1 down, beside the tensors."""
        return [
            (-1 - at, array)
            for at, attribute in enumerate(_attributes(self._model))
            if are_weights(array := np.array(attribute.floats, np.float32))
        ]

    def replaced(self, arrays: Mapping[int, Array]) -> bytes:
        """Give the file with other numbers in some tensors."""
        copy = onnx.ModelProto()
        copy.CopyFrom(self._model)
        for number, tensor in enumerate(_tensors(copy)):
            if number in arrays:
                tensor.CopyFrom(numpy_helper.from_array(arrays[number], tensor.name))
        for at, attribute in enumerate(_attributes(copy)):
            if -1 - at in arrays:
                attribute.floats[:] = arrays[-1 - at].tolist()
        return bytes(copy.SerializeToString())


class LiteRtWeights(Weights):
    """Buffers of tensors, by the finder that deltas have; changed in place."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._places = find_in_tflite(MemorySource(data))

    def arrays(self) -> Iterator[tuple[int, Array]]:
        """Give each tensor that could be weights."""
        for number, place in enumerate(self._places):
            dtype = _LITERT_KINDS.get(place.kind)
            if dtype is None:
                continue
            array = np.frombuffer(self._data, dtype, place.count, place.offset)
            if are_weights(array):
                yield number, array

    def replaced(self, arrays: Mapping[int, Array]) -> bytes:
        """Give the file with other numbers in some tensors."""
        data = bytearray(self._data)
        for number, array in arrays.items():
            place = self._places[number]
            data[place.offset : place.end] = array.tobytes()
        return bytes(data)


def _is_of_numbers(tensor: onnx.TensorProto) -> bool:
    kind = tensor.data_type
    if kind in {onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING}:
        return False
    return onnx.helper.tensor_dtype_to_np_dtype(kind).name in _ONNX_KINDS


def _attributes(model: onnx.ModelProto) -> Iterator[onnx.AttributeProto]:
    for node in model.graph.node:
        yield from node.attribute


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                if attribute.HasField("g"):
                    graphs.append(attribute.g)
                graphs.extend(attribute.graphs)
