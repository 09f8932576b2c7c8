"""Small ONNX models whose inputs and outputs are of every kind that onnxruntime's Python takes."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, TensorProto, ValueInfoProto, helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    *,
    opset: int = 19,
    constants: Sequence[TensorProto] = (),
) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(model.SerializeToString())


def _tensor(name: str, kind: int, shape: Sequence[int | str] | None) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def scalar(kind: int = INT64) -> bytes:
    """An input of rank 0, as a sampling rate is one: y = x * float(rate)."""
    nodes = [
        helper.make_node("Cast", ["rate"], ["r"], to=FLOAT),
        helper.make_node("Mul", ["x", "r"], ["y"]),
    ]
    given = [_tensor("x", FLOAT, [1, 4]), _tensor("rate", kind, [])]
    return _model(nodes, given, [_tensor("y", FLOAT, [1, 4])])


def identity(kind: int) -> bytes:
    """A tensor of any type in and out."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return _model([node], [_tensor("x", kind, [2, 3])], [_tensor("y", kind, [2, 3])], opset=21)


def dequantized(kind: int, opset: int = 21) -> bytes:
    """Integers of a few bits in, floats out."""
    node = helper.make_node("DequantizeLinear", ["x", "scale"], ["y"])
    scale = helper.make_tensor("scale", FLOAT, [], [0.5])
    return _model(
        [node],
        [_tensor("x", kind, [3, 3])],
        [_tensor("y", FLOAT, [3, 3])],
        opset=opset,
        constants=[scale],
    )


def concatenated() -> bytes:
    """A sequence of tensors in, one tensor out."""
    node = helper.make_node("ConcatFromSequence", ["s"], ["y"], axis=0)
    given = helper.make_tensor_sequence_value_info("s", FLOAT, [2])
    return _model([node], [given], [_tensor("y", FLOAT, ["n"])])


def cut_up() -> bytes:
    """One tensor in, a sequence of tensors out."""
    node = helper.make_node("SplitToSequence", ["x"], ["s"], axis=0)
    out = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    return _model([node], [_tensor("x", FLOAT, [3, 2])], [out])


def perhaps() -> bytes:
    """An optional tensor in: is it there?"""
    kind = helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [3]))
    node = helper.make_node("OptionalHasElement", ["x"], ["y"])
    return _model([node], [helper.make_value_info("x", kind)], [_tensor("y", BOOL, [])])


def words() -> bytes:
    """Text in and out."""
    node = helper.make_node("Identity", ["x"], ["y"])
    strings = TensorProto.STRING
    return _model([node], [_tensor("x", strings, [2])], [_tensor("y", strings, [2])])


def nothing_in_it() -> bytes:
    """A dimension of size 0, beside one that has something."""
    node = helper.make_node("Concat", ["x", "none"], ["y"], axis=1)
    given = [_tensor("x", FLOAT, [1, 3]), _tensor("none", FLOAT, [1, 0])]
    return _model([node], given, [_tensor("y", FLOAT, [1, 3])])


def sparse() -> bytes:
    """An input that no sample can hold: a sparse tensor."""
    kind = helper.make_sparse_tensor_type_proto(FLOAT, [3, 3])
    node = helper.make_node("SparseToDenseMatMul", ["a", "b"], ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_value_info("a", kind), _tensor("b", FLOAT, [3, 2])],
        [_tensor("y", FLOAT, [3, 2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def padded(size: int = 32) -> bytes:
    """A free length that must be more than `size`: padded by mirroring, as a spectrogram is."""
    pads = helper.make_tensor("pads", INT64, [4], [0, size, 0, size])
    node = helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect")
    given = [_tensor("x", FLOAT, ["batch", "length"])]
    return _model([node], given, [_tensor("y", FLOAT, ["batch", "padded"])], constants=[pads])


def convolved() -> bytes:
    """An image of which no size is declared; its channels are those of the weights."""
    numbers = [((at * 37) % 11 - 5) / 11 for at in range(4 * 3 * 5 * 5)]
    weights = helper.make_tensor("w", FLOAT, [4, 3, 5, 5], numbers)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    given = [_tensor("x", FLOAT, ["n", "h", "w", "c"])]
    out = [_tensor("y", FLOAT, ["n", 4, "hy", "wy"])]
    return _model(nodes, given, out, constants=[weights])


def logarithm() -> bytes:
    """Finite only for what is above 0."""
    node = helper.make_node("Log", ["x"], ["y"])
    return _model([node], [_tensor("x", FLOAT, [1, 64])], [_tensor("y", FLOAT, [1, 64])])


def never_runs() -> bytes:
    """It loads, and raises whatever goes in."""
    nodes = [
        helper.make_node("Cast", ["sizes"], ["shape"], to=INT64),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    sizes = helper.make_tensor("sizes", FLOAT, [2], [7.0, 11.0])
    given = [_tensor("x", FLOAT, [1, 4])]
    return _model(nodes, given, [_tensor("y", FLOAT, ["a", "b"])], constants=[sizes])


def image(size: int = 640) -> bytes:
    """A large fixed image, of which little comes out."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[64, 64], strides=[64, 64]),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    steps = (size - 64) // 64 + 1
    out = _tensor("y", FLOAT, [1, 3, steps, steps])
    return _model(nodes, [_tensor("x", FLOAT, [1, 3, size, size])], [out])


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
    given, out = _tensor("x", FLOAT, [1, 3]), _tensor(name, FLOAT, [1, free])
    return _model(nodes, [given], [out], constants=[sizes, every])
