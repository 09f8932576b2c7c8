"""One task in a process of its own, with what it took: CPU time and peak memory.

This module imports nothing heavy, so that a child which runs it knows what the bare interpreter
needs before it loads what it measures. The tasks here are making and applying a delta.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from slotcast_schemas.process_memory import status_bytes

_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024
"""The unit of `ru_maxrss` in bytes (getrusage(2)): 1 on macOS, 1,024 on Linux."""


class ChildFailed(Exception):
    """A measured process failed; its last words are the message."""


class ChildTooSlow(ChildFailed):
    """A measured process was not done in its time, and was ended."""


def run_child(
    module: str, task: dict[str, Any], *, timeout_s: float | None = None
) -> dict[str, Any]:
    """Run `python -m module` with a task as JSON, and give the JSON that it prints.

    Args:
        module: what is run.
        task: with `do`, which says what.
        timeout_s: after so many seconds it is ended.

    Raises:
        ChildFailed: it ended with an error.
        ChildTooSlow: it was ended.
    """
    # One thread for linear algebra: its idle threads spin, and would be counted as work.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, json.dumps(task)],
            env=environment,
            capture_output=True,
            check=False,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as exc:
        raise ChildTooSlow(f"expected to {task['do']} within {timeout_s:g} s, got no end") from exc
    if done.returncode:
        last_words = " ".join(done.stderr.split())[-500:]
        raise ChildFailed(
            f"expected to {task['do']}, got exit code {done.returncode}: {last_words}"
        )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class Meter:
    """Measures this process from now on; CPU time from the process's start."""

    def __init__(self) -> None:
        self._start_s = time.perf_counter()
        self._baseline_bytes = _status_or_peak_bytes("VmRSS")

    def cost(self, *, workers: int = 0) -> dict[str, float]:
        """Give what was used: `peak_bytes` above the memory at the meter's start, workers added."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        others = resource.getrusage(resource.RUSAGE_CHILDREN)
        # From /proc where there is one: `ru_maxrss` remembers the parent's memory across an exec.
        resident_bytes = _status_or_peak_bytes("VmHWM") + workers * others.ru_maxrss * _UNIT_BYTES
        return {
            "cpu_s": own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime,
            "wall_s": time.perf_counter() - self._start_s,
            "peak_bytes": resident_bytes - self._baseline_bytes,
            "resident_bytes": resident_bytes,
        }


def _status_or_peak_bytes(field: str) -> int:
    """Give a figure of /proc/self/status; the peak where the system has no such file."""
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT_BYTES
    return status_bytes(field) or peak_bytes


def _create(task: dict[str, Any]) -> dict[str, Any]:
    meter = Meter()
    from slotcast_publisher.delta.compact import write_compact
    from slotcast_publisher.delta.encode import encode_delta

    old, new = ([(name, Path(path)) for name, path in task[side]] for side in ("old", "new"))
    patch = Path(task["patch"])
    report = encode_delta(old, new, patch, workers=task["workers"])
    compact_bytes = write_compact(patch, old, new, patch)
    rows = [
        {
            "kind": row.kind,
            "segments": row.segments,
            "target_bytes": row.target_bytes,
            "coded_bytes": row.coded_bytes,
        }
        for row in report.segments
    ]
    if compact_bytes is not None:
        rows = _all_described(rows, compact_bytes)
    # A pool is started only where there are sections enough; then `ru_maxrss` is a worker's.
    return {
        "base_sha256": report.base_sha256.hex(),
        "segments": rows,
        "cost": meter.cost(workers=min(task["workers"], report.section_count)),
    }


def _all_described(rows: list[dict[str, Any]], size_bytes: int) -> list[dict[str, Any]]:
    """The rows of a compact delta, all of which is one script."""
    segments = [{**row, "coded_bytes": 0} for row in rows if row["target_bytes"]]
    script = {"kind": "compact script", "segments": 1, "target_bytes": 0}
    return [*segments, {**script, "coded_bytes": size_bytes}]


def _apply(task: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    np.zeros(1)
    meter = Meter()
    from slotcast_schemas.codecs.delta.decoder import decode_delta
    from slotcast_schemas.codecs.source import FilesImage, FileSource

    old = [(Path(path), Path(path).stat().st_size) for _, path in task["old"]]
    with (
        FilesImage(old) as base,
        FileSource(Path(task["patch"])) as patch,
        Path(task["out"]).open("wb") as out,
    ):
        decode_delta(
            patch,
            base,
            image_size_bytes=task["new_bytes"],
            base_sha256=bytes.fromhex(task["base_sha256"]),
            sink=out.write,
        )
    return {"cost": meter.cost()}


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    answer = _create(asked) if asked["do"] == "create" else _apply(asked)
    sys.stdout.write(json.dumps(answer))
