"""Every distinct disk that a power cut may leave, given to the real agent with a real broker.

    python -m tests.soak.cuts [--minutes N]

Here the agent gets as many as there is time for, in an order that the seed draws. The device's
recovery gets a sample of them in `make test`, by `tests/crash/test_power_cut.py`, and in a soak
all of them (`recover_all`).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.states import State as Phase
from tests.crash.replay import Distinct, State
from tests.crash.story import Story, publisher, tell
from tests.support.brokers import mosquitto


@dataclass(slots=True)
class Result:
    """What came of it."""

    operations: int = 0
    disks: int = 0
    distinct: int = 0
    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Say it in a line."""
        return (
            f"power cuts: {self.operations} operations traced, {self.disks} disks,"
            f" {self.distinct} distinct, {self.tried} started and committed,"
            f" {len(self.failures)} failed"
        )


def recover_all() -> str:
    """Give every disk to the device's recovery; gives what is wrong, if anything is."""
    test = Path(__file__).parents[1] / "crash" / "test_power_cut.py"
    command = [sys.executable, "-m", "pytest", "-q", str(test)]
    told = {"SLOTCAST_CUTS": "all"}
    done = subprocess.run(
        command, env=os.environ | told, capture_output=True, text=True, check=False
    )
    said = f"SLOTCAST_CUTS=all {' '.join(command)}"
    return f"{said}\n{done.stdout[-3000:]}" if done.returncode else ""


def run(minutes: float, seed: int, failures_max: int = 3) -> Result:
    """Try disks until the time is over."""
    until_s = time.monotonic() + minutes * 60
    result = Result()
    folder = Path(tempfile.mkdtemp(prefix="slotcast-cuts-"))
    try:
        with mosquitto("development") as broker:
            for story, state in _all(folder, broker.url, seed, result):
                if time.monotonic() > until_s or len(result.failures) >= failures_max:
                    break
                fault = _try(story, state, folder / "now")
                result.tried += not fault
                result.failures += [f"{story.version}: {state.name}: {fault}"] if fault else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _all(folder: Path, url: str, seed: int, result: Result) -> Iterator[tuple[Story, State]]:
    found: list[tuple[Story, State]] = []
    for name, versions in (("first", ("1",)), ("update", ("1", "2", "3"))):
        (folder / name).mkdir()
        story = tell(publisher(folder / name, url), folder / name, *versions)
        distinct = Distinct()
        found += [(story, s) for s in story.states() if distinct.is_new(s, story.state_dir)]
        result.operations += len(story.ops)
        result.disks += distinct.seen
        result.distinct += distinct.new
    random.Random(seed).shuffle(found)
    yield from found


def _try(story: Story, state: State, to: Path) -> str:
    """Start the real agent on a disk; gives what is wrong, if anything is."""
    shutil.rmtree(to, ignore_errors=True)
    try:
        status = story.moved(state, to).run_once()
    except StorageFailed as exc:
        return f"{exc.reason}: {exc}"
    is_there = status.active is not None and status.active.version == story.version
    is_well = status.state is Phase.COMMITTED or status.reason == "up_to_date"
    return "" if is_there and is_well else f"{status.state} ({status.reason}) {status.detail}"


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.cuts")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = run(options.minutes, options.seed)
    sys.stdout.write("\n".join([result.text(), *result.failures]) + "\n")
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
