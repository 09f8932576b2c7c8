"""Some hundred runs of the real cores on a bad day, each from its own seed.

As many as notice every line that tests/soak/breaks breaks. A failure prints the command that
replays its seed, line by line. Longer: `make soak`.
"""

from __future__ import annotations

import pytest

from tests.simulation.sweep import sweep
from tests.simulation.world import World

pytestmark = pytest.mark.usefixtures("quick_probes")

SEEDS = 400


def test_whatever_happens_every_model_ends_with_its_release_committed() -> None:
    total = sweep(range(SEEDS))

    assert not total.failures, "\n".join(total.failures)
    # What is not tried proves nothing: every kind of fault must have happened, often.
    for kind in (
        *("power cuts, nothing_unsynced", "power cuts, torn", "power cuts, names_without_data"),
        *("kills", "links", "restarts", "wiped", "full", "errors", "spoiled", "jumps"),
        *("stops", "trials", "delta_waits"),
        *("wants", "dropped", "duplicates", "lost"),
    ):
        assert total.seen[kind] >= SEEDS // 10, f"{kind}: {total.seen[kind]}"


def test_a_seed_gives_the_same_story_each_time() -> None:
    def story() -> list[str]:
        lines: list[str] = []
        World(3, lines.append).run()
        return lines

    first = story()

    assert len(first) > 10
    assert story() == first
