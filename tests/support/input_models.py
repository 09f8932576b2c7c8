"""Small ONNX models that run on some inputs alone: of a shape, in a range, or of certain words."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.support.small_graphs import BOOL, FLOAT, INT64, model_of, tensor_of


def padded(size: int = 32) -> bytes:
    """A free length that must be more than `size`: padded by mirroring, as a spectrogram is."""
    pads = helper.make_tensor("pads", INT64, [4], [0, size, 0, size])
    node = helper.make_node("Pad", ["x", "pads"], ["y"], mode="reflect")
    given = [tensor_of("x", FLOAT, ["batch", "length"])]
    return model_of([node], given, [tensor_of("y", FLOAT, ["batch", "padded"])], constants=[pads])


def convolved() -> bytes:
    """An image of which no size is declared; its channels are those of the weights."""
    numbers = [((at * 37) % 11 - 5) / 11 for at in range(4 * 3 * 5 * 5)]
    weights = helper.make_tensor("w", FLOAT, [4, 3, 5, 5], numbers)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w"], ["y"]),
    ]
    given = [tensor_of("x", FLOAT, ["n", "h", "w", "c"])]
    out = [tensor_of("y", FLOAT, ["n", 4, "hy", "wy"])]
    return model_of(nodes, given, out, constants=[weights])


def convolved_with_borders(sign: int = 1) -> bytes:
    """A convolution whose borders are padded; `sign` is that of all its weights but the middle."""
    weights = sign * np.random.default_rng(1).standard_normal((2, 1, 3, 3)).astype(np.float32)
    weights[:, :, 1, 1] = 0.5
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    given = [tensor_of("x", FLOAT, ["n", 1, "h", "w"])]
    out = [tensor_of("y", FLOAT, ["n", 2, "h", "w"])]
    return model_of([node], given, out, constants=[numpy_helper.from_array(weights, "w")])


def remembering(sign: int = 1) -> bytes:
    """A recurrent layer over text of any length; `sign` is that of what it remembers with."""
    rng = np.random.default_rng(1)
    constants = [
        numpy_helper.from_array(rng.standard_normal((1, 4, 4)).astype(np.float32), "inward"),
        numpy_helper.from_array(sign * rng.standard_normal((1, 4, 4)).astype(np.float32), "again"),
    ]
    node = helper.make_node("RNN", ["x", "inward", "again"], ["y"], hidden_size=4)
    given = [tensor_of("x", FLOAT, ["length", 1, 4])]
    out = [tensor_of("y", FLOAT, ["length", 1, 1, 4])]
    return model_of([node], given, out, constants=constants)


def attending(sign: int = 1) -> bytes:
    """Attention over the words of a text of any length; `sign` is that of the keys."""
    rng = np.random.default_rng(1)
    constants = [
        numpy_helper.from_array(sign * rng.standard_normal((4, 4)).astype(np.float32), "keys")
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "keys"], ["k"]),
        helper.make_node("Transpose", ["k"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["x", "turned"], ["likeness"]),
        helper.make_node("Softmax", ["likeness"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "x"], ["y"]),
    ]
    given = [tensor_of("x", FLOAT, ["n", "words", 4])]
    out = [tensor_of("y", FLOAT, ["n", "words", 4])]
    return model_of(nodes, given, out, constants=constants)


def told_where_asked() -> bytes:
    """A number where a mask asks for one, and NaN elsewhere."""
    nothing = helper.make_tensor("nothing", FLOAT, [1], [float("nan")])
    node = helper.make_node("Where", ["asked", "x", "nothing"], ["y"])
    given = [tensor_of("x", FLOAT, [1, 16]), tensor_of("asked", BOOL, [1, 16])]
    return model_of([node], given, [tensor_of("y", FLOAT, [1, 16])], constants=[nothing])


def bonds_of_atoms() -> bytes:
    """How far apart two atoms of one molecule lie, times the strength of all bonds.

    Of a single atom it does not run, nor of atoms of a molecule that is not there; of several
    molecules it is NaN.
    """
    constants = [helper.make_tensor(f"at{at}", INT64, [1], [at]) for at in (0, 1)]
    constants.append(helper.make_tensor("nothing", FLOAT, [1], [float("nan")]))
    nodes = [
        helper.make_node("Gather", ["places", "at0"], ["one"]),
        helper.make_node("Gather", ["places", "at1"], ["other"]),
        helper.make_node("Sub", ["one", "other"], ["apart"]),
        helper.make_node("ReduceSum", ["strengths"], ["strength"]),
        helper.make_node("Gather", ["molecules", "molecule_of"], ["of"]),
        helper.make_node("ReduceSum", ["of"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["apart", "strength"], ["pulled"]),
        helper.make_node("Add", ["pulled", "sum"], ["each"]),
        helper.make_node("Shape", ["molecules"], ["count"]),
        helper.make_node("Equal", ["count", "at1"], ["is_one"]),
        helper.make_node("Where", ["is_one", "each", "nothing"], ["y"]),
    ]
    given = [
        tensor_of("places", FLOAT, ["atoms", 3]),
        tensor_of("charges", FLOAT, ["atoms", 1]),
        tensor_of("strengths", FLOAT, ["bonds", 1]),
        tensor_of("molecule_of", INT64, ["atoms"]),
        tensor_of("molecules", FLOAT, ["molecules"]),
    ]
    return model_of(nodes, given, [tensor_of("y", FLOAT, [1, 3])], constants=constants)


def logarithm() -> bytes:
    """Finite only for what is above 0."""
    return logarithms(64)


def tokens_of_which_two_mean_the_same() -> bytes:
    """An embedding whose rows of the tokens 0 and 1 are alike, for text of any size."""
    table = np.random.default_rng(1).standard_normal((16, 4)).astype(np.float32)
    table[1] = table[0]
    node = helper.make_node("Gather", ["table", "ids"], ["y"])
    return model_of(
        [node],
        [tensor_of("ids", INT64, ["texts", "lines", "tokens"])],
        [tensor_of("y", FLOAT, ["texts", "lines", "tokens", 4])],
        constants=[numpy_helper.from_array(table, "table")],
    )


def averaged_over_what_counts() -> bytes:
    """The average of as many numbers as a second input says, as of a sound of that length."""
    zero, one, axes = (
        helper.make_tensor("zero", INT64, [], [0]),
        helper.make_tensor("one", INT64, [], [1]),
        helper.make_tensor("axes", INT64, [1], [1]),
    )
    at = helper.make_tensor("at", INT64, [], [1])
    nodes = [
        helper.make_node("Shape", ["sound"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["size"]),
        helper.make_node("Range", ["zero", "size", "one"], ["steps"]),
        helper.make_node("Div", ["lengths", "rate"], ["frames"]),
        helper.make_node("Unsqueeze", ["frames", "axes"], ["column"]),
        helper.make_node("Less", ["steps", "column"], ["counts"]),
        helper.make_node("Cast", ["counts"], ["mask"], to=FLOAT),
        helper.make_node("Mul", ["sound", "mask"], ["masked"]),
        helper.make_node("ReduceMean", ["masked", "axes"], ["y"]),
    ]
    given = [tensor_of("sound", FLOAT, ["n", "length"]), tensor_of("lengths", INT64, ["n"])]
    rate = helper.make_tensor("rate", INT64, [], [40])
    out = [tensor_of("y", FLOAT, ["n", 1])]
    return model_of(nodes, given, out, constants=[zero, one, axes, at, rate])


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
        [tensor_of("x", FLOAT, ["n", 3])],
        [tensor_of("label", INT64, ["n"]), tensor_of("p", FLOAT, ["n", 2])],
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
        [node], "g", [tensor_of("x", FLOAT, ["n", 3])], [tensor_of("y", FLOAT, ["n", 1])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 5)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())


def regions_of_one_image() -> bytes:
    """Crops of an image, each with the number of its image in the batch, of which 0 is there."""
    node = helper.make_node(
        "RoiAlign", ["x", "rois", "batch"], ["y"], output_height=2, sampling_ratio=2
    )
    given = [
        tensor_of("x", FLOAT, [1, 2, 16, 16]),
        tensor_of("rois", FLOAT, ["r", 4]),
        tensor_of("batch", INT64, ["r"]),
    ]
    return model_of([node], given, [tensor_of("y", FLOAT, ["r", 2, 2, 1])], opset=16)


def pooled_for(size: int) -> bytes:
    """An image of free size, of which the weights at its end fix one."""
    pool = size // 13
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[13, 13], strides=[13, 13]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = np.random.default_rng(1).standard_normal((pool * pool, 2)).astype(np.float32)
    out = tensor_of("y", FLOAT, ["n", 2])
    given = [tensor_of("x", FLOAT, ["n", 1, "h", "w_"])]
    return model_of(nodes, given, [out], constants=[numpy_helper.from_array(weights, "w")])


def output_without_a_rank() -> bytes:
    """What onnx's checker forbids and runtimes load: nothing is said of the output's shape."""
    weights = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    given, out = tensor_of("x", FLOAT, [1, 4]), tensor_of("y", FLOAT, None)
    return model_of([node], [given], [out], constants=[numpy_helper.from_array(weights, "w")])


def logarithms(size: int) -> bytes:
    """So many numbers, of which only those above 0 have a finite answer."""
    node = helper.make_node("Log", ["x"], ["y"])
    return model_of([node], [tensor_of("x", FLOAT, [1, size])], [tensor_of("y", FLOAT, [1, size])])


def never_runs() -> bytes:
    """It loads, and raises whatever goes in."""
    nodes = [
        helper.make_node("Cast", ["sizes"], ["shape"], to=INT64),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    sizes = helper.make_tensor("sizes", FLOAT, [2], [7.0, 11.0])
    given = [tensor_of("x", FLOAT, [1, 4])]
    return model_of(nodes, given, [tensor_of("y", FLOAT, ["a", "b"])], constants=[sizes])


def image(size: int = 640) -> bytes:
    """A large fixed image, of which little comes out."""
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[64, 64], strides=[64, 64]),
        helper.make_node("Relu", ["p"], ["y"]),
    ]
    steps = (size - 64) // 64 + 1
    out = tensor_of("y", FLOAT, [1, 3, steps, steps])
    return model_of(nodes, [tensor_of("x", FLOAT, [1, 3, size, size])], [out])


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
    given, out = [tensor_of("x", FLOAT, ["n", "pixels"])], [tensor_of("y", FLOAT, ["n", 2, 19, 9])]
    constants = [_sizes("size", -1, 1, 21, 11), _weights("w", 2, 1, 3, 3)]
    return model_of(nodes, given, out, constants=constants)


def flattened() -> bytes:
    """An image of 61 x 61 alone: of it come 29 x 29 places, which the product has weights for."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["places"], strides=[2, 2]),
        helper.make_node("Flatten", ["places"], ["row"]),
        helper.make_node("Gemm", ["row", "dense"], ["y"]),
    ]
    given, out = [tensor_of("x", FLOAT, ["n", 3, "h", "w"])], [tensor_of("y", FLOAT, ["n", 4])]
    constants = [_weights("w", 2, 3, 5, 5), _weights("dense", 2 * 29 * 29, 4)]
    return model_of(nodes, given, out, constants=constants)


def split_in_two() -> bytes:
    """A row of two parts, of 90 and of 31 numbers."""
    nodes = [
        helper.make_node("Split", ["x", "parts"], ["a", "b"], axis=1),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    given, out = [tensor_of("x", FLOAT, ["n", "all"])], [tensor_of("y", FLOAT, ["n", 4])]
    return model_of(nodes, given, out, constants=[_sizes("parts", 90, 31), _weights("w", 90, 4)])


def in_a_branch() -> bytes:
    """A row of 45 numbers, used in a graph within the graph alone."""
    out = tensor_of("y", FLOAT, ["n", 4])
    branches = [
        helper.make_graph(
            [helper.make_node("MatMul", ["x", w], ["y"])], w, [], [out], [_weights(w, 45, 4)]
        )
        for w in ("w", "other")
    ]
    node = helper.make_node(
        "If", ["which"], ["z"], then_branch=branches[0], else_branch=branches[1]
    )
    given = [tensor_of("x", FLOAT, ["n", "size"]), tensor_of("which", BOOL, [])]
    return model_of([node], given, [tensor_of("z", FLOAT, ["n", 4])])


def multiplied_from_the_left() -> bytes:
    """Columns of 45 numbers."""
    node = helper.make_node("MatMul", ["w", "x"], ["y"])
    given, out = [tensor_of("x", FLOAT, ["size", "n"])], [tensor_of("y", FLOAT, [4, "n"])]
    return model_of([node], given, out, constants=[_weights("w", 4, 45)])


def squeezed() -> bytes:
    """A dimension of 1 goes before 45 numbers are multiplied, and another comes."""
    nodes = [
        helper.make_node("Squeeze", ["x", "one"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "one"], ["u"]),
        helper.make_node("MatMul", ["u", "w"], ["y"]),
    ]
    given, out = [tensor_of("x", FLOAT, ["n", 1, "size"])], [tensor_of("y", FLOAT, ["n", 1, 4])]
    return model_of(nodes, given, out, constants=[_sizes("one", 1), _weights("w", 45, 4)])


def with_states() -> bytes:
    """An LSTM of 20 cells whose states come in, no size of theirs declared."""
    node = helper.make_node(
        "LSTM", ["x", "w", "r", "", "", "h", "c"], ["y", "hn", "cn"], hidden_size=20
    )
    states = [tensor_of(name, FLOAT, ["d", "b", "s"]) for name in ("h", "c")]
    given = [tensor_of("x", FLOAT, ["t", "b", "f"]), *states]
    out = [
        tensor_of("y", FLOAT, ["t", 1, "b", 20]),
        *(tensor_of(name, FLOAT, [1, "b", 20]) for name in ("hn", "cn")),
    ]
    return model_of(
        [node], given, out, constants=[_weights("w", 1, 80, 13), _weights("r", 1, 80, 20)]
    )


def sequence_of_rows() -> bytes:
    """A sequence whose tensors are declared as rows of 13 numbers."""
    nodes = [
        helper.make_node("ConcatFromSequence", ["s"], ["rows"], axis=0),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    given = helper.make_tensor_sequence_value_info("s", FLOAT, ["n", 13])
    return model_of(
        nodes, [given], [tensor_of("y", FLOAT, ["n", 4])], constants=[_weights("w", 13, 4)]
    )


def _of_a_table(kind: int, **table: Any) -> bytes:
    """Numbers that a table has for its keys, and 0 for all else."""
    node = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", values_floats=[1.0, 2.5, 4.0], **table
    )
    graph = helper.make_graph(
        [node], "g", [tensor_of("x", kind, ["n"])], [tensor_of("y", FLOAT, ["n"])]
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
        [node], "g", [helper.make_value_info("m", kind)], [tensor_of("y", FLOAT, [1, 2])]
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def numbers_as_text() -> bytes:
    """Numbers that are written out."""
    node = helper.make_node("Cast", ["x"], ["y"], to=FLOAT)
    given = [tensor_of("x", TensorProto.STRING, ["n", 3])]
    return model_of([node], given, [tensor_of("y", FLOAT, ["n", 3])])
