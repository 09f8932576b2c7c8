"""Where a rollout stands, closely: distributions old beside new, failures with one device's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.observations import Device
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.fleet.steering.evidence import (
    REASONS_MAX,
    failures_of_group,
    figures_of_group,
)
from slotcast_publisher.fleet.steering.overview import overview
from slotcast_publisher.fleet.steering.overview_types import NOT_LET_IN, RolloutView
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.status import Check, Evidence
from slotcast_schemas.states import State
from tests.support.latencies import histogram
from tests.support.rollouts import status_of
from tests.support.steering import SteeredFleet

PLAN = """
model = "clf"
version = "2"
name = "r1"
soak_s = 3600
[[groups]]
name = "canary"
percent = 50
[[groups]]
name = "everyone"
"""


@pytest.fixture
def world(released: Path, tmp_path: Path) -> SteeredFleet:
    shutil.copytree(released, tmp_path / "repo")
    world = SteeredFleet(tmp_path / "repo", 60)
    for number, sim in enumerate(world.sims):
        sim.tags["board"] = "rev-b" if number % 3 == 0 else "rev-c"
    return world


def look(world: SteeredFleet) -> RolloutView:
    now_s = world.clock.now_s
    return overview(
        Repository(world.path, now_s=world.clock), world.files, "r1", world.devices(), 7, now_s
    )


def reports(world: SteeredFleet, slow_s: float) -> None:
    """Have every device report both releases; the new one takes `slow_s` with board rev-b."""
    for sim in world.sims:
        new_s = slow_s if sim.tags["board"] == "rev-b" else 0.01
        world.figures[sim.id] = {
            sequence: ReleaseFigures(
                requests=1000, latency=histogram(median_s), memory_bytes=2_000_000 * sequence
            )
            for sequence, median_s in ((1, 0.01), (2, new_s))
        }


def test_a_pause_shows_the_limits_that_led_to_it_and_where_it_is_slow(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.turns(2)
    reports(world, slow_s=0.04)
    world.until("r1", RolloutState.PAUSED)

    view = look(world)

    limits = {(limit.group, limit.limit): limit for limit in view.limits}
    p95 = limits["canary", "max_latency_p95_ratio"]
    memory = limits["canary", "max_memory_ratio"]
    assert p95.broken
    assert p95.low is not None
    assert p95.high is not None
    assert p95.low < p95.value < p95.high
    assert not memory.broken
    assert memory.value == pytest.approx(2.0)
    assert (memory.low, memory.high) == (2.0, 2.0)  # looked at though it holds
    (figures,) = view.figures
    assert figures.group == "canary"
    assert figures.old is not None
    assert figures.old.devices == figures.new.devices == view.groups[0].committed
    assert figures.new.p95_s is not None
    assert figures.old.p95_s is not None
    assert figures.new.p95_s > 2 * figures.old.p95_s
    assert sum(figures.new.counts) == figures.new.requests
    assert {(tag.value, tag.is_found) for tag in figures.slow} == {
        ("rev-b", True),
        ("rev-c", False),
    }
    assert view.before == "1"
    assert view.whole_bytes > 50_000


def test_groups_say_who_is_let_in_and_who_is_not(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.until("r1", RolloutState.RUNNING)
    world.turns(3)

    view = look(world)

    canary, everyone = view.groups
    assert canary.states == {"COMMITTED": canary.let_in}
    assert everyone.states == {NOT_LET_IN: everyone.members}
    assert canary.members + everyone.members == len(world.sims)
    # What is kept of it is what is read back.
    assert msgspec.json.decode(msgspec.json.encode(view), type=RolloutView) == view


def failed(name: str, reason: str, since: int, checks: tuple[Check, ...] = ()) -> Device:
    status = status_of(State.FAILED, reason, runs=1)
    evidence = Evidence(sequence=3, checks=checks) if checks else None
    status = msgspec.structs.replace(status, since=since, evidence=evidence)
    return Device(name, 0, tags={"site": "7"}, status=status)


def test_failures_are_told_by_reason_with_the_device_that_failed_last() -> None:
    check = Check(name="golden", passed=False, value=1.7, limit=1.0)
    devices = [
        failed("a", "golden_mismatch", 100, (check,)),
        failed("b", "golden_mismatch", 300, (check,)),
        failed("c", "disk_full", 200),
        failed("d", "canceled", 200),  # says nothing of the release
    ]

    first, second = failures_of_group("canary", devices, 3, "r1")

    assert (first.reason, first.devices, first.device) == ("golden_mismatch", 2, "b")
    assert (first.first_s, first.last_s) == (100, 300)
    assert first.evidence is not None
    assert first.evidence.checks == (check,)
    assert first.actor == "the model's authors"
    assert (second.reason, second.evidence) == ("disk_full", None)


def test_a_word_for_each_device_as_the_reason_is_bounded() -> None:
    devices = [failed(f"d{n}", f"word_{n}", n) for n in range(1000)]

    assert len(failures_of_group("canary", devices, 3, "r1")) == REASONS_MAX


def test_a_fleet_whose_devices_never_ran_the_release_before_has_no_old_beside_new() -> None:
    new = {3: ReleaseFigures(requests=10, latency=histogram(0.01, 10))}
    devices = [Device("a", 0, status=status_of(State.COMMITTED, "committed", runs=3), figures=new)]

    found = figures_of_group("canary", devices, 3, 0.95)

    assert found is not None
    assert (found.old, found.new.requests, found.slow) == (None, 10, ())
    assert figures_of_group("canary", [Device("b", 0)], 3, 0.95) is None
