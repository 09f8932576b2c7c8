"""Update windows: when the owner lets an update begin."""

from datetime import datetime

import pytest

from slotcast_schemas.errors import UsageError
from slotcast_schemas.update_windows import parse_windows, wait_s

MONDAY_0300 = datetime(2026, 11, 23, 3, 0)  # noqa: DTZ001 - windows are in local time


def test_without_windows_an_update_may_always_begin() -> None:
    assert wait_s((), MONDAY_0300) == 0


def test_inside_a_window_nothing_waits() -> None:
    assert wait_s(parse_windows(["02:00-04:00"]), MONDAY_0300) == 0


def test_outside_a_window_the_wait_ends_when_it_opens() -> None:
    windows = parse_windows(["Sat 02:00-04:00"])
    assert wait_s(windows, MONDAY_0300) == (4 * 24 + 23) * 3600


def test_a_window_past_midnight_belongs_to_the_day_it_begins_on() -> None:
    windows = parse_windows(["Sun 22:00-04:00"])
    assert wait_s(windows, MONDAY_0300) == 0
    assert wait_s(windows, MONDAY_0300.replace(hour=4)) > 0


def test_a_range_of_days_may_run_past_the_end_of_the_week() -> None:
    windows = parse_windows(["Sat-Mon 03:00-03:01"])
    assert wait_s(windows, MONDAY_0300) == 0


def test_a_window_of_24_hours_never_closes_on_its_day() -> None:
    windows = parse_windows(["Mon 00:00-24:00"])
    assert wait_s(windows, MONDAY_0300.replace(hour=23, minute=59)) == 0


@pytest.mark.parametrize("text", ["", "25:00-26:00", "02:00", "Noday 02:00-03:00", "02:60-03:00"])
def test_what_is_no_window_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(UsageError, match="expected such as"):
        parse_windows([text])
