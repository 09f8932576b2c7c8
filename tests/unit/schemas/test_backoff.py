"""Waits grow with failures, never pass their cap, and are short again after something worked."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from slotcast_schemas.backoff import Backoff


@given(seed=st.integers(), failures=st.integers(0, 60))
def test_no_wait_passes_its_bound_and_none_is_nothing(seed: int, failures: int) -> None:
    backoff = Backoff(random.Random(seed), first_s=0.5, cap_s=60.0, failures=failures)
    bound_s = backoff.bound_s
    assert bound_s == min(60.0, 0.5 * 2**failures)
    assert bound_s * 0.1 <= backoff.next_s() <= bound_s
    assert backoff.failures == failures + 1


def test_devices_that_lost_one_broker_come_back_spread_over_the_whole_bound() -> None:
    waits = [Backoff(random.Random(seed), 10.0, failures=0).next_s() for seed in range(1000)]
    by_second = [sum(second < wait <= second + 1 for wait in waits) for second in range(1, 10)]
    assert min(by_second) > 60  # of 111 that would be even


def test_after_something_worked_the_waits_are_short_again() -> None:
    backoff = Backoff(random.Random(1), first_s=1.0, cap_s=100.0)
    for _ in range(10):
        backoff.next_s()
    assert backoff.bound_s == 100.0
    backoff.reset()
    assert backoff.bound_s == 1.0
