"""A device whose delta is not made yet waits for it a while, and then takes the whole image."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.delta_wait import delta_wait_left_s
from slotcast_device.core.state import ModelState, Update
from slotcast_schemas.messages.offer import Base, Payload
from slotcast_schemas.reasons import Reason
from slotcast_schemas.states import State
from slotcast_schemas.verify import Trusted
from tests.support.core_story import CONTENT, FACTS, SECOND, Story, notice, release_of, serving

WAIT_S = 600


def delta_from(number: int) -> Payload:
    base = release_of(number)
    of = Base(
        sequence=number,
        version=base.version,
        image_sha256=base.image_sha256,
        size_bytes=base.image_size_bytes,
    )
    return msgspec.structs.replace(SECOND.payload, codec="delta+v1", base=of)


def offered(**changes: Any) -> Trusted:
    return notice(2, **{"delta_wait_s": WAIT_S, **changes})


def begun(state: ModelState | None = None) -> Story:
    return Story().begun(state or serving())


def test_it_waits_says_so_and_takes_the_whole_image_when_the_wait_is_over() -> None:
    story = begun()
    story.offered(offered())
    assert story.words[:2] == ("QUEUED", "awaits_delta")
    waited_s, actions = story.wait()
    assert waited_s == pytest.approx(WAIT_S)
    assert any(isinstance(action, act.Verify) for action in actions)
    story.pass_s(1)  # its clock has whole seconds
    story.done(act.NoticeVerified(offered(), FACTS))
    assert story.asked(act.OpenSpool).payload == CONTENT.payload


def test_it_takes_the_delta_as_soon_as_that_is_offered() -> None:
    story = begun()
    story.offered(offered())
    story.pass_s(100)
    delta = delta_from(1)
    delta = msgspec.structs.replace(delta, size_bytes=delta.size_bytes - 1)
    story.offered(offered(payloads=(CONTENT.payload, delta)))
    assert story.asked(act.OpenSpool).payload == delta


def test_it_waits_no_more_when_it_is_said_that_none_will_come() -> None:
    story = begun()
    story.offered(offered())
    story.offered(offered(no_delta_from=(1,)))
    assert story.asked(act.OpenSpool).payload == CONTENT.payload


def test_a_restart_or_the_notice_again_begins_no_wait_anew() -> None:
    story = begun()
    story.offered(offered())
    story.pass_s(400)
    story.offered(offered(payloads=(CONTENT.payload, delta_from(7))))
    left_s = delta_wait_left_s(offered(), story.core.state, CONTENT.payload, story.now.wall_s)
    assert left_s == WAIT_S - 400
    again = Story().begun(story.core.state)
    again.pass_s(WAIT_S + 1)
    again.offered(offered())
    assert again.words[0] == "DOWNLOADING"


def test_the_time_in_which_it_waits_for_its_turn_counts() -> None:
    spread = offered(jitter_s=300)
    story = begun()
    story.offered(spread)
    assert story.words[:2] == ("QUEUED", "spread")
    waited_s, _ = story.wait()
    story.pass_s(1)
    story.done(act.NoticeVerified(spread, FACTS))
    assert story.words[:2] == ("QUEUED", "awaits_delta")
    rest_s, _ = story.wait()
    assert rest_s == pytest.approx(WAIT_S - waited_s, abs=2)
    story.pass_s(1)
    story.done(act.NoticeVerified(spread, FACTS))
    assert story.words[0] == "DOWNLOADING", "and not again for its turn"


@pytest.mark.parametrize(
    ("state", "changes"),
    [
        (ModelState(model="detector"), {}),
        (serving(), {"delta_wait_s": 0}),
        (serving(), {"no_delta_from": (5, 1)}),
        (serving(), {"payloads": (CONTENT.payload, delta_from(1))}),
    ],
    ids=["nothing serves", "nobody makes one", "none will come", "it is there, and is larger"],
)
def test_it_does_not_wait_where_that_helps_nobody(
    state: ModelState, changes: dict[str, Any]
) -> None:
    assert delta_wait_left_s(offered(**changes), state, CONTENT.payload, 0) == 0
    story = Story().begun(state) if state.active else Story().begun()
    story.offered(offered(**changes))
    assert story.words[0] == "DOWNLOADING"


@pytest.mark.parametrize(
    ("state", "reason", "waits"),
    [
        (State.QUEUED, Reason.PAUSED, True),
        (State.DOWNLOADING, Reason.DOWNLOADING, False),
        (State.FAILED, Reason.CHUNK_CORRUPT, False),
    ],
)
def test_who_has_begun_does_not_wait(state: State, reason: Reason, *, waits: bool) -> None:
    trusted = offered()
    update = Update(
        version="2.0", sequence=2, release_sha256=trusted.release_sha256, state=state, reason=reason
    )
    left_s = delta_wait_left_s(trusted, serving(update=update), CONTENT.payload, 10)
    assert left_s == (WAIT_S if waits else 0)


def test_a_clock_that_ran_back_ends_the_wait() -> None:
    story = begun()
    story.offered(offered())
    wall_s = story.now.wall_s - 5
    assert delta_wait_left_s(offered(), story.core.state, CONTENT.payload, wall_s) == 0


def test_a_device_of_an_offer_without_it_is_as_before() -> None:
    story = begun()
    story.offered(notice(2))
    story.tell(ev.Tick())
    assert story.words[0] == "DOWNLOADING"
