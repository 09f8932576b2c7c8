"""Many runs of a simulation, each from its own seed, and what happened in them added up."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Total:
    """What many runs saw.

    Attributes:
        what: what was run, for people.
        seeds: how many of it.
        seen: how often what happened in them.
        failures: what a seed broke, with the command that replays it.
    """

    what: str
    seeds: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Say it in lines."""
        lines = [f"{self.what}: {self.seeds}, failed: {len(self.failures)}"]
        lines += [f"  {name}: {self.seen[name]:,.0f}" for name in sorted(self.seen)]
        return "\n".join(lines + self.failures)


def run_seeds(
    run: Callable[[int], Mapping[str, float]],
    seeds: Iterable[int],
    *,
    what: str,
    command: str,
    failures_max: int,
) -> Total:
    """Run seeds until they end, or until so many failed.

    Args:
        run: runs one, and gives how often what happened.
        seeds: which.
        what: what is run, for people.
        command: what replays a seed that is written behind it.
        failures_max: after so many nothing more is run.
    """
    total = Total(what)
    for seed in seeds:
        total.seeds += 1
        try:
            total.seen.update(run(seed))
        except Exception as exc:  # noqa: BLE001 - whatever breaks a run, its seed must be said
            where = "".join(traceback.format_exception(exc)[-3:-1])
            total.failures.append(f"{command} {seed}\n  {type(exc).__name__}: {exc}\n{where}")
            if len(total.failures) >= failures_max:
                break
    return total
