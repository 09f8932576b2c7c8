"""Bad models, made from a good one: each is signed, arrives whole, and must not stay.

They are really bad: onnxruntime does crash, hang and run out of memory with them.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from examples.demo.digits import OPSET, PIXELS, Layers, pixels, scores, tensor, write_onnx

_ENDLESS: Final = 1 << 62
_HUGE_BYTES: Final = 1 << 42
"""4 TiB: more than any device of today has."""


def damaged(layers: Layers) -> bytes:
    """Loads and answers, wrongly: half of a layer's weights were overwritten on the way."""
    weights, bias = layers[1]
    weights = weights.copy()
    half = len(weights) // 2
    weights[:half] = np.random.default_rng(1).standard_normal(weights[:half].shape)
    return write_onnx([layers[0], (weights, bias), *layers[2:]])


def not_a_number(layers: Layers) -> bytes:
    """Loads, and answers NaN: one weight is NaN."""
    weights, bias = layers[-1]
    weights = weights.copy()
    weights[0, 0] = np.nan
    return write_onnx([*layers[:-1], (weights, bias)])


def slow(layers: Layers, *, steps: int = 24, width: int = 256) -> bytes:
    """The right answers, late: multiplies matrices on the side."""
    # `turn` depends on the input, so that no optimizer can work it out beforehand.
    nodes = [
        *_sum_of_pixels(),
        helper.make_node("Add", ["square", "nothing"], ["turn"]),
        helper.make_node("Identity", ["square"], ["step0"]),
        *(helper.make_node("MatMul", [f"step{i}", "turn"], [f"step{i + 1}"]) for i in range(steps)),
        helper.make_node("ReduceMean", [f"step{steps}"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["late"]),
    ]
    extra = [tensor("square", np.eye(width, dtype=np.float32)), _zero()]
    return write_onnx(layers, nodes, extra, add="late")


def memory_hungry(layers: Layers) -> bytes:
    """The right answers, if there were 4 TiB of memory to begin with."""
    nodes = [
        *_sum_of_pixels(),
        helper.make_node("Expand", ["nothing", "shape"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["late"], keepdims=0),
    ]
    extra = [tensor("shape", np.array([_HUGE_BYTES // 4], np.int64)), _zero()]
    return write_onnx(layers, nodes, extra, add="late")


def hangs(layers: Layers) -> bytes:
    """Never answers: a loop of 2^62 rounds."""
    declare = helper.make_tensor_value_info
    inputs = [
        declare("i", TensorProto.INT64, []),
        declare("go", TensorProto.BOOL, []),
        declare("v", TensorProto.FLOAT, []),
    ]
    outputs = [declare("go_on", TensorProto.BOOL, []), declare("v_out", TensorProto.FLOAT, [])]
    steps = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Neg", ["v"], ["v_out"]),
    ]
    body = helper.make_graph(steps, "body", inputs, outputs)
    nodes = [
        *_sum_of_pixels(),
        helper.make_node("Loop", ["rounds", "yes", "nothing"], ["late"], body=body),
    ]
    rounds, yes = np.array(_ENDLESS, np.int64), np.array(1, np.bool_)
    extra = [tensor("rounds", rounds), tensor("yes", yes), _zero()]
    return write_onnx(layers, nodes, extra, add="late")


def crashes(layers: Layers) -> bytes:
    """Kills the process that loads it, by a real fault in onnxruntime.

    On x86-64 the smallest integer divided by -1, which the runtime works out as it loads: SIGFPE
    (seen with onnxruntime 1.18.0, 1.31.1 and 1.32.0). The division instruction of aarch64 does not
    fault; there it is functions that call each other too deep.
    """
    if platform.machine() != "x86_64":
        return _nested_functions(20_000)
    nodes = [
        helper.make_node("Div", ["smallest", "minus_one"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["late"], to=TensorProto.FLOAT),
    ]
    smallest = tensor("smallest", np.array(np.iinfo(np.int64).min, np.int64))
    extra = [smallest, tensor("minus_one", np.array(-1, np.int64))]
    return write_onnx(layers, nodes, extra, add="late")


def one_at_a_time(layers: Layers) -> bytes:
    """Right for one digit, an error for more: the exporter wrote a batch of one into the graph.

    It passes every probe that asks for one digit at a time, and fails under live traffic.
    """
    nodes = [
        helper.make_node("Reshape", ["pixels", "one_row"], ["row"]),
        helper.make_node("ReduceSum", ["row"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
    ]
    extra = [tensor("one_row", np.array([1, PIXELS], np.int64)), _zero()]
    return write_onnx(layers, nodes, extra, add="nothing")


def _nested_functions(depth: int) -> bytes:
    """Functions that call each other `depth` deep: inlined by recursion, until the stack is full.

    Seen with onnxruntime 1.31.1: SIGSEGV.
    """
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)]
    functions = []
    for number in range(depth):
        call = helper.make_node(f"F{number + 1}", ["a"], ["b"], domain="local")
        if number == depth - 1:
            call = helper.make_node("Relu", ["a"], ["b"])
        functions.append(helper.make_function("local", f"F{number}", ["a"], ["b"], [call], domains))
    node = helper.make_node("F0", ["pixels"], ["scores"], domain="local")
    graph = helper.make_graph([node], "deep", [pixels()], [scores()])
    model = helper.make_model(graph, opset_imports=domains, functions=functions, ir_version=8)
    return bytes(model.SerializeToString())


def _sum_of_pixels() -> Sequence[onnx.NodeProto]:
    """Give nodes for `nothing`: a zero that no optimizer can know for one."""
    return [
        helper.make_node("ReduceSum", ["pixels"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
    ]


def _zero() -> onnx.TensorProto:
    return tensor("zero", np.zeros((), np.float32))
