"""Looks at an ONNX model in a process of its own, so that a model that crashes it harms nobody.

Run as `python -m slotcast_publisher.release.model_check_child REQUEST`, where REQUEST is a JSON
object with `model_dir`, `entry`, `parent_pid` and `samples` (null, or `user`, `out` and `seed`);
writes one JSON object to standard output: what the model declares and how a device shall probe it,
or `error`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import onnx

from slotcast_publisher.release.golden_samples import make_samples
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.probe import SlotModel, confine
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.probe.scan import scan


def main(arguments: list[str]) -> int:
    """Look at one model; 0 if it is sound, 1 if not."""
    request = json.loads(arguments[0])
    confine.die_with(int(request["parent_pid"]))
    confine.leave_network()
    model_dir, entry = Path(request["model_dir"]), str(request["entry"])
    try:
        report = _look(model_dir, entry)
        if request["samples"] is not None:
            report |= _samples(model_dir, entry, request["samples"])
    except SlotcastError as exc:
        report = {"error": str(exc)[:2000], "reason": exc.reason}
    except Exception as exc:  # noqa: BLE001 - whatever a model can provoke is its error
        report = {"error": cause_of(exc, str(model_dir))[:2000]}
    sys.stdout.write(json.dumps(report))
    return 1 if "error" in report else 0


def _look(model_dir: Path, name: str) -> dict[str, Any]:
    scan(SlotModel(str(model_dir.absolute()), name))
    entry = model_dir / name
    model = onnx.load(str(entry), load_external_data=False)
    external = sorted({location for tensor in _tensors(model) if (location := _external(tensor))})
    onnx.checker.check_model(str(entry))
    start_s = time.monotonic()
    session = OnnxSession(entry, threads=1)
    return {
        "opsets": {item.domain: item.version for item in model.opset_import},
        "external": external,
        "inputs": msgspec.to_builtins(session.inputs),
        "outputs": msgspec.to_builtins(session.outputs),
        "load_s": round(time.monotonic() - start_s, 4),
    }


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


def _samples(model_dir: Path, entry: str, wanted: dict[str, Any]) -> dict[str, Any]:
    warnings: list[str] = []
    probe = make_samples(
        model_dir,
        entry,
        Path(wanted["user"]) if wanted["user"] else None,
        model_dir / wanted["out"],
        seed=wanted["seed"],
        warn=warnings.append,
    )
    return {"probe": msgspec.to_builtins(probe), "warnings": warnings}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
