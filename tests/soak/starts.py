"""A real device of eight models, started again and again: no start may end by a signal.

    python -m tests.soak.starts [--count N]

Threads that use a library for the first time at once have crashed it. What is used first depends
on what lies on the disk, so one start in ten finds an empty state folder and installs all eight
models; the others find them there. Python's threads take turns fifty times as often as usual:
with decoders made at the first decode, more than half of the starts crashed that way, and at most
one in twelve with the usual turns.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support import models as zoo
from tests.support.brokers import mosquitto
from tests.support.fleet import Device, Publisher

MODELS: Final = tuple(f"m{number}" for number in range(8))
EMPTY_EVERY: Final = 10
START_MAX_S: Final = 120.0
_DEVICE: Final = """
import sys
from slotcast_device.cli import main
sys.setswitchinterval(1e-4)
sys.exit(main(sys.argv[1:]))
"""


@dataclass(slots=True)
class Result:
    """What came of it."""

    starts: int = 0
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Say it in a line."""
        return f"starts: {self.starts} of {len(MODELS)} models, {len(self.failures)} failed"


def run(count: int, until_s: float = float("inf")) -> Result:
    """Start the device so often, or until this time of the monotonic clock."""
    result = Result()
    folder = Path(tempfile.mkdtemp(prefix="slotcast-starts-"))
    try:
        with mosquitto("development") as broker:
            device = _provisioned(folder, broker.url)
            while result.starts < count and time.monotonic() < until_s and not result.failures:
                if result.starts % EMPTY_EVERY == 0:
                    shutil.rmtree(device.config.state_dir, ignore_errors=True)
                fault = _start(device)
                result.starts += 1
                result.failures += [f"start {result.starts}: {fault}"] if fault else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _provisioned(folder: Path, url: str) -> Device:
    publisher = Publisher.make(folder / "repo", url)
    for seed, model in enumerate(MODELS):
        publisher.release(model, "1", {"model.onnx": zoo.classifier(seed)})
        publisher.publish(model, "1")
    return publisher.provision("cam-1", folder / "cam-1", models=MODELS)


def _start(device: Device) -> str:
    """Start it until every notice is settled; gives what is wrong, if anything is."""
    options = ("run", "--once", "--timeout", str(START_MAX_S), "--config", str(device.config_path))
    done = subprocess.run(
        [sys.executable, "-c", _DEVICE, *options], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else f"ended with {done.returncode}: {done.stderr[-2000:]}"


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.starts")
    parser.add_argument("--count", type=int, default=200)
    result = run(parser.parse_args().count)
    sys.stdout.write("\n".join([result.text(), *result.failures]) + "\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
