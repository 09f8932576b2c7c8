"""The zoo's classifier as LiteRT files, written with the FlatBuffer's own builder.

Field numbers, operators and types are those of TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from tests.support import models
from tests.support.model_files import IDENTIFIER, make_offsets, make_table, make_vector

_FULLY_CONNECTED, _SOFTMAX = 9, 25
_FULLY_CONNECTED_OPTIONS, _SOFTMAX_OPTIONS = 8, 9
_FLOAT32, _RELU = 0, 1

Weights = list[NDArray[np.float32]]


def classifier(seed: int = 1, *, drift: float = 0.0) -> bytes:
    """A good one, which says what `models.classifier(seed)` says."""
    return of_weights(models.weights(seed, drift=drift))


def damaged_weights(seed: int = 1) -> bytes:
    """Loads and answers, wrongly: half of the first layer's weights were overwritten."""
    weights = models.weights(seed)
    rows = weights[0].shape[0] // 2
    noise = np.random.default_rng(seed + 999).standard_normal(weights[0][:rows].shape)
    weights[0][:rows] = noise * 3
    return of_weights(weights)


def not_a_number(seed: int = 1) -> bytes:
    """Loads, and answers NaN."""
    weights = models.weights(seed)
    weights[2][0, :] = np.nan
    return of_weights(weights)


def of_any_length(seed: int = 1) -> bytes:
    """Says the same as `classifier`, but its file has sizes for `x` on which it cannot run."""
    return of_weights(models.weights(seed), placeholder=(1, 1), signature=(-1, -1))


def of_weights(
    weights: Weights,
    *,
    external_groups: bool = False,
    placeholder: tuple[int, ...] | None = None,
    signature: tuple[int, ...] | None = None,
) -> bytes:
    """Two dense layers and a softmax, from `x` [-1, FEATURES] to `scores` [-1, CLASSES].

    Args:
        placeholder: the sizes of `x` in the file, where they are not those that it runs on.
        signature: which sizes of `x` are free (-1); the first unless given.
        weights: of the first layer, its bias, of the second, its bias; (in, out) each.
        external_groups: name another file for tensors, as the newest schema allows.
    """
    builder = flatbuffers.Builder(1024)
    w1, b1, w2, b2 = weights
    constants = {"w1": w1.T, "b1": b1, "w2": w2.T, "b2": b2}
    buffers = [make_table(builder, {})]
    numbers: dict[str, int] = {}
    for name, array in constants.items():
        numbers[name] = len(buffers)
        buffers.append(make_table(builder, {0: make_vector(builder, array)}))
    hidden, classes = w1.shape[1], w2.shape[1]
    shapes: Mapping[str, tuple[int, ...]] = {
        "x": placeholder or (1, w1.shape[0]),
        **{name: array.shape for name, array in constants.items()},
        "h": (1, hidden),
        "logits": (1, classes),
        "scores": (1, classes),
    }
    free = {} if signature is None else {"x": signature}
    tensors = [
        _tensor(builder, n, shape, numbers.get(n, 0), free.get(n)) for n, shape in shapes.items()
    ]
    place = {name: number for number, name in enumerate(shapes)}
    operators = [
        _dense(builder, [place["x"], place["w1"], place["b1"]], place["h"], _RELU),
        _dense(builder, [place["h"], place["w2"], place["b2"]], place["logits"], 0),
        _softmax(builder, place["logits"], place["scores"]),
    ]
    inputs = builder.CreateNumpyVector(np.array([place["x"]], np.int32))
    outputs = builder.CreateNumpyVector(np.array([place["scores"]], np.int32))
    graph = {0: make_offsets(builder, tensors), 1: inputs, 2: outputs}
    subgraph = make_table(builder, {**graph, 3: make_offsets(builder, operators)})
    codes = make_offsets(builder, [_code(builder, _FULLY_CONNECTED), _code(builder, _SOFTMAX)])
    fields = {
        1: codes,
        2: make_offsets(builder, [subgraph]),
        4: make_offsets(builder, buffers),
    }
    if external_groups:
        group = make_table(builder, {0: builder.CreateString("../../secret.bin")})
        fields[8] = make_offsets(builder, [group])
    builder.StartObject(10)
    builder.PrependUint32Slot(0, 3, 0)
    for number, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    builder.Finish(builder.EndObject(), IDENTIFIER)
    return bytes(builder.Output())


def with_memory() -> bytes:
    """Answers `x` and what it heard before, as models of streams do: kept as a resource."""
    tensor, operator, options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions
    codes = ("CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE")

    def code(name: str) -> Any:
        made = schema.OperatorCodeT()
        made.builtinCode = getattr(operator, name)
        made.deprecatedBuiltinCode = min(made.builtinCode, 127)
        return made

    def place(name: str, kind: int, buffer: int = 0, shape: tuple[int, ...] = (1, 4)) -> Any:
        made = schema.TensorT()
        made.name, made.type, made.buffer, made.shape = name, kind, buffer, list(shape)
        return made

    def step(name: str, given: list[int], to: list[int], kind: str, told: Any) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = codes.index(name), given, to
        made.builtinOptionsType, made.builtinOptions = getattr(options, kind), told
        return made

    def handle(to: int) -> Any:
        told = schema.VarHandleOptionsT()
        told.sharedName = "heard"
        return step("VAR_HANDLE", [], [to], "VarHandleOptions", told)

    def assign(to: int, given: int) -> Any:
        told = schema.AssignVariableOptionsT()
        return step("ASSIGN_VARIABLE", [to, given], [], "AssignVariableOptions", told)

    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = 1
    main, first = schema.SubGraphT(), schema.SubGraphT()
    main.tensors = [
        place("x", tensor.FLOAT32),
        place("handle", tensor.RESOURCE, shape=(1,)),
        place("heard", tensor.FLOAT32),
        place("y", tensor.FLOAT32),
    ]
    main.inputs, main.outputs = [0], [3]
    main.operators = [
        step("CALL_ONCE", [], [], "CallOnceOptions", once),
        handle(1),
        step("READ_VARIABLE", [1], [2], "ReadVariableOptions", schema.ReadVariableOptionsT()),
        step("ADD", [0, 2], [3], "AddOptions", schema.AddOptionsT()),
        assign(1, 3),
    ]
    first.tensors = [
        place("handle", tensor.RESOURCE, shape=(1,)),
        place("zero", tensor.FLOAT32, buffer=1),
    ]
    first.inputs, first.outputs, first.operators = [], [], [handle(0), assign(0, 1)]
    model = schema.ModelT()
    model.version, model.operatorCodes = 3, [code(name) for name in codes]
    model.subgraphs, model.buffers = [main, first], [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.zeros(16, dtype=np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _tensor(
    builder: Any,
    name: str,
    shape: tuple[int, ...],
    buffer: int,
    free: tuple[int, ...] | None = None,
) -> int:
    text = builder.CreateString(name)
    sizes = builder.CreateNumpyVector(np.array(shape, np.int32))
    free = free or (shape if buffer else (-1, *shape[1:])) or shape
    signature = builder.CreateNumpyVector(np.array(free, np.int32))
    builder.StartObject(8)
    builder.PrependUOffsetTRelativeSlot(0, sizes, 0)
    builder.PrependInt8Slot(1, _FLOAT32, 0)
    builder.PrependUint32Slot(2, buffer, 0)
    builder.PrependUOffsetTRelativeSlot(3, text, 0)
    builder.PrependUOffsetTRelativeSlot(7, signature, 0)
    return int(builder.EndObject())


def _code(builder: Any, operator: int) -> int:
    builder.StartObject(4)
    builder.PrependInt8Slot(0, operator, 0)
    builder.PrependInt32Slot(2, 1, 1)
    builder.PrependInt32Slot(3, operator, 0)
    return int(builder.EndObject())


def _dense(builder: Any, inputs: list[int], output: int, activation: int) -> int:
    builder.StartObject(4)
    builder.PrependInt8Slot(0, activation, 0)
    options = builder.EndObject()
    return _operator(builder, 0, inputs, output, _FULLY_CONNECTED_OPTIONS, options)


def _softmax(builder: Any, given: int, output: int) -> int:
    builder.StartObject(1)
    builder.PrependFloat32Slot(0, 1.0, 0.0)
    options = builder.EndObject()
    return _operator(builder, 1, [given], output, _SOFTMAX_OPTIONS, options)


def _operator(
    builder: Any, code: int, inputs: list[int], output: int, kind: int, options: int
) -> int:
    given = builder.CreateNumpyVector(np.array(inputs, np.int32))
    made = builder.CreateNumpyVector(np.array([output], np.int32))
    builder.StartObject(9)
    builder.PrependUint32Slot(0, code, 0)
    builder.PrependUOffsetTRelativeSlot(1, given, 0)
    builder.PrependUOffsetTRelativeSlot(2, made, 0)
    builder.PrependUint8Slot(3, kind, 0)
    builder.PrependUOffsetTRelativeSlot(4, options, 0)
    return int(builder.EndObject())
