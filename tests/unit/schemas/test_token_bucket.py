"""A budget by time: full at first, spent at once, filled again as time passes."""

from __future__ import annotations

import pytest

from slotcast_schemas.token_bucket import TokenBucket


def test_what_is_taken_comes_back_with_time_and_never_above_the_bound() -> None:
    bucket = TokenBucket(10, per_s=2)
    assert bucket.take(10, 100.0)
    assert not bucket.take(1, 100.0)
    assert bucket.left(102.0) == 4
    assert bucket.left(1000.0) == bucket.capacity == 10


def test_what_came_is_spent_though_it_is_not_there_and_is_owed() -> None:
    bucket = TokenBucket(10, per_s=2)
    bucket.spend(16, 100.0)
    assert bucket.left(100.0) == -6
    assert bucket.wait_s(0, 101.0) == 2
    assert bucket.due_s(0) == 103
    assert bucket.due_s(-8) == 101


def test_a_refused_amount_takes_nothing() -> None:
    bucket = TokenBucket(10, per_s=2)
    assert not bucket.take(11, 0.0)
    assert bucket.left(0.0) == 10


def test_what_is_given_back_does_not_overfill_it() -> None:
    bucket = TokenBucket(10, per_s=2)
    bucket.spend(3, 0.0)
    bucket.give(100)
    assert bucket.left(0.0) == 10


@pytest.mark.parametrize("back_s", [1.0, 1000.0])
def test_a_clock_that_goes_back_brings_nothing(back_s: float) -> None:
    bucket = TokenBucket(10, per_s=2)
    bucket.spend(10, 2000.0)
    assert bucket.left(2000.0 - back_s) == 0
