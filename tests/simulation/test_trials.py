"""Trials on a bad day: no good release is rolled back, no bad one is committed, none is too short.

Clocks jump, the agent is stopped in order, machines reboot, sleep and stand still, workers fork,
applications are restarted, run by clocks of their own, send requests that no model takes, and get
no processor for a while. A failure prints the command that replays its seed. More:
`python -m tests.simulation --trials 1000`, and `make soak`.
"""

from __future__ import annotations

import pytest

from tests.simulation.trial_app import Nature
from tests.simulation.trial_sweep import sweep_trials
from tests.simulation.trial_world import TrialWorld

TRIALS = 120
KINDS = ("clock jumps", "stops in order", "reboots in order", "sleeps", "freezes", "forks",
         "restarts of the application in order", "stalls", "busy spells")  # fmt: skip


@pytest.mark.timeout(300)
def test_whatever_happens_a_trial_ends_as_its_release_deserves() -> None:
    total = sweep_trials(range(TRIALS))

    assert not total.failures, "\n".join(total.failures)
    # What is not tried proves nothing.
    assert min(total.good, total.bad) > TRIALS // 3
    assert {kind for kind, _ in total.ended} == {nature.value for nature in Nature}
    for kind in KINDS:
        assert total.happened[kind] >= TRIALS // 10, f"{kind}: {total.happened[kind]}"


def test_a_seed_gives_the_same_trial_each_time() -> None:
    def story() -> list[str]:
        lines: list[str] = []
        TrialWorld(3, lines.append).run()
        return lines

    first = story()

    assert len(first) > 3
    assert story() == first
