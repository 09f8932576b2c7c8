"""Rollouts, told as stories: what stops one, who lets it go on, and stepping stones."""

from __future__ import annotations

import dataclasses

import pytest

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.state_table import GroupState, RolloutState
from tests.support.latencies import histogram
from tests.support.rollouts import (
    CANARY,
    REST,
    STONE,
    TWO_GROUPS,
    Story,
    device,
    fleet,
    plan_of,
    story,
)

G = GroupState


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
