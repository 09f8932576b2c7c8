"""Looks at an ONNX model in a process of its own, so that a model that crashes it harms nobody.

Run as `python -m slotcast_publisher.onnx_child ENTRY [SAMPLES GOLDEN]`; writes one JSON object to
standard output: what the model declares, or `error`. With samples, runs the model on them once
and writes them with its outputs to GOLDEN.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort


def main(arguments: list[str]) -> int:
    """Look at one model; 0 if it is sound, 1 if not."""
    try:
        report = _look(Path(arguments[0]))
        if len(arguments) > 1:
            _golden(Path(arguments[0]), Path(arguments[1]), Path(arguments[2]))
    except Exception as exc:  # noqa: BLE001 - whatever a model can provoke is its error
        report = {"error": f"{type(exc).__name__}: {exc}"[:2000]}
    sys.stdout.write(json.dumps(report))
    return 1 if "error" in report else 0


def _look(entry: Path) -> dict[str, Any]:
    model = onnx.load(str(entry), load_external_data=False)
    external = sorted({location for tensor in _tensors(model) if (location := _external(tensor))})
    onnx.checker.check_model(str(entry))
    start_s = time.monotonic()
    session = _session(entry)
    return {
        "opsets": {item.domain: item.version for item in model.opset_import},
        "external": external,
        "inputs": [_declared(node) for node in session.get_inputs()],
        "outputs": [_declared(node) for node in session.get_outputs()],
        "load_s": round(time.monotonic() - start_s, 4),
    }


def _session(entry: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the same sums in the same order at every run
    options.log_severity_level = 3
    return ort.InferenceSession(str(entry), options, providers=["CPUExecutionProvider"])


def _tensors(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    """Every tensor that may lie in another file: of the graph, and of the graphs in its nodes."""
    graphs, found = [model.graph], []
    while graphs:
        graph = graphs.pop()
        found += list(graph.initializer)
        for node in graph.node:
            for attribute in node.attribute:
                found += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs]
    return found


def _external(tensor: onnx.TensorProto) -> str | None:
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return None
    return next((item.value for item in tensor.external_data if item.key == "location"), None)


def _declared(node: ort.NodeArg) -> dict[str, Any]:
    return {"name": node.name, "dtype": node.type, "shape": list(node.shape or [])}


def _golden(entry: Path, samples: Path, out: Path) -> None:
    session = _session(entry)
    with np.load(samples, allow_pickle=False) as given:
        arrays = {name: given[name] for name in given.files}
    names = [node.name for node in session.get_inputs()]
    feed = {name: arrays.get(f"input:{name}", arrays.get(name)) for name in names}
    missing = [name for name, array in feed.items() if array is None]
    if missing:
        raise ValueError(
            f"samples: expected an array 'input:NAME' for each of {names}, missing {missing},"
            f" got {sorted(arrays)}"
        )
    outputs = session.run(None, feed)
    golden = {f"input:{name}": array for name, array in feed.items()}
    for node, value in zip(session.get_outputs(), outputs, strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            golden[f"output:{node.name}"] = value
    if "labels" in arrays:
        golden["labels"] = arrays["labels"]
    with out.open("wb") as file:
        np.savez(file, **golden)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
