"""The box of notices: which is looked at next, after what."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from slotcast_device.core.notice_box import NoticeBox

Step = Callable[[NoticeBox], object]


def comes(name: str, *, busy: bool = False) -> Step:
    return lambda box: box.arrived(name.encode(), is_busy=busy)


def overtaken(name: str) -> Step:
    return lambda box: box.put_back(name.encode())


TAKE, AGAIN, FORGET = NoticeBox.take, NoticeBox.again, NoticeBox.forget_seen
HOLD, END = NoticeBox.hold_for_end, NoticeBox.update_ended
EXPIRED, GOOD, CLOCK = NoticeBox.hold_expired, NoticeBox.drop_expired, NoticeBox.clock_was_set

CASES: dict[str, tuple[list[Step], list[str]]] = {
    "nothing came": ([], []),
    "one came": ([comes("1")], ["1"]),
    "only the newest is looked at": ([comes("1"), comes("2")], ["2"]),
    "each is looked at once": ([comes("1"), TAKE], []),
    "what is sent again is looked at again": ([comes("1"), TAKE, comes("1")], ["1"]),
    "but not while it is worked on": ([comes("1"), TAKE, comes("1", busy=True)], []),
    "another one while it is worked on is": ([comes("1"), TAKE, comes("2", busy=True)], ["2"]),
    "one that was forgotten is, even then": (
        [comes("1"), TAKE, FORGET, comes("1", busy=True)],
        ["1"],
    ),
    "the last one again": ([comes("1"), TAKE, AGAIN], ["1"]),
    "again gives way to a newer one": ([comes("1"), TAKE, comes("2"), AGAIN], ["2"]),
    "again with nothing seen": ([AGAIN], []),
    "one that was overtaken": ([comes("1"), TAKE, overtaken("1")], ["1"]),
    "overtaken, and sent again while the other is worked on": (
        [comes("1"), TAKE, overtaken("1"), TAKE, comes("1", busy=True)],
        [],
    ),
    "overtaken gives way to a newer one": ([comes("1"), TAKE, comes("2"), overtaken("1")], ["2"]),
    "overtaken, but not the one seen last": ([comes("2"), TAKE, overtaken("1")], []),
    "held for the end": ([comes("1"), TAKE, HOLD], []),
    "held for the end, which came": ([comes("1"), TAKE, HOLD, END], ["1"]),
    "held once, however many ends come": ([comes("1"), TAKE, HOLD, END, TAKE, END], []),
    "held gives way to a newer one": ([comes("1"), TAKE, HOLD, comes("2"), END], ["2"]),
    "held outlives one that is only looked at": (
        [comes("1"), TAKE, HOLD, comes("2"), TAKE, END],
        ["1"],
    ),
    "an end with nothing held": ([comes("1"), TAKE, END], []),
    "expired": ([comes("1"), TAKE, EXPIRED], []),
    "expired, and the clock is set": ([comes("1"), TAKE, EXPIRED, CLOCK], ["1"]),
    "expired, and another was good": ([comes("1"), TAKE, EXPIRED, GOOD, CLOCK], []),
    "expired gives way to a newer one": ([comes("1"), TAKE, EXPIRED, comes("2"), CLOCK], ["2"]),
    "a clock that is set with nothing expired": ([comes("1"), TAKE, CLOCK], []),
}


def taken(box: NoticeBox) -> list[str]:
    """Take all that wait."""
    return [data.decode() for data in iter(box.take, None)]


@pytest.mark.parametrize("case", CASES)
def test_what_is_looked_at_next(case: str) -> None:
    steps, expected = CASES[case]
    box = NoticeBox()
    for step in steps:
        step(box)
    assert box.is_empty is (not expected)
    assert taken(box) == expected


def test_what_came_is_counted_with_its_repeats() -> None:
    box = NoticeBox()
    came = [box.arrived(b"1", is_busy=False), bool(box.take()), box.arrived(b"1", is_busy=True)]
    assert came == [True, True, False]
    assert box.arrived_count == 2


def test_the_digest_is_of_the_notice_that_was_looked_at_last() -> None:
    box = NoticeBox()
    assert box.seen_sha256 == b""
    box.arrived(b"1", is_busy=False)
    assert box.seen_sha256 == b""
    box.take()
    box.arrived(b"2", is_busy=True)
    assert box.seen_sha256 == hashlib.sha256(b"1").digest()
    box.forget_seen()
    assert box.seen_sha256 == b""


def test_whether_a_clock_that_is_set_has_something_to_look_at() -> None:
    box = NoticeBox()
    assert not box.clock_was_set()
    box.arrived(b"1", is_busy=False)
    box.take()
    box.hold_expired()
    assert [box.clock_was_set(), box.clock_was_set()] == [True, False]


def test_a_notice_is_held_until_the_end() -> None:
    box = NoticeBox()
    box.arrived(b"1", is_busy=False)
    box.take()
    box.hold_for_end()
    assert box.is_holding
    box.update_ended()
    assert not box.is_holding
