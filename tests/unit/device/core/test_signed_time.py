"""What time it is for a device whose clock is wrong, or for one whose publisher's is."""

from __future__ import annotations

import hashlib
import random

import msgspec
import pytest

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.record import UpdateRecord
from slotcast_device.core.recovery import Findings
from slotcast_device.core.signed_time import (
    BUILT_S,
    JUMP_S,
    SLACK_S,
    ClockWatch,
    SignedTime,
    clock_word,
    notice_word,
)
from slotcast_device.core.state import ModelState
from slotcast_schemas import wire
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import Expired
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from slotcast_schemas.verify import Trusted
from tests.support import messages
from tests.support.core_shell import FACTS, PAYLOAD

DAY_S = 86400
SIGNED_S = 1_790_000_000
ENDS_S = SIGNED_S + 60 * DAY_S


def trusted(
    data: bytes = b"notice", issued_s: int = SIGNED_S, ends_s: int = ENDS_S, *, newer: bool = False
) -> Trusted:
    """What the client made of a notice."""
    release = messages.release(rebased=None, requires=())
    offer = messages.offer(groups=(Group(name="all"),), payloads=(PAYLOAD,), issued=issued_s)
    digest = hashlib.sha256(data).digest()
    return Trusted(release, wire.encode(release), offer, digest, ends_s, newer)


class Shell:
    """A core, its two clocks, and what it asked for; nothing is carried out."""

    def __init__(self, wall_s: float, state: ModelState | None = None) -> None:
        self.core = ModelCore("detector", "cam-1", Topics(), random.Random(1))
        self.mono_s, self.wall_s = 100.0, float(wall_s)
        self.asked: list[act.Action] = list(self.core.start())
        self.done(act.Inspect, Findings(state, None, {}, {}, frozenset()))

    def happen(self, event: ev.Event) -> list[act.Action]:
        actions = self.core.handle(event, ev.Now(self.mono_s, int(self.wall_s)))
        self.asked += actions
        return actions

    def passes(self, seconds: float) -> None:
        """Let time go by, and have the core do what is due."""
        self.mono_s += seconds
        self.wall_s += seconds
        if self.core.deadline_s is not None and self.core.deadline_s <= self.mono_s:
            self.happen(ev.Tick())

    def jobs(self, kind: type[act.Job]) -> list[act.Action]:
        return [action for action in self.asked if isinstance(action, kind)]

    def done(self, kind: type[act.Job], result: object) -> None:
        job = self.jobs(kind)[-1]
        assert isinstance(job, kind)
        self.happen(ev.JobDone(job, result))

    def notice(self, found: Trusted, data: bytes = b"notice") -> None:
        """A notice arrives, and the client finds nothing against it."""
        self.happen(ev.NoticeArrived(data))
        self.verified(found)

    def verified(self, found: Trusted) -> None:
        """The notice is good by its signatures; what it asks of the disk is done at once."""
        self.done(act.Verify, act.NoticeVerified(found, FACTS))
        if self.core.state.update is not None and not self.core.is_at_rest:
            self.done(act.OpenSpool, act.Spooled({}, is_empty=True))

    def sets_clock(self, wall_s: float) -> None:
        self.wall_s = float(wall_s)
        self.happen(ev.ClockMoved())

    @property
    def where(self) -> tuple[State, str]:
        status = self.core.status()
        return status.state, status.reason


FETCHING = (State.DOWNLOADING, "downloading")
REFUSED = (State.REJECTED, "expired")


# --- a clock that is ahead ------------------------------------------------------------------------


def test_a_notice_refused_by_a_clock_that_was_ahead_is_taken_when_the_clock_is_right() -> None:
    shell = Shell(ENDS_S + DAY_S)
    shell.notice(trusted())
    assert shell.where == REFUSED
    assert "the clock must be set" in shell.core.status().detail
    shell.sets_clock(SIGNED_S + 60)
    shell.verified(trusted())
    assert shell.where == FETCHING


def test_the_same_where_the_client_itself_refused_it() -> None:
    shell = Shell(ENDS_S + DAY_S)
    shell.happen(ev.NoticeArrived(b"notice"))
    job = shell.jobs(act.Verify)[-1]
    assert isinstance(job, act.Verify)
    shell.happen(ev.JobDone(job, error=Expired("timestamp.json is expired")))
    assert shell.where == REFUSED
    shell.sets_clock(SIGNED_S + 60)
    shell.verified(trusted())
    assert shell.where == FETCHING


def test_a_clock_that_moves_and_is_still_ahead_changes_nothing() -> None:
    shell = Shell(ENDS_S + 2 * DAY_S)
    shell.notice(trusted())
    shell.sets_clock(ENDS_S + DAY_S)
    shell.verified(trusted())
    assert shell.where == REFUSED
    shell.sets_clock(SIGNED_S)
    shell.verified(trusted())
    assert shell.where == FETCHING


def test_a_notice_refused_beside_an_update_is_looked_at_again_too() -> None:
    """The clock jumped ahead while the first was collected, and the second came then."""
    shell = Shell(SIGNED_S)
    shell.notice(trusted())
    shell.wall_s = ENDS_S + DAY_S
    shell.happen(ev.NoticeArrived(b"second"))
    second = shell.jobs(act.Verify)[-1]
    assert isinstance(second, act.Verify)
    shell.happen(ev.JobDone(second, error=Expired("timestamp.json is expired")))
    assert shell.where == FETCHING, "a refused notice does not stop what is under way"
    shell.sets_clock(SIGNED_S)
    again = shell.jobs(act.Verify)[-1]
    assert isinstance(again, act.Verify)
    assert again.data == b"second"


# --- a clock that is behind -----------------------------------------------------------------------


def test_what_has_expired_by_a_time_seen_signed_is_refused_whatever_the_clock_says() -> None:
    shell = Shell(0, ModelState(model="detector", signed_time=ENDS_S + DAY_S))
    shell.notice(trusted())
    assert shell.where == REFUSED
    assert "this device's clock is behind: 1970-01-01" in shell.core.status().detail


def test_the_signed_time_goes_on_running() -> None:
    shell = Shell(0, ModelState(model="detector", signed_time=ENDS_S - 3600))
    shell.passes(7200)
    shell.notice(trusted())
    assert shell.where == REFUSED


def test_a_clock_that_is_behind_refuses_nothing_that_is_good() -> None:
    shell = Shell(0, ModelState(model="detector", signed_time=SIGNED_S))
    shell.notice(trusted())
    assert shell.where == FETCHING


def test_what_was_taken_by_a_clock_that_was_behind_is_dropped_when_it_is_set_right() -> None:
    shell = Shell(0)
    shell.notice(trusted())
    assert shell.where == FETCHING
    shell.sets_clock(ENDS_S + DAY_S)
    shell.verified(trusted())
    assert shell.where == REFUSED
    target = shell.core.status().target
    assert target is not None, "the release that was dropped is named"
    assert (target.sequence, target.deployment) == (7, "d-7")
    assert shell.core.transfer is None
    shell.sets_clock(SIGNED_S)  # it was not right after all
    shell.verified(trusted())
    assert shell.where == FETCHING


def test_an_update_under_way_goes_on_where_the_clock_moved_and_all_is_well() -> None:
    shell = Shell(SIGNED_S)
    shell.notice(trusted())
    transfer = shell.core.transfer
    shell.sets_clock(SIGNED_S + DAY_S)
    shell.verified(trusted())
    assert shell.where == FETCHING
    assert shell.core.transfer is transfer


# --- a publisher whose clock was wrong ------------------------------------------------------------


def test_a_publisher_whose_clock_was_years_ahead_once_does_not_lock_the_device_out() -> None:
    ahead_s = SIGNED_S + 3000 * DAY_S
    shell = Shell(SIGNED_S)
    shell.notice(trusted(b"ahead", ahead_s, ahead_s + 60 * DAY_S), b"ahead")
    assert shell.core.state.signed_time == ahead_s
    shell.notice(trusted(b"right", SIGNED_S, ENDS_S, newer=True), b"right")
    assert shell.where == FETCHING
    assert shell.core.state.signed_time == SIGNED_S


def test_an_older_notice_cannot_turn_the_signed_time_back() -> None:
    """The client has lost its versions, and somebody replays what he kept."""
    shell = Shell(SIGNED_S)
    shell.notice(trusted())
    shell.notice(trusted(b"old", SIGNED_S - 50 * DAY_S, SIGNED_S - DAY_S), b"old")
    assert shell.core.state.signed_time == SIGNED_S
    assert "expired" in shell.core.status().detail


def test_a_time_after_its_own_end_is_no_time() -> None:
    shell = Shell(SIGNED_S)
    shell.notice(trusted(issued_s=ENDS_S + 3000 * DAY_S))
    assert shell.where == FETCHING
    assert shell.core.state.signed_time == 0


# --- what the device says of it -------------------------------------------------------------------


def test_a_notice_that_ends_and_is_followed_by_no_other_is_said_to_be_stale() -> None:
    shell = Shell(SIGNED_S)
    assert shell.core.status().notice == "none"
    shell.notice(trusted())
    assert (shell.core.status().notice, shell.core.status().notice_expires) == ("valid", ENDS_S)
    shell.asked.clear()
    shell.passes(60 * DAY_S + 1)
    assert shell.core.status().notice == "stale"
    assert any(isinstance(a, act.Log) and "stale" in a.text for a in shell.asked)
    assert any(isinstance(a, act.PublishStatus) for a in shell.asked)
    shell.asked.clear()
    shell.passes(DAY_S)
    assert not any(isinstance(a, act.Log) for a in shell.asked), "it is said once"


def test_a_clock_that_jumps_past_the_end_makes_a_notice_stale_at_once() -> None:
    shell = Shell(SIGNED_S)
    shell.notice(trusted())
    shell.sets_clock(ENDS_S)
    assert shell.core.status().notice == "stale"
    shell.sets_clock(SIGNED_S)
    assert shell.core.status().notice == "valid"


def test_a_renewed_notice_is_remembered_though_it_asks_for_nothing() -> None:
    shell = Shell(SIGNED_S)
    shell.notice(trusted())
    later = trusted(b"renewed", SIGNED_S + DAY_S, ENDS_S + DAY_S, newer=True)
    shell.asked.clear()
    shell.notice(later, b"renewed")
    saved = [action.state for action in shell.asked if isinstance(action, act.Save)]
    assert saved[-1].notice_expires == ENDS_S + DAY_S
    assert saved[-1].signed_time == SIGNED_S + DAY_S


@pytest.mark.parametrize(
    ("wall_s", "word"),
    [
        (SIGNED_S, "ok"),
        (SIGNED_S - SLACK_S, "ok"),
        (SIGNED_S - SLACK_S - 1, "behind"),
        (0, "behind"),
        (ENDS_S, "ok"),
        (ENDS_S + 100 * DAY_S - 1, "ok"),
        (ENDS_S + 100 * DAY_S, "ahead"),
    ],
)
def test_the_clock_is_judged_by_what_was_signed(wall_s: float, word: str) -> None:
    state = ModelState(model="detector", signed_time=SIGNED_S, notice_expires=ENDS_S)
    assert clock_word(wall_s, [state], ENDS_S + 100 * DAY_S) == word


def test_a_clock_is_not_called_ahead_while_a_notice_says_otherwise() -> None:
    """The pinned root ended, and the device follows a newer one."""
    state = ModelState(model="detector", signed_time=SIGNED_S, notice_expires=ENDS_S)
    assert clock_word(SIGNED_S + DAY_S, [state], SIGNED_S) == "ok"


def test_a_clock_from_before_this_software_is_behind_though_nothing_was_seen() -> None:
    assert clock_word(0, [ModelState(model="detector")], None) == "behind"
    assert clock_word(BUILT_S, [], None) == "ok"


@pytest.mark.parametrize(
    ("ends_s", "wall_s", "word"),
    [
        (0, 0, "none"),
        (ENDS_S, 0, "valid"),
        (ENDS_S, ENDS_S - 1, "valid"),
        (ENDS_S, ENDS_S, "stale"),
    ],
)
def test_a_record_alone_tells_whether_the_notice_is_stale(
    ends_s: int, wall_s: float, word: str
) -> None:
    state = ModelState(model="detector", signed_time=SIGNED_S, notice_expires=ends_s)
    assert notice_word(state, wall_s) == word


def test_only_a_clock_that_was_set_counts_as_moved() -> None:
    watch = ClockWatch()
    assert not watch.moved(ev.Now(0.0, SIGNED_S))
    assert not watch.moved(ev.Now(3600.0, SIGNED_S + 3600))
    assert not watch.moved(ev.Now(3600.0, SIGNED_S + 3600 + int(JUMP_S) - 1))
    assert watch.moved(ev.Now(3601.0, SIGNED_S + 2 * DAY_S))
    assert not watch.moved(ev.Now(3602.0, SIGNED_S + 2 * DAY_S))
    assert watch.moved(ev.Now(3603.0, 0))


def test_the_days_bytes_are_counted_by_the_later_of_clock_and_signed_time() -> None:
    """A clock that begins in 1970 at each start does not open a new day each time."""
    budget = msgspec.structs.replace(FACTS, full_bytes_per_day=1000)
    full = ModelState(
        model="detector", signed_time=SIGNED_S, full_day=SIGNED_S // DAY_S, full_bytes=900
    )
    shell = Shell(0, full)
    shell.happen(ev.NoticeArrived(b"notice"))
    shell.done(act.Verify, act.NoticeVerified(trusted(), budget))
    assert shell.where[0] is not State.DOWNLOADING


# --- to the second --------------------------------------------------------------------------------


def test_a_day_begins_at_midnight_utc() -> None:
    time = SignedTime(UpdateRecord("detector", Backoff(random.Random(1))))
    midnight_s = 20_833 * DAY_S
    days = [time.day(ev.Now(0.0, wall_s)) for wall_s in (midnight_s - 1, midnight_s)]
    assert days == [20_832, 20_833]


@pytest.mark.parametrize(("issued_s", "signed_s"), [(ENDS_S - 1, ENDS_S - 1), (ENDS_S, 0)])
def test_what_says_it_was_signed_at_its_own_end_says_nothing_about_time(
    issued_s: int, signed_s: int
) -> None:
    record = UpdateRecord("detector", Backoff(random.Random(1)))
    SignedTime(record).learn(trusted(issued_s=issued_s), ev.Now(0.0, 0))
    assert record.state.signed_time == signed_s
