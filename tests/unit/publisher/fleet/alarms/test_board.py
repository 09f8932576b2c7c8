"""What is raised and cleared: once, after it lasted, many at once as one, and not too often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_publisher.alarm_settings import AlarmSettings, KindName
from slotcast_publisher.fleet.alarms.board import CROWD, AlarmChange, Board
from slotcast_publisher.fleet.alarms.kinds import FACTS, AlarmKind
from slotcast_publisher.fleet.alarms.rules import Finding, Judgement
from slotcast_publisher.serve.log import FIRST_FIELDS

SILENT = AlarmKind.DEVICE_SILENT
DISK = AlarmKind.DISK_LOW


def now(
    *subjects: str,
    kind: AlarmKind = SILENT,
    near: Iterable[str] = (),
    unknown: Iterable[AlarmKind] = (),
) -> Judgement:
    """Say for whom a condition holds, and for whom it nearly does."""
    holding = [Finding(kind, s, f"{s}: text", names={"device": s}) for s in subjects]
    nearly = [Finding(kind, s, f"{s}: near", holds=False) for s in near]
    return Judgement((*holding, *nearly), frozenset(unknown))


def said(changes: Iterable[AlarmChange]) -> list[tuple[str, str]]:
    return [(change.word, change.alarm.subject) for change in changes if change.word]


def many(count: int) -> list[str]:
    return [f"cam-{number}" for number in range(count)]


def test_a_condition_that_lasts_is_raised_once_and_cleared_once() -> None:
    board = Board(AlarmSettings())
    told = [said(board.step(now("cam-1", kind=DISK), at_s)) for at_s in (0, 30, 60, 90, 1000)]
    assert told == [[], [], [("raised", "cam-1")], [], []]
    told = [said(board.step(now(kind=DISK), at_s)) for at_s in (1010, 1200, 1310, 1400)]
    assert told == [[], [], [("cleared", "cam-1")], []]


def test_what_ends_before_it_has_lasted_is_never_said() -> None:
    board = Board(AlarmSettings())
    for at_s in range(0, 600, 30):
        assert not board.step(now(*["cam-1"][: at_s // 30 % 2]), at_s)


def test_what_is_near_keeps_an_alarm_and_raises_none() -> None:
    board = Board(AlarmSettings())
    for at_s in (0, 100, 200):
        assert not board.step(now(kind=DISK, near=["cam-1"]), at_s)
    board.step(now("cam-1", kind=DISK), 300)
    assert said(board.step(now("cam-1", kind=DISK), 400)) == [("raised", "cam-1")]
    for at_s in range(500, 3000, 100):
        assert not board.step(now(kind=DISK, near=["cam-1"]), at_s)


def test_a_thousand_at_once_are_one_alarm_that_counts_them() -> None:
    board = Board(AlarmSettings())
    assert not board.step(now(*many(5)), 0)  # they go within a minute, not in one second
    assert not board.step(now(*many(600)), 30)
    (change,) = board.step(now(*many(1000)), 60)
    assert (change.word, change.alarm.subject, change.alarm.count) == ("raised", CROWD, 1000)
    assert change.alarm.subjects == tuple(many(10))
    assert change.alarm.text.startswith("device_silent: 1000 at once (cam-0, cam-1,")
    for at_s in range(90, 1000, 30):
        assert not said(board.step(now(*many(1000)), at_s))
    assert said(board.step(now(), 1000)) == [("cleared", CROWD)]


def test_a_crowd_that_doubles_is_said_again_and_one_that_shrinks_is_not() -> None:
    board = Board(AlarmSettings())
    board.step(now(*many(20)), 0)
    assert said(board.step(now(*many(20)), 60)) == [("raised", CROWD)]
    assert not said(board.step(now(*many(39)), 70))
    assert said(board.step(now(*many(40)), 80)) == [("grew", CROWD)]
    assert not said(board.step(now(*many(25)), 90))
    assert not said(board.step(now(*many(45)), 100))
    (alarm,) = board.standing
    assert alarm.count == 40  # its words follow at most once a minute
    board.step(now(*many(45)), 200)
    assert board.standing[0].count == 45


def test_when_a_crowd_has_gone_the_few_that_are_left_are_named() -> None:
    board = Board(AlarmSettings())
    board.step(now(*many(50)), 0)
    board.step(now(*many(50)), 60)
    assert not said(board.step(now(*many(8)), 70))  # not clearly fewer than a crowd
    told = said(board.step(now(*many(2)), 80))
    assert told == [("cleared", CROWD), ("raised", "cam-0"), ("raised", "cam-1")]


def test_those_that_stood_before_a_crowd_are_cleared_by_themselves() -> None:
    board = Board(AlarmSettings())
    board.step(now("cam-0"), 0)
    assert said(board.step(now("cam-0"), 60)) == [("raised", "cam-0")]
    board.step(now(*many(50)), 70)
    assert said(board.step(now(*many(50)), 130)) == [("raised", CROWD)]
    assert said(board.step(now(*many(50)[1:]), 140)) == [("cleared", "cam-0")]


def test_what_cannot_be_looked_at_is_neither_raised_nor_cleared() -> None:
    board = Board(AlarmSettings())
    board.step(now("cam-1"), 0)
    assert said(board.step(now("cam-1"), 60)) == [("raised", "cam-1")]
    for at_s in range(100, 1000, 100):
        assert not board.step(now(unknown=[SILENT]), at_s)
    assert said(board.step(now(), 1000)) == [("cleared", "cam-1")]
    board.step(now("cam-2"), 1100)
    board.step(now(unknown=[SILENT]), 1130)
    assert not board.step(now("cam-2"), 1170)  # it has not been watched for a minute


def test_what_ended_must_be_seen_to_have_ended_for_its_time() -> None:
    board = Board(AlarmSettings())
    board.step(now("cam-1", kind=DISK), 0)
    board.step(now("cam-1", kind=DISK), 60)
    board.step(now(kind=DISK), 100)
    board.step(now(unknown=[DISK]), 200)  # the database was away
    assert not board.step(now(kind=DISK), 1000)
    assert said(board.step(now(kind=DISK), 1300)) == [("cleared", "cam-1")]


def test_what_stood_when_the_process_died_stands_and_is_not_raised_again() -> None:
    board = Board(AlarmSettings())
    board.step(now(*many(20)), 0)
    board.step(now(*many(20)), 60)
    later = Board(AlarmSettings(), board.standing)
    for at_s in (200, 300, 400):
        assert not said(later.step(now(*many(20)), at_s))


def test_what_flaps_is_not_said_without_end_and_not_lost() -> None:
    board = Board(AlarmSettings(raised_per_hour_max=3))
    kind, told, at_s = AlarmKind.ID_SHARED, [], 0
    for _ in range(50):
        told += said(board.step(now("cam-1", kind=kind), at_s))
        told += said(board.step(now(kind=kind), at_s + 10))
        at_s += 20
    assert told == [("raised", "cam-1"), ("cleared", "cam-1")] * 3
    told = []
    for later_s in range(at_s, 7200, 20):
        told += said(board.step(now("cam-1", kind=kind), later_s))
    assert told == [("raised", "cam-1")]  # an hour later, since it still holds


def test_words_of_a_standing_alarm_follow_at_most_once_a_minute() -> None:
    board = Board(AlarmSettings())
    board.step(now("cam-1"), 0)
    board.step(now("cam-1"), 60)
    new = Judgement((Finding(SILENT, "cam-1", "cam-1: for 3 days"),), frozenset())
    assert not board.step(new, 70)
    (change,) = board.step(new, 130)
    assert (change.word, change.alarm.text) == (None, "cam-1: for 3 days")
    assert change.alarm.raised_s == 60


def test_a_clock_that_is_set_back_neither_raises_twice_nor_waits_for_ever() -> None:
    board = Board(AlarmSettings())
    board.step(now("cam-1", kind=DISK), 1e9)
    assert not board.step(now("cam-1", kind=DISK), 5e8)
    assert said(board.step(now("cam-1", kind=DISK), 5e8 + 60)) == [("raised", "cam-1")]
    board.step(now(kind=DISK), 1e8)
    assert said(board.step(now(kind=DISK), 1e8 + 300)) == [("cleared", "cam-1")]


def test_every_kind_has_its_facts_and_a_name_in_the_settings() -> None:
    assert set(FACTS) == set(AlarmKind)
    assert {str(kind) for kind in AlarmKind} == set(get_args(KindName))
    assert {facts.about for facts in FACTS.values()} <= {"", *FIRST_FIELDS}


STEP = st.tuples(
    st.sets(st.integers(0, 30), max_size=31),  # who
    st.sets(st.integers(0, 30), max_size=5),  # who nearly
    st.integers(1, 400),  # seconds later
    st.booleans(),  # whether it can be looked at
    st.booleans(),  # whether the process dies before
)


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEP, max_size=40), named_max=st.integers(1, 12), per_hour=st.integers(1, 9))
def test_whatever_happens_nothing_is_raised_twice_and_not_too_much(
    steps: list[tuple[set[int], set[int], int, bool, bool]], named_max: int, per_hour: int
) -> None:
    limits = AlarmSettings(named_max=named_max, raised_per_hour_max=per_hour)
    board, at_s = Board(limits), 0.0
    stands: set[tuple[AlarmKind, str]] = set()
    raised_s: list[float] = []
    grown: dict[str, int] = defaultdict(int)
    for holding, near, later_s, is_known, dies in steps:
        at_s += later_s
        if dies:
            board = Board(limits, board.standing)
            raised_s.clear()  # the bound is of one process, and so is what was said of a crowd
            grown.update({alarm.subject: alarm.count for alarm in board.standing})
        judgement = now(
            *(f"cam-{n}" for n in sorted(holding)),
            near=[f"cam-{n}" for n in sorted(near - holding)],
            unknown=[] if is_known else [SILENT],
        )
        for change in board.step(judgement, at_s):
            assert is_known
            key = change.alarm.key
            if change.word == "raised":
                assert key not in stands
                stands.add(key)
                raised_s.append(at_s)
                grown[change.alarm.subject] = change.alarm.count
            else:
                assert key in stands
            if change.word == "grew":
                assert change.alarm.count >= 2 * grown[change.alarm.subject]
                grown[change.alarm.subject] = change.alarm.count
            if change.word == "cleared":
                stands.remove(key)
                assert change.alarm.cleared_s == at_s
        assert {alarm.key for alarm in board.standing} == stands
        assert len([s for s in raised_s if at_s - s < 3600]) <= per_hour
