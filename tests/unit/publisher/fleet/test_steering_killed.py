"""Steering is killed at any moment, loses its lease, or runs twice: each step is signed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_schemas.messages.offer import Offer
from tests.support.steering import PLAN, Killed, SteeredFleet, signed_words


class Killer:
    """Kills at the n-th of the moments between which something is durable or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
        self.left = at
        for owner, name in (
            ("slotcast_publisher.fleet.steering.rollout_files.RolloutFiles", "save_record"),
            ("slotcast_publisher.fleet.steering.rollout_files.RolloutFiles", "answer"),
            ("slotcast_publisher.repository.Repository", "sign"),
            ("slotcast_publisher.trust.role_signing.Roles", "set_offer"),
            ("slotcast_publisher.trust.role_signing.Roles", "renew"),
            ("tests.support.steering.Announced", "announce"),
        ):
            monkeypatch.setattr(f"{owner}.{name}", self._around(owner, name))

    def _around(self, owner: str, name: str) -> Callable[..., Any]:
        module, _, kind = owner.rpartition(".")
        work = getattr(getattr(__import__(module, fromlist=[kind]), kind), name)

        def around(*args: Any, **kwargs: Any) -> Any:
            self.moment()
            result = work(*args, **kwargs)
            self.moment()
            return result

        return around

    def moment(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed


@pytest.mark.parametrize("at", range(1, 46, 4))
def test_killed_at_any_moment_no_step_is_lost_and_none_is_signed_twice(
    world: SteeredFleet, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    offers: list[str] = []
    from slotcast_publisher import notice

    sign_offer = notice.sign_offer

    def counted(store: Any, roles: Any, offer: Offer) -> None:
        before = roles.signed_offer(offer.model)
        try:
            sign_offer(store, roles, offer)
        finally:
            if roles.signed_offer(offer.model) != before:
                offers.append(repr((offer.version, offer.state, offer.groups, offer.attempt)))

    monkeypatch.setattr("slotcast_publisher.signed_offers.sign_offer", counted)
    killer = Killer(monkeypatch, at)
    world.start(PLAN)
    for _ in range(200):
        try:
            if world.record("r1").state is RolloutState.FINISHED:
                break
            world.turn()
        except Killed:
            world.fleet.holder = ""  # its lease runs out
            world.steering = world.process(f"after {at}")
    world.turns(5)

    assert killer.left <= 0, "the moment never came"
    assert world.record("r1").state is RolloutState.FINISHED
    assert len(offers) == len(set(offers)) == 3
    assert {sim.runs for sim in world.sims} == {2}
    assert not world.steering.repo.is_half_signed("clf")


def test_who_has_lost_the_lease_signs_nothing(world: SteeredFleet) -> None:
    world.start(PLAN)
    world.turns(3)
    world.fleet.holder = "second"
    before = world.steering.repo.present_offer("clf")
    world.turns(10)
    assert world.steering.repo.present_offer("clf") == before
    assert world.record("r1").state is not RolloutState.RUNNING


def test_a_lease_that_is_lost_while_it_looks_is_noticed_before_anything_is_written(
    world: SteeredFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.start(PLAN)
    devices = world.fleet.devices_now

    def stolen() -> Any:
        world.fleet.holder = "second"
        return devices()

    world.fleet.devices_now = stolen
    world.turns(10)
    assert world.record("r1").state is RolloutState.DRAFT
    assert [asked.outcome for asked in world.files.requests("r1")] == [None]


def test_two_processes_that_both_believe_they_may_sign_each_step_once(world: SteeredFleet) -> None:
    """Even if the lease says yes to both: what one has decided makes the other look anew."""
    from tests.support.steering import FleetFor

    class Both(FleetFor):
        def hold_lease(self, now_s: float) -> bool:
            world.fleet.holder = self.name
            return True

    other = world.process("second")
    world.steering.fleet = Both(world.fleet, "first")
    other.fleet = Both(world.fleet, "second")
    world.start(PLAN)
    for _ in range(100):
        world.turn()
        other.look(world.clock.now_s)
    assert world.record("r1").state is RolloutState.FINISHED
    assert len(signed_words(world)) == 3
