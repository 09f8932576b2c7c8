"""Any bytes as a model file have tensors that lie inside of it, apart from each other."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.layout import find_tensors
from tests.support.deltas import model_bytes
from tests.support.model_files import (
    gguf_bytes,
    safetensors_bytes,
    tflite_bytes,
    torchscript_bytes,
)

_WEIGHTS: dict[str, NDArray[Any]] = {
    "w": np.ones((16, 16), dtype=np.float32),
    "v": np.zeros(64, dtype=np.float16),
}


def seeds() -> list[bytes]:
    """Give a file of each format."""
    writers = (model_bytes, gguf_bytes, tflite_bytes, torchscript_bytes, safetensors_bytes)
    return [write(_WEIGHTS) for write in writers]


def one_input(data: bytes) -> None:
    """Find the tensors, once as what the bytes say and once as ONNX."""
    with tempfile.TemporaryDirectory(prefix="slotcast-fuzz-finders-") as folder:
        for name in ("m.bin", "m.onnx"):
            path = Path(folder) / name
            path.write_bytes(data)
            end = 0
            for place in find_tensors([(name, path)]):
                assert end <= place.offset
                end = place.end
            assert end <= len(data)
