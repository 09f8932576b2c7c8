"""A fleet that is offered a release within some time does not ask all at once."""

from __future__ import annotations

import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.spread import wait_left_s
from slotcast_device.core.state import ModelState, Update
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from tests.support.core_story import CONTENT, FACTS, Story, notice, serving

HOUR_S = 3600
OFFERED = notice(2, jitter_s=HOUR_S)


def under_way(state: State, reason: str, since: int = 0) -> Update:
    digest = OFFERED.release_sha256
    return Update(
        version="2.0", sequence=2, release_sha256=digest, state=state, reason=reason, since=since
    )


def wait_of(device: str, state: ModelState | None = None, wall_s: int = 10_000) -> float:
    return wait_left_s(OFFERED, state or serving(), device, wall_s)


def test_devices_are_spread_evenly_over_the_time() -> None:
    waits = sorted(wait_of(f"cam-{number}") for number in range(1000))
    assert all(0 <= wait < HOUR_S for wait in waits)
    quarters = [
        sum(low <= wait < low + HOUR_S / 4 for wait in waits) for low in range(0, 3600, 900)
    ]
    assert all(200 < count < 300 for count in quarters), quarters


def test_another_rollout_has_another_order() -> None:
    other = notice(2, jitter_s=HOUR_S, deployment="second try")
    waits = [wait_of(f"cam-{number}") for number in range(50)]
    others = [wait_left_s(other, serving(), f"cam-{number}", 0) for number in range(50)]
    assert sorted(range(50), key=waits.__getitem__) != sorted(range(50), key=others.__getitem__)


def test_a_device_waits_its_turn_says_so_and_then_begins() -> None:
    story = Story().begun(serving())
    story.offered(OFFERED)
    assert story.words[:2] == ("QUEUED", "spread")
    waited_s, actions = story.wait()
    assert waited_s == pytest.approx(wait_of("cam-1"), abs=0.01)
    assert any(isinstance(action, act.Verify) for action in actions)


def test_a_restart_or_the_notice_again_begins_no_wait_anew() -> None:
    story = Story().begun(serving())
    story.offered(OFFERED)
    half_s = int(wait_of("cam-1") / 2)
    story.pass_s(half_s)
    story.offered(notice(2, jitter_s=HOUR_S, issued=OFFERED.offer.issued + 5))
    left_s = wait_left_s(OFFERED, story.core.state, "cam-1", story.now.wall_s)
    assert left_s == pytest.approx(wait_of("cam-1") - half_s, abs=1)
    again = Story().begun(story.core.state)
    again.pass_s(half_s)
    again.offered(OFFERED)
    assert again.words[:2] == ("QUEUED", "spread")
    again.pass_s(half_s + 2)
    again.tell(ev.Tick())
    again.done(act.NoticeVerified(OFFERED, FACTS))
    assert again.words[0] == "DOWNLOADING"


def test_a_clock_that_ran_back_ends_the_wait() -> None:
    queued = under_way(State.QUEUED, Reason.SPREAD, since=5_000)
    assert wait_of("cam-1", serving(update=queued), wall_s=4_999) == 0


@pytest.mark.parametrize(
    "update",
    [
        under_way(State.DOWNLOADING, Reason.DOWNLOADING),
        under_way(State.FAILED, Reason.CHUNK_CORRUPT),
        under_way(State.QUEUED, Reason.WINDOW),
        under_way(State.REJECTED, Reason.TOO_LARGE),
    ],
    ids=lambda update: f"{update.state.value} {update.reason}",
)
def test_who_has_asked_already_does_not_wait_again(update: Update) -> None:
    assert wait_of("cam-1", serving(update=update)) == 0


def test_a_device_on_which_nothing_serves_does_not_wait() -> None:
    assert wait_of("cam-1", ModelState(model="detector")) == 0
    story = Story().begun()
    story.offered(OFFERED)
    assert story.asked(act.OpenSpool).payload == CONTENT.payload


def test_a_release_that_was_paused_waits_its_turn_when_it_goes_on() -> None:
    story = Story().begun(serving())
    story.offered(notice(2, jitter_s=HOUR_S, state="paused"))
    assert story.words[:2] == ("QUEUED", "paused")
    story.offered(OFFERED)
    assert story.words[:2] == ("QUEUED", "spread")
