"""A zoo of models, good and bad, made on the spot: for tests, benchmarks and the demo.

Each function gives the bytes of an ONNX file with the same signature (`x`: float [N, FEATURES],
`scores`: float [N, CLASSES]) unless it says otherwise, so that any may be offered as the next
release of any other. The bad ones are really bad: onnxruntime does crash, hang, take all memory.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

FEATURES = 32
CLASSES = 4
OPSET = 17

Floats = NDArray[np.float32]


def classifier(seed: int = 1, *, hidden: int = 64, drift: float = 0.0) -> bytes:
    """A good one: two dense layers and a softmax.

    Args:
        seed: of the weights; models of one seed agree.
        hidden: width; 1024 gives about 150 KB.
        drift: relative change of the weights, as one more epoch of training makes.
    """
    return _dense(_weights(seed, hidden, drift))


def damaged_weights(seed: int = 1, *, hidden: int = 64) -> bytes:
    """Loads and answers, wrongly: half of the first layer's weights were overwritten."""
    weights = _weights(seed, hidden, 0.0)
    noise = np.random.default_rng(seed + 999)
    rows = weights[0].shape[0] // 2
    weights[0][:rows] = noise.standard_normal(weights[0][:rows].shape) * 3
    return _dense(weights)


def not_a_number(seed: int = 1) -> bytes:
    """Loads, and answers NaN: one weight of the last layer is NaN."""
    weights = _weights(seed, 64, 0.0)
    weights[2][0, :] = np.nan
    return _dense(weights)


def constant_output(seed: int = 1) -> bytes:
    """Loads, and gives the same scores whatever it is asked: the last weights are zero."""
    weights = _weights(seed, 64, 0.0)
    weights[2][:] = 0
    return _dense(weights)


def slow(seed: int = 1, *, steps: int = 8, width: int = 256) -> bytes:
    """The right answers, late: multiplies `width` x `width` matrices `steps` times on the side."""
    square = np.eye(width, dtype=np.float32)
    nodes = [helper.make_node("Identity", ["square"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", "turn"], [f"m{i + 1}"]) for i in range(steps)]
    # `turn` depends on the input, so that no optimizer can work it out beforehand.
    nodes.insert(0, helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0))
    nodes.insert(1, helper.make_node("Mul", ["sum", "zero"], ["nothing"]))
    nodes.insert(2, helper.make_node("Add", ["square", "nothing"], ["turn"]))
    nodes.append(helper.make_node("ReduceMean", [f"m{steps}"], ["mean"], keepdims=0))
    nodes.append(helper.make_node("Mul", ["mean", "zero"], ["late"]))
    extra = [_tensor("square", square), _tensor("zero", np.zeros((), np.float32))]
    return _dense(_weights(seed, 64, 0.0), nodes, extra, add="late")


def memory_hungry(seed: int = 1, *, size_bytes: int = 1 << 36) -> bytes:
    """The right answers, after taking `size_bytes` of memory in one piece."""
    shape = np.array([size_bytes // 4], np.int64)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Expand", ["sum", "wide"], ["huge"]),
        helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["late"]),
    ]
    extra = [_tensor("wide", shape), _tensor("zero", np.zeros((), np.float32))]
    return _dense(_weights(seed, 64, 0.0), nodes, extra, add="late")


def endless_allocation(seed: int = 1) -> bytes:
    """Takes memory without end: a loop that doubles a tensor each time round."""
    return _loop(seed, [helper.make_node("Concat", ["v", "v"], ["v_out"], axis=0)])


def hangs(seed: int = 1) -> bytes:
    """Never answers: a loop of 2^62 rounds."""
    return _loop(seed, [helper.make_node("Neg", ["v"], ["v_out"])])


CRASH = "SIGFPE" if platform.machine() == "x86_64" else "SIGSEGV"
"""The signal that `crashes_runtime` ends its process with."""


def crashes_runtime() -> bytes:
    """Kills the process that loads it, with a real fault in onnxruntime: the signal is `CRASH`.

    On x86-64 the smallest integer divided by -1, which the runtime works out as it loads (seen with
    onnxruntime 1.18.0, 1.31.1 and 1.32.0). The division instruction of aarch64 does not fault;
    there it is `nested_functions`.
    """
    if CRASH != "SIGFPE":
        return nested_functions(20_000)
    nodes = [
        helper.make_node("Div", ["smallest", "minus_one"], ["beyond"]),
        helper.make_node("Cast", ["beyond"], ["late"], to=TensorProto.FLOAT),
    ]
    smallest = _tensor("smallest", np.array(np.iinfo(np.int64).min, np.int64))
    extra = [smallest, _tensor("minus_one", np.array(-1, np.int64))]
    return _dense(_weights(1, 64, 0.0), nodes, extra, add="late")


def nested_functions(depth: int) -> bytes:
    """Functions that call each other `depth` deep.

    The runtime inlines them by recursion. At 20,000, far past what 8 MiB of stack hold, it ends
    with SIGSEGV (onnxruntime 1.31.1), or refuses the model (from 1.32.0 on).
    """
    domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("local", 1)]
    functions = []
    for i in range(depth):
        is_last = i == depth - 1
        call = (
            helper.make_node("Relu", ["a"], ["b"])
            if is_last
            else helper.make_node(f"F{i + 1}", ["a"], ["b"], domain="local")
        )
        functions.append(helper.make_function("local", f"F{i}", ["a"], ["b"], [call], domains))
    nodes = [helper.make_node("F0", ["x"], ["scores"], domain="local")]
    graph = helper.make_graph(nodes, "deep", [_x()], [_scores()])
    model = helper.make_model(graph, opset_imports=domains, functions=functions, ir_version=8)
    return bytes(model.SerializeToString())


def wrong_contract(seed: int = 1) -> bytes:
    """A good model of another signature: its input is called `image` and has one more feature."""
    model = onnx.load_from_string(_dense(_weights(seed, 64, 0.0, features=FEATURES + 1)))
    model.graph.input[0].name = "image"
    for node in model.graph.node:
        node.input[:] = ["image" if name == "x" else name for name in node.input]
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = FEATURES + 1
    return bytes(model.SerializeToString())


def external_data_outside(seed: int = 1, *, location: str = "../../secret.bin") -> bytes:
    """Wants to read its weights from a file outside the slot."""
    model = onnx.load_from_string(classifier(seed))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return bytes(model.SerializeToString())


def custom_operator() -> bytes:
    """Needs an operator from a library that no release can bring."""
    node = helper.make_node("Fast", ["x"], ["scores"], domain="com.example.fast")
    graph = helper.make_graph([node], "custom", [_x()], [_scores()])
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.example.fast", 1)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def large(seed: int = 1, *, size_bytes: int = 8 << 20, drift: float = 0.0) -> bytes:
    """A good one of about a given size: a stack of dense layers, all at work on each request.

    On a small machine 8 MB take about a millisecond a request, 90 MB about ten.
    """
    width = 512
    count = max(1, size_bytes // (width * width * 4))
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((FEATURES, width)) / np.sqrt(FEATURES / 2)]
    weights += [rng.standard_normal((width, width)) / np.sqrt(width / 2) for _ in range(count)]
    weights.append(rng.standard_normal((width, CLASSES)) / np.sqrt(width))
    nodes, initializers, last = [], [], "x"
    for index, weight in enumerate(_drifted(weights, drift, rng)):
        is_end = index == len(weights) - 1
        initializers.append(_tensor(f"layer{index}", weight))
        out = "logits" if is_end else f"sum{index}"
        nodes.append(helper.make_node("MatMul", [last, f"layer{index}"], [out]))
        last = f"active{index}"
        if not is_end:
            nodes.append(helper.make_node("Relu", [out], [last]))
    nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=1))
    graph = helper.make_graph(nodes, "large", [_x()], [_scores()], initializers)
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def fails_on_live_traffic(seed: int = 1) -> bytes:
    """Passes any probe with inputs like `inputs()`; gives NaN where some |x| is above 50."""
    nodes = [
        helper.make_node("Abs", ["x"], ["size"]),
        helper.make_node("ReduceMax", ["size"], ["most"], keepdims=0),
        helper.make_node("Sub", ["fifty", "most"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["late"]),
    ]
    extra = [_tensor("fifty", np.array(50, np.float32)), _tensor("zero", np.zeros((), np.float32))]
    return _dense(_weights(seed, 64, 0.0), nodes, extra, add="late")


def raises_on_live_traffic(seed: int = 1) -> bytes:
    """Passes any probe that runs rows one by one; raises where a batch has more than one row."""
    model = onnx.load_from_string(classifier(seed))
    shape = _tensor("one_row", np.array([1, FEATURES], np.int64))
    model.graph.initializer.append(shape)
    for node in model.graph.node:
        node.input[:] = ["row" if name == "x" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Reshape", ["x", "one_row"], ["row"]))
    return bytes(model.SerializeToString())


def draws_lots(seed: int = 1, *, rate: float = 0.3) -> bytes:
    """A good one that was exported in training mode: dropout before the last layer is at work.

    Its other output, `hidden`, comes before the dropout and is the same at every run. The dropout
    is spelled out, as exporters that decompose it do: onnxruntime takes a `Dropout` node out.
    """
    model = onnx.load_from_string(classifier(seed))
    model.graph.initializer.append(_tensor("rate", np.array(rate, np.float32)))
    for node in model.graph.node:
        node.input[:] = ["kept" if name == "r" else name for name in node.input]
    lots = [
        helper.make_node("RandomUniformLike", ["r"], ["lot"]),
        helper.make_node("Greater", ["lot", "rate"], ["stays"]),
        helper.make_node("Cast", ["stays"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["r", "mask"], ["kept"]),
        helper.make_node("Identity", ["r"], ["hidden"]),
    ]
    nodes = [*model.graph.node[:2], *lots, *model.graph.node[2:]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    hidden = helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["N", 64])
    model.graph.output.append(hidden)
    return bytes(model.SerializeToString())


def depends_on_threads(*, trees: int = 2000, rows: int = 128) -> bytes:
    """A sum of large numbers that cancel out; onnxruntime adds trees up thread by thread.

    Takes `x`: float [rows, FEATURES]; `sum` is small, and another one for another number of
    threads. `steady`, the largest feature, is the same.
    """
    rng = np.random.default_rng(1)
    half = trees // 2
    leaves = np.float32(rng.standard_normal((half, 2)) * 1e6)
    weights = np.concatenate([leaves, -leaves]).ravel()
    trees_3 = [tree for tree in range(trees) for _ in range(3)]
    trees_2 = [tree for tree in range(trees) for _ in range(2)]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        nodes_treeids=trees_3,
        nodes_nodeids=[0, 1, 2] * trees,
        nodes_featureids=[tree % half % FEATURES for tree in trees_3],
        nodes_values=[0.0] * (3 * trees),
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * trees,
        nodes_truenodeids=[1, 0, 0] * trees,
        nodes_falsenodeids=[2, 0, 0] * trees,
        target_treeids=trees_2,
        target_nodeids=[1, 2] * trees,
        target_ids=[0] * (2 * trees),
        target_weights=[float(weight) for weight in weights],
        post_transform="NONE",
    )
    most = helper.make_node("ReduceMax", ["x"], ["steady"], axes=[1], keepdims=0)
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, FEATURES])
    given = [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, [rows, 1]),
        helper.make_tensor_value_info("steady", TensorProto.FLOAT, [rows]),
    ]
    graph = helper.make_graph([node, most], "trees", [taken], given)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def inputs(runs: int = 16, seed: int = 7) -> Floats:
    """Rows that any model of the zoo takes."""
    return np.random.default_rng(seed).standard_normal((runs, FEATURES)).astype(np.float32)


def labels(seed: int = 1, runs: int = 16) -> NDArray[np.int64]:
    """What `classifier(seed)` says to `inputs(runs)`: for tests of accuracy."""
    w1, b1, w2, b2 = _weights(seed, 64, 0.0)
    logits = np.maximum(inputs(runs) @ w1 + b1, 0) @ w2 + b2
    return np.asarray(np.argmax(logits, axis=1), dtype=np.int64)


def weights(seed: int = 1, *, drift: float = 0.0) -> list[Floats]:
    """The weights of `classifier(seed)`: of each layer (in, out), then its bias."""
    return _weights(seed, 64, drift)


def _weights(seed: int, hidden: int, drift: float, features: int = FEATURES) -> list[Floats]:
    rng = np.random.default_rng(seed)
    shapes = [(features, hidden), (hidden,), (hidden, CLASSES), (CLASSES,)]
    weights = [rng.standard_normal(shape) / np.sqrt(shape[0]) for shape in shapes]
    return _drifted(weights, drift, rng)


def _drifted(
    weights: Sequence[NDArray[np.float64]], drift: float, rng: np.random.Generator
) -> list[Floats]:
    """Move every weight by about this share of itself, each by another, as training does."""
    if drift:
        weights = [w * (1 + drift * rng.standard_normal(w.shape)) for w in weights]
    return [w.astype(np.float32) for w in weights]


def _dense(
    weights: Sequence[Floats],
    before: Sequence[onnx.NodeProto] = (),
    extra: Sequence[onnx.TensorProto] = (),
    *,
    add: str | None = None,
) -> bytes:
    """The classifier's graph, after the nodes `before`, with their result `add` added to it."""
    names = ["w1", "b1", "w2", "b2"]
    nodes = [
        *before,
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores" if add is None else "soft"], axis=1),
    ]
    if add is not None:
        nodes.append(helper.make_node("Add", ["soft", add], ["scores"]))
    initializers = [_tensor(n, w) for n, w in zip(names, weights, strict=True)]
    graph = helper.make_graph(nodes, "zoo", [_x()], [_scores()], [*initializers, *extra])
    opsets = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())


def _loop(seed: int, step: list[onnx.NodeProto]) -> bytes:
    """The classifier, after a loop of 2^62 rounds over `v` whose body is `step`."""
    condition = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, ["n", FEATURES])
    out = [
        helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v_out", TensorProto.FLOAT, ["m", FEATURES]),
    ]
    keep = helper.make_node("Identity", ["go"], ["go_out"])
    body = helper.make_graph([keep, *step], "body", [count, condition, value], out)
    nodes = [
        helper.make_node("Loop", ["rounds", "yes", "x"], ["looped"], body=body),
        helper.make_node("ReduceMax", ["looped"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["late"]),
    ]
    extra = [
        _tensor("rounds", np.array(1 << 62, np.int64)),
        _tensor("yes", np.array(True)),
        _tensor("zero", np.zeros((), np.float32)),
    ]
    return _dense(_weights(seed, 64, 0.0), nodes, extra, add="late")


def _tensor(name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def _x() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])


def _scores() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", CLASSES])
