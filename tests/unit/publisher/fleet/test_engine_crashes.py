"""Rollouts, told as stories: what dies or is lost on the way, and clocks that jump."""

from __future__ import annotations

import msgspec
import pytest

from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.look_results import SignOffer
from slotcast_publisher.fleet.rollout.observations import Now
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.record import new_record
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from tests.support.rollouts import CANARY, NEW, OLD, REST, Story, fleet, plan_of, sign, story

G = GroupState


# --- crashes ------------------------------------------------------------------------------------


def test_a_process_that_dies_before_it_signs_signs_after() -> None:
    s = story()
    s.looks(3)
    s.ask(Wish.START)
    died = look(s.plan, s.record, s.seen, Now(s.now_s + 60))
    s.record = died.record  # durable; and then it died
    s.look(3600)
    s.looks(3)
    assert len(s.signed) == 1
    assert s.let_in() == ["d0", "d1"]


def test_a_record_that_is_lost_is_made_anew_from_plan_and_offer() -> None:
    s = story()
    s.start()
    s.commit()
    s.looks(8)
    assert s.states() == {"canary": G.PASSED, "rest": G.RUNNING}
    s.record = new_record(s.plan)
    found = s.look()
    assert s.states() == {"canary": G.PASSED, "rest": G.RUNNING}
    assert not found.decisions

    s.ask(Wish.PAUSE)
    s.look()
    s.record = new_record(s.plan)
    s.looks(5)
    assert (s.state(), s.offer.state) == (RolloutState.PAUSED, "paused")
    assert s.record.pause is not None
    assert s.record.pause.by == "offer"


def test_without_a_database_the_fleet_is_heard_before_anything_opens_or_passes() -> None:
    s = story("soak_s = 0\n" + CANARY + REST)
    s.start()
    everyone = dict(s.devices)
    s.record = new_record(s.plan)
    s.commit("d0")
    s.devices = {"d0": s.devices["d0"]}  # the first status of many that the broker retains
    assert "devices to be heard, for 120 s more" in s.look().waits_for
    s.devices = everyone | s.devices
    s.looks(10)
    assert s.states() == {"canary": G.RUNNING, "rest": G.WAITING}


def test_a_release_that_is_gone_from_the_repository_passes_no_group() -> None:
    s = story('[[groups]]\nname = "all"\n')
    s.start()
    s.releases = {}
    found = s.looks(60)
    assert found.waits_for[0] == "the release 2.0, which is not in the repository"
    assert s.state() is RolloutState.RUNNING


def test_an_old_copy_of_the_record_closes_nothing_that_is_open_and_resumes_nothing() -> None:
    s = Story(plan_of('max_under_way = 3\n[[groups]]\nname = "all"\n'), fleet(30, canaries=0))
    s.start()
    old = s.record
    for _ in range(4):
        s.commit()
        s.looks(1)
    percent = s.record.groups[0].percent
    s.record = old
    s.look()
    assert s.record.groups[0].percent >= percent
    assert all(
        earlier.groups[0].percent is None
        or later.groups[0].percent is None
        or earlier.groups[0].percent <= later.groups[0].percent
        for earlier, later in zip(s.signed, s.signed[1:], strict=False)
    )
    s.ask(Wish.PAUSE)
    s.look()
    s.record = old
    s.looks(3)
    assert s.state() is RolloutState.PAUSED


def test_a_resume_that_was_made_durable_survives_a_death_before_it_was_signed() -> None:
    s = story()
    s.start()
    s.ask(Wish.PAUSE)
    s.look()
    s.ask(Wish.RESUME)  # durable; the process dies, and starts again
    s.look(7200)
    assert s.state() is RolloutState.RUNNING
    assert s.offer.state == "active"


def test_offers_by_hand_pause_and_newer_ones_stop() -> None:
    s = story()
    s.start()
    wanted = msgspec.structs.replace(s.offer, deployment="by-hand", issued=s.now_s + 5)
    s.offer = wanted
    assert "by hand" in s.look().waits_for[0]
    assert s.state() is RolloutState.PAUSED
    s.offer = msgspec.structs.replace(wanted, version="3.0", sequence=9)
    found = s.look()
    assert s.state() is RolloutState.STOPPED
    assert not found.decisions


# --- clocks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [86_400 * 365, -86_400])
def test_a_clock_that_jumps_passes_no_group_and_makes_nobody_unseen(jump_s: int) -> None:
    s = story("soak_s = 3600\nunseen_s = 7200\n" + CANARY + REST)
    s.start()
    s.commit("d0", "d1")
    s.looks(3)
    s.look(jump_s)
    assert s.states()["canary"] is G.SOAKING
    found = s.look()
    assert found.record.groups[0].soaked_s < 400
    rest = story("unseen_s = 7200\n" + CANARY + REST)
    rest.start()
    assert rest.look(jump_s).tallies[0].unseen == 0


def test_a_group_that_loses_its_share_while_it_is_watched_begins_to_be_watched_anew() -> None:
    s = story()
    s.start()
    s.commit()
    s.looks(4)
    s.fail("d0")
    s.looks(1)
    assert s.states()["canary"] is G.RUNNING
    s.commit("d0")
    s.looks(4)
    assert s.states()["canary"] is G.SOAKING


def test_two_devices_of_the_same_group_are_let_in_by_the_devices_own_rule() -> None:
    text = '[[groups]]\nname = "part"\npercent = 30\nsteps = [50, 100]\n' + REST
    s = Story(plan_of(text), fleet(200, canaries=0))
    found = s.start()
    assert found.tallies[0].members == pytest.approx(60, abs=20)
    let_in = {each.id for each in found.tallies[0].let_in}
    assert set(s.let_in()) == let_in
    assert len(let_in) == pytest.approx(30, abs=15)
    wanted = next(d for d in found.decisions if isinstance(d, SignOffer))
    assert sign(wanted.offer, 1).groups[0].percent == pytest.approx(15)
    assert OLD.sequence < NEW.sequence
