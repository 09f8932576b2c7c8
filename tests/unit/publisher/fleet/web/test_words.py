"""Numbers, sizes and times in words."""

from __future__ import annotations

import pytest

from slotcast_publisher.fleet.web import words
from slotcast_publisher.fleet.web.words import clock_of

NOON_S = 1_790_769_600  # 30 Sep 2026, 12:00 UTC


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0 %"),
        (0.15, "15 %"),
        (0.912, "91.2 %"),
        (1, "100 %"),
        (0.00024, "0.024 %"),
        (-0.003, "−0.3 %"),
        (0.00000001, "0 %"),
    ],
)
def test_a_share_has_the_digits_that_it_needs(share: float, text: str) -> None:
    assert words.share_words(share) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0074, "7.40 ms"),
        (0.0319, "31.9 ms"),
        (0.00005, "50.0 µs"),
        (1.9, "1.90 s"),
        (0, "0 ms"),
        (250, "4 min"),
    ],
)
def test_a_latency_is_in_the_unit_in_which_it_is_read(seconds: float, text: str) -> None:
    assert words.seconds_words(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(22, "22 s"), (80 * 60, "1 h 20 min"), (38 * 60, "38 min"), (86400 * 40, "40 d"), (-5, "0 s")],
)
def test_a_span_has_two_units_where_the_second_matters(seconds: float, text: str) -> None:
    assert words.span_words(seconds) == text


def test_sizes_have_units() -> None:
    sizes = (0, 999, 26_100_000, 187_000_000_000)
    assert [words.size_words(n) for n in sizes] == ["0 B", "999 B", "26.1 MB", "187 GB"]


def test_a_time_is_in_the_readers_zone_with_the_exact_one_on_hover() -> None:
    berlin = clock_of("Europe/Berlin", NOON_S + 60)

    assert ">14:00<" in berlin.at(NOON_S)
    assert 'title="30 Sep 2026, 14:00:00"' in berlin.at(NOON_S)
    assert ">28 Sep<" in berlin.at(NOON_S - 2 * 86400)
    assert ">30 Sep 2025<" in berlin.at(NOON_S - 365 * 86400)
    assert berlin.offset_words == "UTC+2"
    assert ">14:00<" in berlin.at(NOON_S)


def test_how_long_ago_something_was_is_kept_true_by_the_script() -> None:
    assert f'data-at="{NOON_S}"' in clock_of("", NOON_S + 90).ago(NOON_S)
    assert ">1 min<" in clock_of("", NOON_S + 90).ago(NOON_S)
    assert clock_of("", NOON_S).ago(0) == "never"


@pytest.mark.parametrize("zone", ["", "No/Such", "../../etc/passwd", "x" * 500, "\x00", "/etc"])
def test_a_zone_that_is_none_is_utc(zone: str) -> None:
    assert clock_of(zone, NOON_S).zone_name == "UTC"


@pytest.mark.parametrize("at_s", [10**17, -(10**17)])
def test_a_time_that_is_none_is_shown_as_none(at_s: int) -> None:
    assert clock_of("", NOON_S).at(at_s) == "–"
