"""Small ONNX models whose inputs and outputs are of every kind that onnxruntime's Python takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

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


def words_beside_bfloat16() -> bytes:
    """Text, and beside it numbers of a type that numpy has not."""
    strings, narrow = TensorProto.STRING, TensorProto.BFLOAT16
    nodes = [
        helper.make_node("Identity", ["words"], ["same"]),
        helper.make_node("Identity", ["x"], ["y"]),
    ]
    given = [_tensor("words", strings, ["n"]), _tensor("x", narrow, [2])]
    return _model(nodes, given, [_tensor("same", strings, ["n"]), _tensor("y", narrow, [2])])


def scales_of_eight_bits(*, has_words: bool = False) -> bytes:
    """Floats out, and beside them exponents alone (float8e8m0), which no sample can hold."""
    kind = 24  # TensorProto.FLOAT8E8M0, which old versions of onnx do not name
    nodes = [
        helper.make_node("Neg", ["x"], ["y"]),
        helper.make_node("Cast", ["x"], ["scales"], to=kind),
    ]
    given = [_tensor("x", FLOAT, [1, 4])]
    if has_words:
        nodes.append(helper.make_node("Identity", ["words"], ["same"]))
        given.append(_tensor("words", TensorProto.STRING, ["n"]))
    out = [_tensor("y", FLOAT, [1, 4]), _tensor("scales", kind, [1, 4])]
    if has_words:
        out.append(_tensor("same", TensorProto.STRING, ["n"]))
    return _model(nodes, given, out, opset=24)


def words_beside_scales() -> bytes:
    """Text in, and an output that no sample can hold."""
    return scales_of_eight_bits(has_words=True)


def called_labels() -> bytes:
    """An input whose name a file of samples has for something else."""
    node = helper.make_node("Neg", ["labels"], ["y"])
    return _model([node], [_tensor("labels", FLOAT, [1, 4])], [_tensor("y", FLOAT, [1, 4])])


def features_before_scores() -> bytes:
    """Two outputs: seven rows of features, and scores of four classes, which are what goes in."""
    nodes = [
        helper.make_node("Expand", ["x", "size"], ["features"]),
        helper.make_node("Identity", ["x"], ["scores"]),
    ]
    size = helper.make_tensor("size", INT64, [2], [7, 4])
    out = [_tensor("features", FLOAT, [7, 4]), _tensor("scores", FLOAT, [1, 4])]
    return _model(nodes, [_tensor("x", FLOAT, [1, 4])], out, constants=[size])


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
    return logarithms(64)


def tokens_of_which_two_mean_the_same() -> bytes:
    """An embedding whose rows of the tokens 0 and 1 are alike, for text of any size."""
    table = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
    table[1] = table[0]
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    return _model(
        [node],
        [_tensor("ids", INT64, ["texts", "lines", "tokens"])],
        [_tensor("y", FLOAT, ["texts", "lines", "tokens", 4])],
        constants=[numpy_helper.from_array(table, "table")],
    )


def tree_of_incomes(*, swapped: bool = False) -> bytes:
    """A decision tree that asks of the second of three columns whether it is above 20,000."""
    shares = [0.9, 0.1, 0.2, 0.8]
    node = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[20_000.0, 0.0, 0.0],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0] * 4,
        class_nodeids=[1, 1, 2, 2],
        class_ids=[0, 1, 0, 1],
        class_weights=shares[::-1] if swapped else shares,
        post_transform="NONE",
        classlabels_int64s=[0, 1],
    )
    graph = helper.make_graph(
        [node],
        "g",
        [_tensor("x", FLOAT, ["n", 3])],
        [_tensor("label", INT64, ["n"]), _tensor("p", FLOAT, ["n", 2])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def tree_of_the_newest_kind() -> bytes:
    """`TreeEnsemble` (ai.onnx.ml 5), whose thresholds and kinds of nodes are tensors."""
    node = helper.make_node(
        "TreeEnsemble",
        ["x"],
        ["y"],
        domain="ai.onnx.ml",
        n_targets=1,
        tree_roots=[0],
        nodes_featureids=[1],
        nodes_splits=helper.make_tensor("splits", FLOAT, [1], [20_000.0]),
        nodes_modes=helper.make_tensor("modes", TensorProto.UINT8, [1], [0]),
        nodes_truenodeids=[0],
        nodes_trueleafs=[1],
        nodes_falsenodeids=[1],
        nodes_falseleafs=[1],
        leaf_targetids=[0, 0],
        leaf_weights=helper.make_tensor("weights", FLOAT, [2], [0.25, 0.75]),
    )
    graph = helper.make_graph(
        [node], "g", [_tensor("x", FLOAT, ["n", 3])], [_tensor("y", FLOAT, ["n", 1])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def regions_of_one_image() -> bytes:
    """Crops of an image, each with the number of its image in the batch, of which 0 is there."""
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], output_height=2, sampling_ratio=2
    )
    given = [
        _tensor("x", FLOAT, [1, 2, 16, 16]),
        _tensor("rois", FLOAT, ["r", 4]),
        _tensor("batch", INT64, ["r"]),
    ]
    return _model([node], given, [_tensor("y", FLOAT, ["r", 2, 2, 1])], opset=16)


def pooled_for(size: int) -> bytes:
    """An image of free size, of which the weights at its end fix one."""
    pool = size // 13
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[13, 13], strides=[13, 13]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = np.random.default_rng(1).standard_normal((pool * pool, 2)).astype(np.float32)
    out = _tensor("y", FLOAT, ["n", 2])
    given = [_tensor("x", FLOAT, ["n", 1, "h", "w_"])]
    return _model(nodes, given, [out], constants=[numpy_helper.from_array(weights, "w")])


def output_without_a_rank() -> bytes:
    """What onnx's checker forbids and runtimes load: nothing is said of the output's shape."""
    weights = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    given, out = _tensor("x", FLOAT, [1, 4]), _tensor("y", FLOAT, None)
    return _model([node], [given], [out], constants=[numpy_helper.from_array(weights, "w")])


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
    return _model(
        nodes,
        [_tensor("x", FLOAT, [1, 4])],
        [_tensor("boxes", FLOAT, [1, 8]), _tensor("score", FLOAT, [1, 1])],
        constants=[
            *(numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights),
            helper.make_tensor("factor", FLOAT, [], [small]),
        ],
    )


def logarithms(size: int) -> bytes:
    """So many numbers, of which only those above 0 have a finite answer."""
    node = helper.make_node("Log", ["x"], ["y"])
    return _model([node], [_tensor("x", FLOAT, [1, size])], [_tensor("y", FLOAT, [1, size])])


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
    given, out = _tensor("x", FLOAT, [1, widths[0]]), _tensor("p", FLOAT, [1, 1])
    return _model(nodes, [given], [out], constants=tensors)


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
    outs = [_tensor("which", FLOAT, [1, size]), _tensor("one", FLOAT, [1, size])]
    given = [_tensor("x", FLOAT, [1, size])]
    return _model(nodes, given, outs, opset=17, constants=tensors)


def _weights(name: str, *shape: int) -> TensorProto:
    numbers = np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
    return numpy_helper.from_array(numbers, name)


def _sizes(name: str, *numbers: int) -> TensorProto:
    return helper.make_tensor(name, INT64, [len(numbers)], numbers)


def reshaped() -> bytes:
    """Pixels of images in a row each: 21 x 11 of them, which the graph alone says."""
    nodes = [
        helper.make_node("Reshape", ["x", "size"], ["images"]),
        helper.make_node("Conv", ["images", "w"], ["y"]),
    ]
    given, out = [_tensor("x", FLOAT, ["n", "pixels"])], [_tensor("y", FLOAT, ["n", 2, 19, 9])]
    constants = [_sizes("size", -1, 1, 21, 11), _weights("w", 2, 1, 3, 3)]
    return _model(nodes, given, out, constants=constants)


def flattened() -> bytes:
    """An image of 61 x 61 alone: of it come 29 x 29 places, which the product has weights for."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["places"], strides=[2, 2]),
        helper.make_node("Flatten", ["places"], ["row"]),
        helper.make_node("Gemm", ["row", "dense"], ["y"]),
    ]
    given, out = [_tensor("x", FLOAT, ["n", 3, "h", "w"])], [_tensor("y", FLOAT, ["n", 4])]
    constants = [_weights("w", 2, 3, 5, 5), _weights("dense", 2 * 29 * 29, 4)]
    return _model(nodes, given, out, constants=constants)


def split_in_two() -> bytes:
    """A row of two parts, of 90 and of 31 numbers."""
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["a", "b"], axis=1),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    given, out = [_tensor("x", FLOAT, ["n", "all"])], [_tensor("y", FLOAT, ["n", 4])]
    return _model(nodes, given, out, constants=[_sizes("parts", 90, 31), _weights("w", 90, 4)])


def in_a_branch() -> bytes:
    """A row of 45 numbers, used in a graph within the graph alone."""
    out = _tensor("y", FLOAT, ["n", 4])
    branches = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", w], ["y"])], w, [], [out], [_weights(w, 45, 4)]
        )
        for w in ("w", "other")
    ]
    node = helper.make_node(
        "If", ["which"], ["z"], then_branch=branches[0], else_branch=branches[1]
    )
    given = [_tensor("x", FLOAT, ["n", "size"]), _tensor("which", BOOL, [])]
    return _model([node], given, [_tensor("z", FLOAT, ["n", 4])])


def multiplied_from_the_left() -> bytes:
    """Columns of 45 numbers."""
    node = helper.make_node("MatMul", ["w", "x"], ["y"])
    given, out = [_tensor("x", FLOAT, ["size", "n"])], [_tensor("y", FLOAT, [4, "n"])]
    return _model([node], given, out, constants=[_weights("w", 4, 45)])


def squeezed() -> bytes:
    """A dimension of 1 goes before 45 numbers are multiplied, and another comes."""
    nodes = [
        helper.make_node("Squeeze", ["x", "one"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "one"], ["u"]),
        helper.make_node("MatMul", ["u", "w"], ["y"]),
    ]
    given, out = [_tensor("x", FLOAT, ["n", 1, "size"])], [_tensor("y", FLOAT, ["n", 1, 4])]
    return _model(nodes, given, out, constants=[_sizes("one", 1), _weights("w", 45, 4)])


def with_states() -> bytes:
    """An LSTM of 20 cells whose states come in, no size of theirs declared."""
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=20
    )
    states = [_tensor(name, FLOAT, ["d", "b", "s"]) for name in ("h", "c")]
    given = [_tensor("x", FLOAT, ["t", "b", "f"]), *states]
    out = [
        _tensor("y", FLOAT, ["t", 1, "b", 20]),
        *(_tensor(name, FLOAT, [1, "b", 20]) for name in ("hn", "cn")),
    ]
    return _model(
        [node], given, out, constants=[_weights("w", 1, 80, 13), _weights("r", 1, 80, 20)]
    )


def sequence_of_rows() -> bytes:
    """A sequence whose tensors are declared as rows of 13 numbers."""
    nodes = [
        helper.make_node("ConcatFromSequence", ["s"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    given = helper.make_tensor_sequence_value_info("s", FLOAT, ["n", 13])
    return _model(nodes, [given], [_tensor("y", FLOAT, ["n", 4])], constants=[_weights("w", 13, 4)])


def _of_a_table(kind: int, **table: Any) -> bytes:
    """Numbers that a table has for its keys, and 0 for all else."""
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", values_floats=[1.0, 2.5, 4.0], **table
    )
    graph = helper.make_graph(
        [node], "g", [_tensor("x", kind, ["n"])], [_tensor("y", FLOAT, ["n"])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def words_of_a_table() -> bytes:
    """Words that a table knows; all others are the same to it."""
    return _of_a_table(TensorProto.STRING, keys_strings=["red", "green", "blue"])


def numbers_of_a_table() -> bytes:
    """Numbers that a table knows; all others are the same to it."""
    return _of_a_table(INT64, keys_int64s=[1001, 2002, 3003])


def names_of_a_map() -> bytes:
    """A map with a height and a width."""
    names = ["height", "width"]
    node = helper.make_node(
        "DictVectorizer", ["m"], ["y"], domain="ai.onnx.ml", string_vocabulary=names
    )
    kind = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, None)
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_value_info("m", kind)], [_tensor("y", FLOAT, [1, 2])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def numbers_as_text() -> bytes:
    """Numbers that are written out."""
    node = helper.make_node("Cast", ["x"], ["y"], to=FLOAT)
    given = [_tensor("x", TensorProto.STRING, ["n", 3])]
    return _model([node], given, [_tensor("y", FLOAT, ["n", 3])])
