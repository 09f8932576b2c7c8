"""onnxruntime tells nobody of a device's or a publisher's models, unless its owner wants it to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import models

PROGRAM = """
import sys, importlib
importlib.import_module(sys.argv[1])
import onnxruntime
onnxruntime.InferenceSession(sys.argv[2])
"""


def left_behind(home: Path, module: str, **environment: str) -> list[str]:
    """Open a session in a process of its own; give the files that it left in its home."""
    (home / "m.onnx").write_bytes(models.classifier())
    kept = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM, module, str(home / "m.onnx")],
        env={**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache"), **environment},
        check=True,
        capture_output=True,
    )
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "module",
    [
        "slotcast_device.hotmodel",
        "slotcast_schemas.probe.child",
        "slotcast_publisher.release.model_check_child",
        "slotcast_publisher.release.golden_samples",
    ],
)
def test_the_runtime_keeps_no_identity_and_counts_nothing(tmp_path: Path, module: str) -> None:
    assert left_behind(tmp_path, module) == ["m.onnx"]


def test_whoever_wants_it_may_have_it() -> None:
    program = "import os, slotcast_device; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "0\n"
