"""A Python service that is never stopped for a new model: HTTP in, one `HotModel` inside.

    python examples/service.py STATE_DIR/models/detector --port 8080
    curl -d '{"x": [[0.1, 0.2]]}' http://127.0.0.1:8080/

A request names the model's inputs; the answer has its outputs, and the release that gave them.
docs/application.md says what HotModel does meanwhile.
"""

from __future__ import annotations

import argparse
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import numpy as np

from slotcast_device import HotModel

BODY_MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of a request's body."""
_TYPES: Final = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}
"""The numpy name of a tensor's type, by the name that onnxruntime gives it."""


class Handler(BaseHTTPRequestHandler):
    """Turns one POST into one `run`."""

    model: HotModel

    def do_POST(self) -> None:
        """Answer with the outputs, or say what is wrong with the request."""
        try:
            size_bytes = int(self.headers.get("Content-Length", "0"))
            if size_bytes > BODY_MAX_BYTES:
                raise ValueError(f"expected at most {BODY_MAX_BYTES} bytes, got {size_bytes}")
            self._answer(200, predict(self.model, json.loads(self.rfile.read(size_bytes))))
        except Exception as exc:  # noqa: BLE001 (whatever a request can provoke is its answer)
            self._answer(400, {"error": f"{type(exc).__name__}: {exc}"})

    def _answer(self, code: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Quiet: the agent has the figures."""


def predict(model: HotModel, request: dict[str, Any]) -> dict[str, Any]:
    """Run the model on the request's inputs."""
    types = {tensor.name: _TYPES.get(tensor.type, "float32") for tensor in model.get_inputs()}
    feed = {name: np.array(value, types.get(name, "float32")) for name, value in request.items()}
    outputs = model.run(None, feed)
    names = [tensor.name for tensor in model.get_outputs()]
    release = model.release
    return {
        "outputs": {n: np.asarray(o).tolist() for n, o in zip(names, outputs, strict=True)},
        "version": None if release is None else release.version,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="the model's folder: STATE_DIR/models/<model>")
    parser.add_argument("--port", type=int, default=8080)
    asked = parser.parse_args()
    with HotModel(asked.model / "current", allow_stop_then_start=True) as model:
        Handler.model = model
        with ThreadingHTTPServer(("127.0.0.1", asked.port), Handler) as server:
            print(f"serving on port {server.server_port}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
