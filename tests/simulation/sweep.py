"""Many runs of the simulation, and what happened in them added up."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from tests.simulation.world import World
from tests.support.sweeps import Total, run_seeds

WHAT: Final = "seeds run"
"""What a sum of such runs counts."""


def sweep(seeds: Iterable[int], *, failures_max: int = 5) -> Total:
    """Run seeds until they end, or until so many failed."""
    command = "python -m tests.simulation --seed"
    return run_seeds(_count, seeds, what=WHAT, command=command, failures_max=failures_max)


def _count(seed: int) -> Mapping[str, float]:
    counts = dataclasses.asdict(World(seed).run())
    cuts: dict[str, int] = counts.pop("cuts")
    return {**counts, **{f"power cuts, {how.lower()}": n for how, n in cuts.items()}}
