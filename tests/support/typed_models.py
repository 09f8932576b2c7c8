"""Small ONNX models whose inputs and outputs are of every kind that onnxruntime's Python takes."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.support.small_graphs import BOOL, FLOAT, INT64, model_of, tensor_of


def scalar(kind: int = INT64) -> bytes:
    """An input of rank 0, as a sampling rate is one: y = x * float(rate)."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=FLOAT),
        helper.make_node("Mul", ["x", "r"], ["y"]),
    ]
    given = [tensor_of("x", FLOAT, [1, 4]), tensor_of("rate", kind, [])]
    return model_of(nodes, given, [tensor_of("y", FLOAT, [1, 4])])


def identity(kind: int) -> bytes:
    """A tensor of any type in and out."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model_of(
        [node], [tensor_of("x", kind, [2, 3])], [tensor_of("y", kind, [2, 3])], opset=21
    )


def dequantized(kind: int, opset: int = 21) -> bytes:
    """Integers of a few bits in, floats out."""
    node = helper.make_node("DequantizeLinear", ["x", "scale"], ["y"])
    scale = helper.make_tensor("scale", FLOAT, [], [0.5])
    return model_of(
        [node],
        [tensor_of("x", kind, [3, 3])],
        [tensor_of("y", FLOAT, [3, 3])],
        opset=opset,
        constants=[scale],
    )


def concatenated() -> bytes:
    """A sequence of tensors in, one tensor out."""
    node = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    given = helper.make_tensor_sequence_value_info("s", FLOAT, [2])
    return model_of([node], [given], [tensor_of("y", FLOAT, ["n"])])


def cut_up() -> bytes:
    """One tensor in, a sequence of tensors out."""
    node = helper.make_node("SplitToSequence", ["x"], ["s"], axis=0)
    out = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    return model_of([node], [tensor_of("x", FLOAT, [3, 2])], [out])


def perhaps() -> bytes:
    """An optional tensor in: is it there?"""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [3]))
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    return model_of([node], [helper.make_value_info("x", kind)], [tensor_of("y", BOOL, [])])


def words() -> bytes:
    """Text in and out."""
    node = helper.make_node("Identity", ["x"], ["y"])
    strings = TensorProto.STRING
    return model_of([node], [tensor_of("x", strings, [2])], [tensor_of("y", strings, [2])])


def words_beside_bfloat16() -> bytes:
    """Text, and beside it numbers of a type that numpy has not."""
    strings, narrow = TensorProto.STRING, TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Identity", ["words"], ["same"]),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    given = [tensor_of("words", strings, ["n"]), tensor_of("x", narrow, [2])]
    return model_of(nodes, given, [tensor_of("same", strings, ["n"]), tensor_of("y", narrow, [2])])


def scales_of_eight_bits(*, has_words: bool = False) -> bytes:
    """Floats out, and beside them exponents alone (float8e8m0), which no sample can hold."""
    kind = 24  # TensorProto.FLOAT8E8M0, which old versions of onnx do not name
    nodes = [
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("Cast", ["x"], ["scales"], to=kind),
    ]
    given = [tensor_of("x", FLOAT, [1, 4])]
    if has_words:
        nodes.append(helper.make_node("Identity", ["words"], ["same"]))
        given.append(tensor_of("words", TensorProto.STRING, ["n"]))
    out = [tensor_of("y", FLOAT, [1, 4]), tensor_of("scales", kind, [1, 4])]
    if has_words:
        out.append(tensor_of("same", TensorProto.STRING, ["n"]))
    return model_of(nodes, given, out, opset=24)


def words_beside_scales() -> bytes:
    """Text in, and an output that no sample can hold."""
    return scales_of_eight_bits(has_words=True)


def called_labels() -> bytes:
    """An input whose name a file of samples has for something else."""
    node = helper.make_node("Neg", ["labels"], ["y"])
    return model_of([node], [tensor_of("labels", FLOAT, [1, 4])], [tensor_of("y", FLOAT, [1, 4])])


def features_before_scores() -> bytes:
    """Two outputs: seven rows of features, and scores of four classes, which are what goes in."""
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["features"]),
        helper.make_node("Identity", ["x"], ["scores"]),
    ]
    size = helper.make_tensor("size", INT64, [2], [7, 4])
    out = [tensor_of("features", FLOAT, [7, 4]), tensor_of("scores", FLOAT, [1, 4])]
    return model_of(nodes, [tensor_of("x", FLOAT, [1, 4])], out, constants=[size])


def nothing_in_it() -> bytes:
    """A dimension of size 0, beside one that has something."""
    node = helper.make_node("Concat", ["x", "none"], ["y"], axis=1)
    given = [tensor_of("x", FLOAT, [1, 3]), tensor_of("none", FLOAT, [1, 0])]
    return model_of([node], given, [tensor_of("y", FLOAT, [1, 3])])


def sparse() -> bytes:
    """An input that no sample can hold: a sparse tensor."""
    kind = helper.make_sparse_tensor_type_proto(FLOAT, [3, 3])
    node = helper.make_node("SparseToDenseMatMul", ["a", "b"], ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_value_info("a", kind), tensor_of("b", FLOAT, [3, 2])],
        [tensor_of("y", FLOAT, [3, 2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def two_scales(*, small: float = 1.0) -> bytes:
    """Thousands beside a probability, as boxes of a detector beside its score."""
    rng = np.random.default_rng(1)
    weights = [("a", 1000 * rng.standard_normal((4, 8))), ("b", rng.standard_normal((4, 1)))]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["boxes"]),
        helper.make_node("MatMul", ["x", "b"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["p"]),
        helper.make_node("Mul", ["p", "factor"], ["score"]),
    ]
    return model_of(
        nodes,
        [tensor_of("x", FLOAT, [1, 4])],
        [tensor_of("boxes", FLOAT, [1, 8]), tensor_of("score", FLOAT, [1, 1])],
        constants=[
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights),
            helper.make_tensor("factor", FLOAT, [], [small]),
        ],
    )


def declared_wrongly(*, name: str = "y", free: str = "n") -> bytes:
    """An output that is declared to have two dimensions, and has three."""
    nodes = [  # sizes that come out of a calculation with the input: nothing can infer them
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("Add", ["a", "sizes"], ["b"]),
        helper.make_node("Sub", ["b", "a"], ["c"]),
        helper.make_node("Round", ["c"], ["d"]),
        helper.make_node("Cast", ["d"], ["e"], to=INT64),
        helper.make_node("Compress", ["e", "all"], ["shape"]),
        helper.make_node("Reshape", ["x", "shape"], [name]),
    ]
    sizes = helper.make_tensor("sizes", FLOAT, [1, 3], [3.0, 1.0, 1.0])
    every = helper.make_tensor("all", BOOL, [3], [True] * 3)
    given, out = tensor_of("x", FLOAT, [1, 3]), tensor_of(name, FLOAT, [1, free])
    return model_of(nodes, [given], [out], constants=[sizes, every])


def one_number(damaged_share: float = 0.0, seed: int = 0) -> bytes:
    """An int8 model of three layers, with one number in 0..1 as its answer.

    Args:
        damaged_share: of the weights of each layer, how many are shuffled among themselves.
        seed: of the weights.
    """
    rng = np.random.default_rng(seed)
    widths = (32, 48, 24, 1)
    nodes, tensors, last = [], [], "x"
    for layer, (rows, columns) in enumerate(itertools.pairwise(widths)):
        weights = np.clip(rng.normal(0, 40, (rows, columns)), -127, 127).astype(np.int8)
        _shuffle(weights, damaged_share, np.random.default_rng(9))
        scale = np.array(0.03 / np.sqrt(rows), np.float32)
        tensors += [
            numpy_helper.from_array(weights, f"w{layer}"),
            numpy_helper.from_array(scale, f"s{layer}"),
        ]
        nodes += [
            helper.make_node(
                "DynamicQuantizeLinear", [last], [f"q{layer}", f"a{layer}", f"z{layer}"]
            ),
            helper.make_node(
                "MatMulInteger", [f"q{layer}", f"w{layer}", f"z{layer}"], [f"i{layer}"]
            ),
            helper.make_node("Cast", [f"i{layer}"], [f"f{layer}"], to=FLOAT),
            helper.make_node("Mul", [f"f{layer}", f"a{layer}"], [f"g{layer}"]),
            helper.make_node("Mul", [f"g{layer}", f"s{layer}"], [f"h{layer}"]),
            helper.make_node("Sigmoid" if columns == 1 else "Tanh", [f"h{layer}"], [f"t{layer}"]),
        ]
        last = f"t{layer}"
    nodes[-1].output[0] = "p"
    given, out = tensor_of("x", FLOAT, [1, widths[0]]), tensor_of("p", FLOAT, [1, 1])
    return model_of(nodes, [given], [out], constants=tensors)


def _shuffle(weights: NDArray[np.int8], share: float, rng: np.random.Generator) -> None:
    flat = weights.reshape(-1)
    chosen = rng.choice(flat.size, int(share * flat.size), replace=False)
    flat[chosen] = flat[rng.permutation(chosen)]


def last_bit(size: int = 64) -> bytes:
    """The sign of the difference of two ways to normalise, which is a matter of rounding."""
    nodes = []
    for name, square in (("one", ["Pow", "two"]), ("other", ["Mul", "d_other"])):
        nodes += [
            helper.make_node("ReduceMean", ["x"], [f"m_{name}"], axes=[-1]),
            helper.make_node("Sub", ["x", f"m_{name}"], [f"d_{name}"]),
            helper.make_node(square[0], [f"d_{name}", square[1]], [f"p_{name}"]),
            helper.make_node("ReduceMean", [f"p_{name}"], [f"v_{name}"], axes=[-1]),
            helper.make_node("Add", [f"v_{name}", "small"], [f"e_{name}"]),
            helper.make_node("Sqrt", [f"e_{name}"], [f"r_{name}"]),
            helper.make_node("Div", [f"d_{name}", f"r_{name}"], [f"n_{name}"]),
            helper.make_node("Mul", [f"n_{name}", "gain"], [f"g_{name}"]),
            helper.make_node("Add", [f"g_{name}", "shift"], [name]),
        ]
    nodes += [
        helper.make_node("Sub", ["one", "other"], ["d"]),
        helper.make_node("Sign", ["d"], ["which"]),
    ]
    numbers = np.linspace(0.5, 1.5, size, dtype=np.float32)
    tensors = [
        numpy_helper.from_array(np.array(2, np.float32), "two"),
        numpy_helper.from_array(np.array(1e-5, np.float32), "small"),
        numpy_helper.from_array(numbers, "gain"),
        numpy_helper.from_array(-numbers, "shift"),
    ]
    outs = [tensor_of("which", FLOAT, [1, size]), tensor_of("one", FLOAT, [1, size])]
    given = [tensor_of("x", FLOAT, [1, size])]
    return model_of(nodes, given, outs, opset=17, constants=tensors)
