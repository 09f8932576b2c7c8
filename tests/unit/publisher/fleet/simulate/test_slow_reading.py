"""A slow link is read no faster than it would bring what is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slotcast_publisher.fleet.simulate.slow_reading import SlowReading

TURNS = st.lists(st.tuples(st.floats(0, 2), st.integers(0, 5000), st.booleans()), max_size=60)


@given(turns=TURNS)
def test_what_was_read_had_the_time_to_come(turns: list[tuple[float, int, bool]]) -> None:
    slow = SlowReading(bytes_per_s=1000.0)
    now_s, received_bytes, owed_bytes, began_s = 50.0, 0, 0, None
    for waited_s, came_bytes, is_new in turns:
        now_s += waited_s
        if is_new:
            slow.begin_connection()
            received_bytes = 0
        if slow.is_due(now_s) and came_bytes:
            began_s = now_s if began_s is None else began_s
            assert now_s - began_s >= owed_bytes / 1000.0 - 1e-6
            owed_bytes += came_bytes
            received_bytes += came_bytes
        slow.count(received_bytes, now_s)


def test_it_is_due_once_the_bytes_would_have_come_and_no_later() -> None:
    slow = SlowReading(bytes_per_s=1000.0)
    slow.count(500, 10.0)
    assert [slow.is_due(at_s) for at_s in (10.0, 10.4, 10.5)] == [False, False, True]
    slow.count(500, 20.0)
    assert slow.is_due(20.0)
    slow.begin_connection()
    slow.count(500, 30.0)
    assert not slow.is_due(30.4)
