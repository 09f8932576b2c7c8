"""Many runs, and what happened in them added up."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.fleet_simulation.world import World


@dataclass(slots=True)
class Total:
    """What many runs saw.

    Attributes:
        failures: what a seed broke, with the command that replays it.
    """

    seeds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Say it in lines."""
        lines = [f"rollouts simulated: {self.seeds}, failed: {len(self.failures)}"]
        lines += [f"  {name}: {self.seen[name]:,.0f}" for name in sorted(self.seen)]
        return "\n".join(lines + self.failures)


def sweep(seeds: Iterable[int], *, failures_max: int = 5) -> Total:
    """Run seeds until they end, or until so many failed."""
    total = Total()
    for seed in seeds:
        total.seeds += 1
        try:
            counts = World(seed).run()
        except Exception as exc:  # noqa: BLE001 - whatever breaks a run, its seed must be said
            total.failures.append(
                f"python -m tests.fleet_simulation --seed {seed}\n  {type(exc).__name__}: {exc}"
            )
            if len(total.failures) >= failures_max:
                break
            continue
        total.seen.update(dataclasses.asdict(counts))
    return total
