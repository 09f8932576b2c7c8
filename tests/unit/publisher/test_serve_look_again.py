"""What was dropped for want of room is looked for again: soon, once, and not without end."""

from __future__ import annotations

import random

import pytest

from slotcast_publisher.serve.look_again import LookTimes


class Longest(random.Random):
    """Draws the upper bound each time."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


@pytest.fixture
def again() -> LookTimes:
    return LookTimes(Longest(), (30.0, 1800.0))


def test_a_loss_is_looked_for_once_after_a_wait(again: LookTimes) -> None:
    again.began(lost=7)
    assert not again.is_due(7, 0.0, is_looking=False)
    assert not again.is_due(8, 1.0, is_looking=False)
    assert not again.is_due(9, 30.9, is_looking=False)
    assert not again.is_due(9, 31.0, is_looking=True), "the look under way brings it"
    assert again.is_due(9, 31.5, is_looking=False)
    assert not again.is_due(9, 9_999.0, is_looking=False)


def test_looks_that_lose_again_are_less_and_less_often_and_a_quiet_time_begins_anew(
    again: LookTimes,
) -> None:
    now_s, waits = 0.0, []
    for lost in range(1, 12):
        began_s = now_s
        while not again.is_due(lost, now_s, is_looking=False):
            now_s += 1.0
        waits.append(now_s - began_s)
        again.began(lost)
    assert waits[:4] == [30, 60, 120, 240]
    assert waits[-1] == 1800
    now_s += 2 * 1800 + 1
    assert not again.is_due(99, now_s, is_looking=False)
    assert again.is_due(99, now_s + 30, is_looking=False)


def test_a_new_connection_looks_by_itself(again: LookTimes) -> None:
    assert not again.is_due(5, 0.0, is_looking=False)
    again.began(lost=5)
    assert not again.is_due(5, 60.0, is_looking=False)
