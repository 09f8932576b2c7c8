"""The long sweeps: `make soak`, or `make soak ARGS="--minutes 5 --only simulation"`.

Goes round until the time is over: new seeds of the simulation, of trials and of rollouts, each fuzz
target for a while, more disks after power cuts, more kills, more starts. The first failure of a
kind ends the run with 1, and says how to see it again. What was done is said at the end, in lines
that docs/reliability.md quotes.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fleet_simulation import sweep as fleet_sweep
from tests.simulation import sweep as device_sweep
from tests.simulation.trial_sweep import sweep_trials
from tests.soak import api, cuts, hostile, starts
from tests.soak.fuzzing import TARGETS
from tests.support.sweeps import Total

_RUNS: Final = re.compile(r"Done (\d+) runs")
ROOT: Final = Path(__file__).resolve().parents[2]
_BATCH_SEEDS: Final = 50
_BATCH_TRIALS: Final = 20
_BATCH_ROLLOUTS: Final = 50
ROLLOUTS_MIN: Final = 10_000
"""Invented fleets in the first turn of a whole soak, on all cores, however long they take."""
_WHOLE_S: Final = 900.0
"""The seconds that are left at the beginning of a whole soak, at least."""
STARTS: Final = 200
"""In a turn, as long as there is time."""


@dataclass(slots=True)
class Soak:
    """One soak: what was done, and what failed."""

    first_seed: int
    until_s: float
    simulation: Total = field(default_factory=lambda: Total(device_sweep.WHAT))
    trials: int = 0
    rollouts: Total = field(default_factory=lambda: Total(fleet_sweep.WHAT))
    fuzzed: Counter[str] = field(default_factory=Counter)
    cuts: list[cuts.Result] = field(default_factory=list)
    asked: int = 0
    kills: int = 0
    arm: str = ""
    stories: list[str] = field(default_factory=list)
    starts: list[starts.Result] = field(default_factory=list)
    hostile: list[hostile.Result] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def left_s(self, at_most_s: float) -> float:
        """Give how long something may take that should take so long."""
        return max(0.0, min(at_most_s, self.until_s - time.monotonic()))

    def simulate(self, turn: int, share_s: float) -> None:
        """Run new seeds for a while."""
        del turn
        end_s = time.monotonic() + self.left_s(share_s)
        while time.monotonic() < end_s and not self.failures:
            first = self.first_seed + self.simulation.seeds
            total = device_sweep.sweep(range(first, first + _BATCH_SEEDS))
            self.simulation.seeds += total.seeds
            self.simulation.seen.update(total.seen)
            self.failures += total.failures

    def try_out(self, turn: int, share_s: float) -> None:
        """Run new trials with an application for a while."""
        del turn
        end_s = time.monotonic() + self.left_s(share_s)
        while time.monotonic() < end_s and not self.failures:
            first = self.first_seed + self.trials
            total = sweep_trials(range(first, first + _BATCH_TRIALS))
            self.trials += total.good + total.bad
            self.failures += total.failures

    def roll_out(self, turn: int, share_s: float) -> None:
        """Run new rollouts over invented fleets for a while; in the first turn, ten thousand."""
        is_whole = self.left_s(_WHOLE_S) >= _WHOLE_S
        least = ROLLOUTS_MIN if is_whole and not turn else 0
        end_s = time.monotonic() + self.left_s(share_s)
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as workers:
            while not self.failures and (self.rollouts.seeds < least or time.monotonic() < end_s):
                first = self.first_seed + self.rollouts.seeds
                cores = os.cpu_count() or 1
                begins = range(first, first + cores * _BATCH_ROLLOUTS, _BATCH_ROLLOUTS)
                batches = [range(begin, begin + _BATCH_ROLLOUTS) for begin in begins]
                for total in workers.map(fleet_sweep.sweep, batches):
                    self.rollouts.seeds += total.seeds
                    self.rollouts.seen.update(total.seen)
                    self.failures += total.failures

    def fuzz(self, turn: int, share_s: float) -> None:
        """Give each target a part of the time."""
        for target in TARGETS:
            seconds = int(self.left_s(share_s / len(TARGETS)))
            if seconds < 1 or self.failures:
                return
            options = [f"-max_total_time={seconds}", f"-seed={self.first_seed + turn + 1}"]
            command = [sys.executable, "-m", "tests.soak.fuzzing", target, *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = _RUNS.search(done.stderr)
            self.fuzzed[target] += int(found[1]) if found else 0
            if done.returncode:
                self.failures.append(f"{' '.join(command)}\n{done.stderr[-3000:]}")

    def ask_api(self, turn: int, share_s: float) -> None:
        """Ask the page's API for whatever its document allows, and what it nearly does."""
        result = api.run(self.left_s(share_s), self.first_seed + 1000 * turn)
        self.asked += result.sent
        self.failures += [f"python -m tests.soak.api\n{text}" for text in result.failures]

    def cut(self, turn: int, share_s: float) -> None:
        """Give recovery, once, every disk that power cuts left, and the agent more of them."""
        if not turn:
            fault = cuts.recover_all()
            self.failures += [fault] if fault else []
        result = cuts.run(self.left_s(share_s) / 60, self.first_seed + turn)
        self.cuts.append(result)
        self.failures += [f"python -m tests.soak.cuts\n{text}" for text in result.failures]

    def kill(self, turn: int, share_s: float) -> None:
        """Kill the device more often than `make test` does."""
        kills = max(10, int(self.left_s(share_s) / 2.4))  # one in transfer, one on trial
        told = {"SLOTCAST_KILLS": str(kills), "SLOTCAST_SEED": str(self.first_seed + turn)}
        crash = Path(__file__).parent.parent / "crash"
        tests = [str(crash / f"test_kill_{name}.py") for name in ("nine", "on_trial")]
        command = [sys.executable, "-m", "pytest", "-q", *tests]
        done = subprocess.run(
            command, env=os.environ | told, capture_output=True, text=True, check=False
        )
        self.kills += 2 * kills
        if done.returncode:
            said = " ".join(f"{name}={value}" for name, value in told.items())
            self.failures.append(f"{said} {' '.join(command)}\n{done.stdout[-3000:]}")

    def tell_canary_stories(self, turn: int, share_s: float) -> None:
        """Tell the canary story with 200 devices and many kills, once: it takes minutes."""
        del share_s
        if turn:
            return
        for told in (["--kills", "20"], ["--kills", "3", "--serves", "2", "--postgresql"]):
            command = [sys.executable, "-m", "tests.support.canary_story", "--devices", "200"]
            command += ["--percent", "5", "--seed", str(self.first_seed), *told]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            self.stories.append(done.stdout.strip())
            if done.returncode:
                self.failures.append(f"{' '.join(command)}\n{done.stderr[-3000:]}")

    def start(self, turn: int, share_s: float) -> None:
        """Start a device of eight models often enough for a crash that is rare."""
        del turn, share_s
        result = starts.run(STARTS, self.until_s)
        self.starts.append(result)
        self.failures += [f"python -m tests.soak.starts\n{text}" for text in result.failures]

    def lie(self, turn: int, share_s: float) -> None:
        """Have devices meet brokers that lie."""
        del turn
        first = self.first_seed + sum(result.seeds for result in self.hostile)
        result = hostile.run(self.left_s(share_s), first)
        self.hostile.append(result)
        self.failures += [f"python -m tests.soak.hostile\n{text}" for text in result.failures]

    def emulate(self, turn: int, share_s: float) -> None:
        """Run whole updates on an emulated aarch64, once: each soak would do the same again."""
        del share_s
        if turn:
            return
        done = subprocess.run(
            ["tests/arm/run"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        self.arm = f"aarch64: {done.stdout.count('ok   ')} observations"
        if done.returncode in {69, 77}:
            self.arm = f"aarch64: not run: {done.stderr.strip().splitlines()[-1]}"
        elif done.returncode:
            self.failures.append(f"make arm\n{done.stdout[-3000:]}{done.stderr[-1000:]}")

    def text(self) -> str:
        """Say what was done."""
        fuzzed = ", ".join(f"{name} {runs:,}" for name, runs in sorted(self.fuzzed.items()))
        lines = [f"first seed {self.first_seed}", self.simulation.text()]
        lines.append(f"trials with an application: {self.trials}")
        lines += [self.rollouts.text()] if self.rollouts.seeds else []
        lines += [f"requests to the API: {self.asked:,}"] if self.asked else []
        lines += [result.text() for result in self.cuts]
        lines += [result.text() for result in self.starts]
        lines += [result.text() for result in self.hostile]
        lines += [self.arm] if self.arm else []
        lines += [f"canary story: {text}" for text in self.stories if text]
        lines += [f"kill -9: {self.kills}", f"fuzzed: {sum(self.fuzzed.values()):,} ({fuzzed})"]
        return "\n".join([*lines, *self.failures])


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int(time.time()) * 1000)
    parser.add_argument(
        "--only",
        choices=[
            "simulation",
            "trials",
            "rollouts",
            "fuzz",
            "api",
            "cuts",
            "kills",
            "canary",
            "starts",
            "hostile",
            "arm",
        ],
        default=None,
    )
    options = parser.parse_args()
    soak = Soak(options.seed, time.monotonic() + options.minutes * 60)
    kinds: Mapping[str, Callable[[int, float], None]] = {
        "simulation": soak.simulate,
        "trials": soak.try_out,
        "rollouts": soak.roll_out,
        "fuzz": soak.fuzz,
        "api": soak.ask_api,
        "cuts": soak.cut,
        "kills": soak.kill,
        "canary": soak.tell_canary_stories,
        "starts": soak.start,
        "hostile": soak.lie,
        "arm": soak.emulate,
    }
    chosen = [kinds[options.only]] if options.only else list(kinds.values())
    share_s = max(20.0, min(150.0, options.minutes * 60 / len(chosen)))
    for turn in itertools.count():
        for do in chosen:
            if soak.left_s(share_s) > 1 and not soak.failures:
                do(turn, share_s)
        if soak.left_s(share_s) <= 1 or soak.failures or options.only in {"arm", "canary"}:
            break
    print(soak.text())
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
