"""Any bytes as a samples file are arrays of equal rows within the bound, or `MalformedMessage`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.samples import Samples, read_samples, write_samples

_FOLDER = tempfile.TemporaryDirectory(prefix="slotcast-fuzz-samples-")
_PATH = Path(_FOLDER.name) / "samples.npz"
MAX_BYTES = 100_000


def seeds() -> list[bytes]:
    """Give a file with two inputs, an output and labels."""
    inputs: dict[str, NDArray[Any]] = {
        "x": np.ones((3, 4), np.float32),
        "ids": np.arange(6).reshape(3, 2),
    }
    outputs = {"y": np.zeros((3, 2), np.float32)}
    write_samples(_PATH, Samples(inputs=inputs, outputs=outputs, labels=np.arange(3)))
    return [_PATH.read_bytes()]


def one_input(data: bytes) -> None:
    """Read."""
    _PATH.write_bytes(data)
    try:
        samples = read_samples(_PATH, max_bytes=MAX_BYTES)
    except MalformedMessage:
        return
    assert samples.size_bytes <= MAX_BYTES
    assert all(
        len(a) == samples.runs for a in (*samples.inputs.values(), *samples.outputs.values())
    )
