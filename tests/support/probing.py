"""Sets up slots and requests for probes: a model of the zoo in slot b, a good one active in a."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.probe import ProbeRequest, SlotModel
from slotcast_schemas.samples import Samples, write_samples
from tests.support import models

INPUTS = (Tensor(name="x", dtype="tensor(float)", shape=("N", models.FEATURES)),)
OUTPUTS = (Tensor(name="scores", dtype="tensor(float)", shape=("N", models.CLASSES)),)
MEMORY_LIMIT_BYTES = 1 << 30


def slot(folder: Path, model: bytes, samples: Samples | None = None) -> SlotModel:
    """A slot with `model.onnx`, and `samples.npz` if there are samples."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    if samples is not None:
        write_samples(folder / "samples.npz", samples)
    return SlotModel(str(folder), "model.onnx")


def run_rows(model: bytes, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a model says to each row, one run per row."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": row[None, :]})[0] for row in rows])


def golden_samples(model: bytes | None = None, runs: int = 16) -> Samples:
    """Samples as a publisher makes them from a good model: inputs, outputs and labels."""
    rows = models.inputs(runs)
    outputs = run_rows(model or models.classifier(), rows)
    return Samples(
        inputs={"x": rows[:, None, :]},
        outputs={"scores": outputs},
        labels=np.argmax(outputs, axis=-1).astype(np.int64),
    )


def request(
    tmp_path: Path,
    candidate: bytes,
    *,
    active: bytes | None = None,
    samples: Samples | None = None,
    probe: Probe | None = None,
    **more: Any,
) -> ProbeRequest:
    """A request for `candidate`, with the zoo's signature and few runs."""
    if probe is None:
        name = None if samples is None else "samples.npz"
        probe = Probe(samples=name, runs=10)
    fields: dict[str, Any] = {
        "inputs": INPUTS,
        "outputs": OUTPUTS,
        "memory_limit_bytes": MEMORY_LIMIT_BYTES,
        **more,
    }
    return ProbeRequest(
        candidate=slot(tmp_path / "b", candidate, samples),
        active=None if active is None else slot(tmp_path / "a", active),
        probe=probe,
        **fields,
    )
