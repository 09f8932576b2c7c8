"""Checks a model before it is released: onnx's checker, and one load in onnxruntime.

The work is done by `onnx_child`, in a process of its own with a limit on time.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from slotcast_schemas.errors import ModelUnloadable
from slotcast_schemas.messages.release import Tensor

TIMEOUT_S: Final = 900.0


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a sound model declares; `external` are files beside it that hold its tensors."""

    opsets: dict[str, int]
    external: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    load_s: float


def check_model(
    entry: Path, *, samples: Path | None = None, golden: Path | None = None
) -> ModelFacts:
    """Check a model, and say what it declares.

    Args:
        entry: the .onnx file, with its external data beside it.
        samples: inputs to run it on once (.npz).
        golden: where to write these inputs with the model's outputs (.npz).

    Raises:
        ModelUnloadable: the checker or the runtime refuses it, it crashes, or takes too long.
    """
    command = [sys.executable, "-m", "slotcast_publisher.onnx_child", str(entry)]
    if samples is not None and golden is not None:
        command += [str(samples), str(golden)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ModelUnloadable(f"{entry.name}: not loaded within {TIMEOUT_S:.0f} s") from exc
    report = _report(done, entry)
    if "error" in report:
        raise ModelUnloadable(f"{entry.name}: {report['error']}")
    try:
        return msgspec.convert(report, ModelFacts)
    except msgspec.ValidationError as exc:
        raise ModelUnloadable(f"{entry.name}: what it declares does not fit: {exc}") from exc


def _report(done: subprocess.CompletedProcess[bytes], entry: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(done.stdout)
        return report
    except ValueError as exc:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        how = (
            f"crashed with {signal.Signals(-done.returncode).name}"
            if done.returncode < 0
            else f"ended with {done.returncode}"
        )
        raise ModelUnloadable(f"{entry.name}: the process that loaded it {how}: {said}") from exc
