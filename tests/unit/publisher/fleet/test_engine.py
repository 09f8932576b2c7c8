"""Rollouts, told as stories: what opens when, what stops it, who lets it go on, and crashes."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.decisions import AskGate, PrepareDeltas, SignOffer
from slotcast_publisher.fleet.rollout.engine import look
from slotcast_publisher.fleet.rollout.lifecycle import GroupState, RolloutState
from slotcast_publisher.fleet.rollout.observations import GateAnswer, Now
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.record import new_record
from slotcast_schemas.states import State
from tests.support.latencies import histogram
from tests.support.rollouts import (
    CANARY,
    NEW,
    OLD,
    REST,
    STONE,
    Story,
    device,
    fleet,
    plan_of,
    sign,
    status_of,
)

TWO_GROUPS = "soak_s = 300\n" + CANARY + REST
G = GroupState


def story(text: str = TWO_GROUPS, count: int = 12) -> Story:
    return Story(plan_of(text), fleet(count))


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


# --- limits -------------------------------------------------------------------------------------


def test_one_failure_of_three_is_no_verdict_and_twelve_of_forty_is() -> None:
    s = Story(plan_of('[[groups]]\nname = "all"\n'), fleet(200, canaries=0))
    s.start()
    s.commit("d0", "d1")
    s.fail("d2")
    s.look()
    assert s.state() is RolloutState.RUNNING
    s.commit(*(f"d{i}" for i in range(3, 29)))
    s.fail(*(f"d{i}" for i in range(29, 40)))
    s.look()
    assert s.state() is RolloutState.PAUSED
    assert s.record.pause is not None
    assert s.record.pause.why == (
        "max_failed_share in all: 30 % where 5 % is allowed (40 devices; at 0.95 confidence at"
        " least 18.1 %)"
    )
    assert s.offer.state == "paused"
    assert s.let_in() == []


def test_a_hard_count_stops_a_small_fleet_and_whoever_resumes_has_seen_so_many() -> None:
    limits = "[limits]\nstop_after_failures = 2\n"
    s = story(limits + CANARY + REST, count=4)
    s.start()
    s.fail("d0")
    s.look()
    assert s.state() is RolloutState.RUNNING
    s.fail("d1")
    s.look()
    assert s.record.pause is not None
    assert s.record.pause.limits[0] == "*/stop_after_failures"
    s.ask(Wish.RESUME)
    s.looks(3)
    assert s.state() is RolloutState.RUNNING


def test_bad_live_latency_on_a_third_of_the_canaries_pauses_in_the_first_group() -> None:
    s = Story(plan_of(TWO_GROUPS), fleet(40, canaries=10))
    s.start()
    s.commit()
    old = ReleaseFigures(requests=1000, latency=histogram(0.01))
    slow = ReleaseFigures(requests=1000, latency=histogram(0.06))
    for i in range(10):
        s.report(f"d{i}", slow if i < 3 else old, old)
    s.look()
    pause = s.record.pause
    assert pause is not None
    assert pause.by == "limit"
    assert "canary/max_latency_p95_ratio" in pause.limits
    assert (
        "max_latency_p50_ratio in canary: 3 of 10 devices are above 1.50 × by themselves"
        " (5 % of devices allowed)"
    ) in pause.why
    assert s.states() == {"canary": G.PAUSED, "rest": G.WAITING}


def test_devices_that_go_silent_after_the_switch_pause_it_and_a_silent_fleet_does_not() -> None:
    text = "soak_s = 86400\n" + CANARY + REST
    s = Story(plan_of(text), fleet(60, canaries=20))
    s.start()
    s.commit()
    s.look()
    silent = {f"d{i}" for i in range(10)}
    for _ in range(70):
        s.heard()
        for name in silent:
            s.devices[name] = dataclasses.replace(s.devices[name], seen_s=s.signed[0].issued + 60)
        s.look()
    assert s.record.pause is not None
    assert s.record.pause.limits == ("canary/max_silent_share_rise",)

    dark = Story(plan_of(text), fleet(60, canaries=20))
    dark.start()
    dark.commit()
    for _ in range(70):
        dark.look()  # nobody is heard of any more: the broker is gone, not the release bad
    assert dark.state() is RolloutState.RUNNING


def test_a_broken_limit_can_cancel_or_go_back_by_itself() -> None:
    for what, word in (("cancel", "canceled"), ("go_back", "went_back")):
        text = f'on_broken_limit = "{what}"\ngo_back_to = "1.0.post1"\n'
        s = story(text + "[limits]\nstop_after_failures = 1\n" + CANARY + REST)
        s.start()
        s.fail("d0")
        s.look()
        assert s.state() is RolloutState.STOPPED
        assert word in s.words
        assert (s.offer.version, s.offer.state) == (
            ("2.0", "canceled") if what == "cancel" else ("1.0.post1", "active")
        )


# --- persons ------------------------------------------------------------------------------------


def test_what_a_person_paused_stays_paused_until_a_person_resumes() -> None:
    s = story()
    s.start()
    s.ask(Wish.PAUSE, why="lunch")
    s.commit("d0", "d1")
    assert "lunch" in s.looks(100).waits_for[0]
    assert (s.state(), s.offer.state) == (RolloutState.PAUSED, "paused")
    s.ask(Wish.RESUME)
    s.looks(8)
    assert s.states()["canary"] is G.PASSED


def test_a_request_that_comes_twice_counts_once() -> None:
    s = story()
    s.start()
    s.ask(Wish.PAUSE, id="p")
    s.ask(Wish.RESUME, id="r")
    s.ask(Wish.PAUSE, id="p2")
    s.ask(Wish.RESUME, id="r")  # the first one again, late
    assert s.state() is RolloutState.PAUSED


def test_a_limit_that_a_person_accepted_does_not_pause_again_and_another_does() -> None:
    s = Story(plan_of('[[groups]]\nname = "all"\n'), fleet(60, canaries=0))
    s.start()
    s.fail(*(f"d{i}" for i in range(10)))
    s.look()
    s.ask(Wish.RESUME)
    s.looks(5)
    assert s.state() is RolloutState.RUNNING
    assert s.record.accepted == ("all/max_failed_share",)
    for i in range(10, 20):
        s.commit(f"d{i}")
        bad = ReleaseFigures(requests=1000, errors=500)
        s.report(f"d{i}", bad, ReleaseFigures(requests=1000))
    s.look()
    assert s.record.pause is not None
    assert "all/max_error_share" in s.record.pause.limits


def test_cancel_takes_the_offer_back_and_nothing_more_happens() -> None:
    s = story()
    s.start()
    s.ask(Wish.CANCEL, why="wrong model")
    assert s.look().waits_for == ()
    assert (s.offer.state, s.record.why) == ("canceled", "ada: wrong model")
    for wish in (Wish.PAUSE, Wish.RESUME, Wish.RETRY, Wish.START):
        with pytest.raises(Conflict, match="STOPPED"):
            s.ask(wish)
    assert not s.looks(10).decisions


def test_going_back_offers_the_old_content_to_those_that_were_let_in_and_nobody_else() -> None:
    s = story('go_back_to = "1.0.post1"\n' + TWO_GROUPS)
    s.start()
    s.commit("d0")
    s.ask(Wish.GO_BACK)
    s.look()
    assert (s.offer.version, s.offer.sequence, s.offer.state) == ("1.0.post1", 4, "active")
    assert s.let_in() == ["d0", "d1"]
    assert not s.looks(5).decisions


def test_going_back_needs_a_release_that_devices_take() -> None:
    s = story()
    s.start()
    with pytest.raises(Conflict, match="the plan has no go_back_to"):
        s.ask(Wish.GO_BACK)
    s = story('go_back_to = "1.0"\n' + TWO_GROUPS)
    s.start()
    with pytest.raises(Conflict, match=r"sequence 1, and devices refuse what is not above 3"):
        s.ask(Wish.GO_BACK)
    s = story('go_back_to = "0.9"\n' + TWO_GROUPS)
    s.start()
    with pytest.raises(Conflict, match=r"0\.9 is not in the repository"):
        s.ask(Wish.GO_BACK)


def test_retry_has_failed_devices_try_again_and_their_old_failures_do_not_count() -> None:
    s = story("[limits]\nstop_after_failures = 2\n" + CANARY + REST)
    s.start()
    s.fail("d0", "d1")
    s.look()
    assert s.state() is RolloutState.PAUSED
    s.ask(Wish.RETRY)
    s.ask(Wish.RESUME)
    s.look()
    assert (s.offer.attempt, s.offer.deployment) == (2, "r1~2")
    s.looks(3)
    assert s.state() is RolloutState.RUNNING  # what they still say is of the first attempt
    s.fail("d0", "d1", attempt=2)
    s.look()
    assert s.state() is RolloutState.PAUSED


# --- stepping stones ----------------------------------------------------------------------------


def test_a_stone_is_rolled_out_first_and_who_misses_it_is_held_back() -> None:
    s = story('stepping_stones = ["1.5"]\nsoak_s = 0\nsuccess_share = 0.8\n' + REST, count=6)
    s.start()
    assert s.offer.version == "1.5"
    s.commit("d0", "d1", "d2", "d3", "d4", sequence=STONE.sequence)
    s.looks(3)
    assert s.offer.version == "2.0"
    assert list(s.record.behind) == ["d5"]
    assert s.let_in() == ["d0", "d1", "d2", "d3", "d4"]
    s.devices["new"] = device("new")  # an old one that nobody knew of
    s.looks(2)
    assert list(s.record.behind) == ["d5", "new"]
    s.commit()
    s.looks(3)
    assert s.state() is RolloutState.FINISHED


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
