"""Many simulated trials, and what became of them: `python -m tests.simulation --trials 1000`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.simulation.trial_app import Nature
from tests.simulation.trial_world import TrialWorld, Unjust


@dataclass(slots=True)
class TrialTotal:
    """What many trials saw.

    Attributes:
        good, bad: how many there were of each.
        ended: how often each kind of release ended how, and why.
        failures: what a seed broke, with the command that replays it.
    """

    good: int = 0
    bad: int = 0
    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    happened: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Say it in lines."""
        of_each = f"trials of good releases: {self.good}, of bad ones: {self.bad}"
        lines = [f"{of_each}, failed: {len(self.failures)}"]
        lines += [f"  {what}: {n:,}" for what, n in sorted(self.happened.items())]
        lines += [f"  a release that {kind}: {how} {n:,}" for (kind, how), n in self._rows()]
        return "\n".join(lines + self.failures)

    def _rows(self) -> list[tuple[tuple[str, str], int]]:
        return sorted(self.ended.items())


def sweep_trials(seeds: Iterable[int], *, failures_max: int = 10) -> TrialTotal:
    """Run seeds until they end, or until so many failed."""
    total = TrialTotal()
    for seed in seeds:
        world = TrialWorld(seed)
        try:
            world.run()
        except Unjust as exc:
            total.failures.append(f"python -m tests.simulation --trial {seed}\n  {exc}")
        total.good += world.nature is Nature.GOOD
        total.bad += world.nature is not Nature.GOOD
        total.happened.update(world.counts.happened)
        total.ended[world.nature.value, f"{world.counts.ended} ({world.counts.reason})"] += 1
        if len(total.failures) >= failures_max:
            break
    return total
