"""Rollouts, told as stories: what opens when, and at which gates it waits."""

from __future__ import annotations

import dataclasses

import pytest

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.rollout.group_progress import look
from slotcast_publisher.fleet.rollout.look_results import AskGate, PrepareDeltas, SignOffer
from slotcast_publisher.fleet.rollout.observations import GateAnswer, Now
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from slotcast_schemas.states import State
from tests.support.rollouts import (
    CANARY,
    NEW,
    REST,
    STONE,
    TWO_GROUPS,
    Story,
    device,
    fleet,
    plan_of,
    status_of,
    story,
)

G = GroupState


# --- a good day ---------------------------------------------------------------------------------


def test_a_good_release_goes_through_all_groups_and_each_waits_for_the_one_before() -> None:
    s = story()
    assert s.look().waits_for == ("a person to start it",)
    s.start()
    assert s.let_in() == ["d0", "d1"]
    assert s.looks(10).waits_for[0].startswith("canary: 0 of 2 reachable devices have committed")

    s.commit()
    assert "watched for 0 of 300 s" in s.look().waits_for[0]
    s.looks(4)
    assert s.states() == {"canary": G.SOAKING, "rest": G.WAITING}
    s.looks(2)
    assert s.states() == {"canary": G.PASSED, "rest": G.RUNNING}
    assert len(s.let_in()) == 12

    s.commit()
    found = s.looks(7)
    assert s.state() is RolloutState.FINISHED
    assert found.waits_for == ()
    assert found.decisions == ()
    assert len(s.signed) == 2
    assert [word for word in s.words if word in {"opened", "passed", "finished"}] == [
        "opened",
        "passed",
        "opened",
        "passed",
        "finished",
    ]


def test_the_same_look_twice_decides_the_same_and_a_signed_offer_is_not_asked_for_again() -> None:
    s = story()
    s.looks(3)
    s.ask(Wish.START)
    now = Now(s.now_s + 60)
    first = look(s.plan, s.record, s.seen, now)
    again = look(s.plan, s.record, s.seen, now)
    assert first.record == again.record
    assert first.decisions == again.decisions
    assert any(isinstance(d, SignOffer) for d in first.decisions)
    s.look()
    assert not s.look().decisions


def test_nothing_opens_by_a_database_that_was_made_anew_until_devices_are_heard() -> None:
    s = story()
    s.start()
    s.commit()
    s.looks(8)
    assert s.states() == {"canary": G.PASSED, "rest": G.RUNNING}
    s.commit()
    s.knows_since_s = s.now_s + 30
    found = s.look(40)
    assert found.waits_for[0] == "devices to be heard, for 110 s more"
    assert s.record.listening_since_s == s.knows_since_s
    s.looks(2)
    assert s.states()["rest"] is G.SOAKING


def test_a_database_that_was_made_after_now_says_nothing_of_the_time() -> None:
    s = story()
    s.start()
    s.knows_since_s = s.now_s + 10_000  # the clock was set back
    s.commit()
    s.look()
    assert s.states()["canary"] is G.SOAKING


def test_deltas_are_made_for_what_devices_run_before_anybody_is_let_in() -> None:
    s = story(TWO_GROUPS + "\n")
    s.is_prepared = False
    s.say("d5", status_of(State.COMMITTED, "committed", runs=STONE.sequence, target=2))
    found = s.start()
    assert found.decisions == (PrepareDeltas("2.0", ((1, 11), (2, 1))),)
    assert found.waits_for == ("deltas for what devices run",)
    s.is_prepared = True
    s.look()
    assert s.state() is RolloutState.RUNNING


def test_deltas_that_take_too_long_hold_nothing_up() -> None:
    s = story("prepare_s = 100\n" + TWO_GROUPS)
    s.is_prepared = False
    s.start()
    s.looks(2)
    assert s.state() is RolloutState.RUNNING


def test_a_base_that_turns_up_holds_the_next_group_until_its_delta_is_made() -> None:
    s = story("prepare_s = 600\n" + TWO_GROUPS)
    s.start()
    s.commit("d0", "d1")
    s.is_prepared = False  # a device came that runs another release
    found = s.looks(8)
    assert s.states() == {"canary": G.PASSED, "rest": G.WAITING}
    assert "rest: deltas for what devices run" in found.waits_for
    assert any(isinstance(decision, PrepareDeltas) for decision in found.decisions)
    s.is_prepared = True
    s.look()
    assert s.states()["rest"] is G.RUNNING


def test_a_base_that_turns_up_holds_the_next_group_no_longer_than_the_plan_allows() -> None:
    s = story("prepare_s = 600\n" + TWO_GROUPS)
    s.start()
    s.commit("d0", "d1")
    s.is_prepared = False
    s.looks(8)
    assert s.states()["rest"] is G.WAITING
    s.looks(11)
    assert s.states()["rest"] is G.RUNNING


def test_a_device_that_comes_later_falls_into_its_group_by_itself() -> None:
    s = story()
    s.start()
    s.devices["late"] = device("late", ring="canary")
    s.devices["other"] = device("other")
    assert s.let_in() == ["d0", "d1", "late"]
    s.commit("d0", "d1")
    assert s.looks(10).tallies[0].reachable == 3  # it counts, and holds the group up
    assert s.states()["canary"] is G.RUNNING
    s.commit("late")
    s.looks(7)
    assert s.states()["canary"] is G.PASSED


def test_a_group_that_falls_while_devices_are_heard_again_is_watched_anew() -> None:
    """After a gap nothing moves on for a while; what is seen then counts all the same."""
    s = story()
    s.start()
    s.commit()
    s.looks(5)
    assert s.record.groups[0].soaked_s >= 200
    s.devices["late"] = device("late", ring="canary")
    found = s.look(after_s=3600)
    assert found.waits_for[0].startswith("devices to be heard")
    assert s.states()["canary"] is G.RUNNING
    s.commit("late")
    s.looks(6)
    assert s.states()["canary"] is G.SOAKING
    s.looks(3)
    assert s.states()["canary"] is G.PASSED


def test_devices_that_are_not_seen_hold_nothing_up_and_nobody_at_all_does_not_pass() -> None:
    s = story("unseen_s = 600\n" + TWO_GROUPS)
    s.start()
    s.commit("d0")
    for _ in range(25):
        s.heard()
        s.devices["d1"] = dataclasses.replace(s.devices["d1"], seen_s=s.now_s - 60 * 30)
        s.look()
    assert s.states()["canary"] is G.PASSED
    empty = Story(plan_of(TWO_GROUPS), fleet(12, canaries=0))
    empty.start()
    assert "0 of 0 reachable" in empty.looks(50).waits_for[0]
    assert empty.states() == {"canary": G.RUNNING, "rest": G.WAITING}


def test_a_device_that_is_gone_holds_nothing_up_also_where_the_clock_was_set_back() -> None:
    s = story("unseen_s = 600\n" + TWO_GROUPS)
    s.start()
    s.commit("d0")
    gone = s.devices["d1"]
    s.now_s -= 90_000  # a day and an hour
    for _ in range(25):
        s.heard()
        s.devices["d1"] = gone
        s.look()
    assert s.states()["canary"] is G.PASSED


def test_steps_and_cap_let_in_part_of_a_group_and_more_as_devices_end() -> None:
    s = Story(
        plan_of('max_under_way = 4\nsoak_s = 0\n[[groups]]\nname = "all"\nsteps = [50, 100]\n'),
        fleet(40, canaries=0),
    )
    s.start()
    seen: list[int] = []
    for _ in range(60):
        s.heard()
        waiting = [d for d in s.let_in() if not s.devices[d].has_committed(NEW.sequence)]
        assert len(waiting) <= 4
        seen.append(len(s.let_in()))
        if waiting:
            s.commit(waiting[0])
        s.look()
    assert seen == sorted(seen)
    assert s.state() is RolloutState.FINISHED
    assert len(s.signed) <= 2 * 40 / 2 + 2  # half of the cap at a time, not one by one
    assert "step" in s.words


def test_a_window_that_is_closed_lets_nobody_in_and_stops_nothing_that_is_under_way() -> None:
    # START_S is a Monday, 14:13 UTC.
    s = story('windows = ["Mon 15:00-16:00"]\n' + TWO_GROUPS)
    s.looks(3)
    s.ask(Wish.START)
    assert s.look().waits_for == ("canary: its window",)
    assert s.state() is RolloutState.READY
    s.looks(60)
    assert s.state() is RolloutState.RUNNING
    s.looks(70)
    s.commit("d0", "d1")
    assert "rest: its window" in s.looks(10).waits_for
    assert s.states() == {"canary": G.PASSED, "rest": G.WAITING}


# --- gates --------------------------------------------------------------------------------------


GATED = "soak_s = 0\n" + CANARY + "gate = {GATE}\n" + REST


def at_gate(gate: str) -> Story:
    s = story(GATED.replace("{GATE}", gate))
    s.start()
    s.commit()
    s.looks(2)
    assert s.states()["canary"] is G.AT_GATE
    return s


def test_a_gate_of_a_person_is_opened_by_a_person_only_and_not_before_its_time() -> None:
    early = story(GATED.replace("{GATE}", "{ person = true }"))
    early.start()
    with pytest.raises(Conflict, match="canary is RUNNING"):
        early.ask(Wish.OPEN_GATE, group="canary")

    s = at_gate("{ person = true }")
    assert s.looks(50).waits_for == ("canary: person to open its gate",)
    with pytest.raises(Conflict, match="no group 'x'; it has canary, rest"):
        s.ask(Wish.OPEN_GATE, group="x")
    s.ask(Wish.OPEN_GATE, group="canary")
    s.looks(2)
    assert s.states() == {"canary": G.PASSED, "rest": G.RUNNING}


def test_a_command_is_asked_until_it_says_yes_and_a_no_pauses() -> None:
    s = at_gate('{ command = ["check", "it"] }')
    asked = next(d for d in s.look().decisions if isinstance(d, AskGate))
    assert (asked.kind, asked.gate.command) == ("command", ("check", "it"))
    s.answers = [GateAnswer(asked.question, "command", "not_yet")]
    assert s.look().decisions == (asked,)
    s.answers = [
        GateAnswer("r1/0/canary/0", "command", "not_yet", "of an older question"),
        GateAnswer(asked.question, "command", "not_yet", "too many orders"),
    ]
    assert s.look().waits_for == (
        "canary: command says not yet: too many orders",
        "canary: command to open its gate",
    )
    s.answers = [GateAnswer(asked.question, "command", "no", "exit code 1")]
    s.look()
    assert s.record.pause is not None
    assert (s.record.pause.by, s.record.pause.why) == (
        "gate",
        "canary: command says no: exit code 1",
    )
    s.ask(Wish.RESUME)
    s.looks(3)
    again = next(d for d in s.look().decisions if isinstance(d, AskGate))
    assert again.question != asked.question  # the old no does not answer the new question
    s.answers.append(GateAnswer(again.question, "command", "yes"))
    s.looks(2)
    assert s.states()["rest"] is G.RUNNING


def test_all_gates_that_are_given_have_to_agree() -> None:
    s = at_gate('{ command = ["c"], url = "https://gate.example/ok" }')
    question = next(d.question for d in s.look().decisions if isinstance(d, AskGate))
    s.answers = [GateAnswer(question, "url", "yes"), GateAnswer(question, "person", "yes")]
    assert s.looks(5).waits_for == ("canary: command to open its gate",)
