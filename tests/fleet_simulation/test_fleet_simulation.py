"""Some of the invented fleets, each from its own seed; ten thousand and more: `make soak`.

A failure prints the command that replays its seed, line by line.
"""

from __future__ import annotations

from tests.fleet_simulation.sweep import sweep
from tests.fleet_simulation.world import World

SEEDS = 80


def test_whatever_happens_a_rollout_keeps_its_order_and_ends_or_says_what_it_waits_for() -> None:
    total = sweep(range(SEEDS))

    assert not total.failures, "\n".join(total.failures)
    # What is not tried proves nothing: every kind of fault must have happened, often.
    for kind in ("lost", "late", "doubled", "vanished", "joined", "offers", "finished"):
        assert total.seen[kind] >= SEEDS // 4, f"{kind}: {total.seen[kind]}"
    for kind in (
        *("deaths", "jumps", "doubled_requests", "pauses_by_person", "pauses_by_limit"),
        *("verdicts", "stopped", "waiting"),
    ):
        assert total.seen[kind] >= SEEDS // 20, f"{kind}: {total.seen[kind]}"
    assert total.seen["losses"] + total.seen["old_copies"]


def test_a_seed_gives_the_same_story_each_time() -> None:
    def story() -> list[str]:
        lines: list[str] = []
        World(1, lines.append).run()
        return lines

    first = story()

    assert len(first) > 5
    assert story() == first
