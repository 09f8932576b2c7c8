"""Brokers that lie, one a seed, against a device that has an honest one beside: what it costs.

    python -m tests.soak.hostile [--seeds N] [--seed FIRST] [--workers N]

The device's budgets are the small ones of `tests.support.attacked_device`, so that each seed takes
a second or two. Every lie of every packet type comes up in turn.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.attacked_device import (
    CONNECTIONS_MAX,
    MEMORY_MAX_BYTES,
    RECEIVED_MAX_BYTES,
    SENT_MAX_BYTES,
    SYNCS_MAX,
    Cost,
    Honest,
    attack,
    honest_broker,
)
from tests.support.hostile_broker import drawn_plan

_FAILURES_MAX: Final = 5
_BATCH: Final = 8


@dataclass(slots=True)
class Result:
    """What came of it."""

    seeds: int = 0
    most: Cost = field(default_factory=Cost)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, seed: int, cost: Cost) -> None:
        """Count one seed."""
        self.seeds += 1
        for name in ("memory_bytes", "received_bytes", "sent_bytes", "syncs", "connections"):
            setattr(self.most, name, max(getattr(self.most, name), getattr(cost, name)))
        self.reasons.update(cost.reasons)
        excesses = cost.excesses()
        if excesses:
            self.failures.append(f"seed {seed}, {drawn_plan(seed)}: {'; '.join(excesses)}")

    def text(self) -> str:
        """Say it in a line: of each figure the most that any seed cost, and the bound."""
        most = self.most
        reasons = ", ".join(f"{word} {count}" for word, count in sorted(self.reasons.items()))
        figures = (
            f"{most.memory_bytes / 1e6:.1f} MB of memory (bound {MEMORY_MAX_BYTES / 1e6:.1f})",
            f"{most.received_bytes / 1e6:.2f} MB received ({RECEIVED_MAX_BYTES / 1e6:.2f})",
            f"{most.sent_bytes} bytes sent ({SENT_MAX_BYTES})",
            f"{most.syncs} fsyncs ({SYNCS_MAX})",
            f"{most.connections} connections ({CONNECTIONS_MAX})",
        )
        said = f"hostile brokers: {self.seeds} seeds; at most {', '.join(figures)}"
        return f"{said}; ended by {reasons}; {len(self.failures)} failed"


def run(seconds: float, first: int, seeds: int = 10**9, workers: int = 2) -> Result:
    """Try seeds until the time is over, or there were so many.

    Args:
        seconds: the time.
        first: seed.
        seeds: how many at most.
        workers: devices at once.
    """
    until_s, result = time.monotonic() + seconds, Result()
    with tempfile.TemporaryDirectory(prefix="slotcast-hostile-") as name:
        folder = Path(name)
        with honest_broker(folder) as honest, ThreadPoolExecutor(workers) as pool:
            at = first
            while at < first + seeds and time.monotonic() < until_s:
                batch = range(at, min(at + _BATCH, first + seeds))
                at = batch.stop
                for seed, cost in zip(
                    batch, pool.map(lambda seed: _one(honest, folder, seed), batch), strict=True
                ):
                    result.add(seed, cost)
                if len(result.failures) >= _FAILURES_MAX:
                    break
    return result


def _one(honest: Honest, folder: Path, seed: int) -> Cost:
    protocol = ("5", "3.1.1")[seed % 2]
    return attack(honest, folder / str(seed), drawn_plan(seed), seed=seed, protocol=protocol)


def main() -> int:
    """Run what the command line asks for; 1 after a failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.hostile", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    result = run(1e9, options.seed, options.seeds, options.workers)
    print("\n".join([result.text(), *result.failures]))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main())
