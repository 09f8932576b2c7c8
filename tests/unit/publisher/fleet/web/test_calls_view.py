"""Which releases answered a model's calls over the last days."""

from __future__ import annotations

import re

from slotcast_publisher.fleet.web.screens.calls_view import POINTS, STEP_S, Calls, calls_plots

NOW_S = 1_790_000_000
LAST = NOW_S // STEP_S
NAMES = {("clf", 1): "1.0", ("clf", 2): "2.0"}
KINDS = {("clf", "1.0"): "f-1", ("clf", "2.0"): "f-new"}


def test_a_release_takes_over_and_its_beginning_is_marked() -> None:
    old = [Calls("clf", 1, LAST - n, 100) for n in range(20)]
    new = [Calls("clf", 2, LAST - n, 300) for n in range(5)]

    svg = calls_plots(old + new, NAMES, KINDS, NOW_S)["clf"].plot

    assert 'aria-label="clf: 2.0 answers 75 % of its calls"' in svg
    assert svg.count('class="switch"') == 1
    assert ">2.0<" in svg
    assert ">10 days ago<" in svg
    assert re.findall(r'class="(f-\S+) cut"', svg) == ["f-1", "f-new"]


def test_the_step_that_has_just_begun_is_no_hole() -> None:
    calls = [Calls("clf", 1, LAST - n, 100) for n in range(1, 5)]

    assert "1.0 answers 100 % of its calls" in calls_plots(calls, NAMES, KINDS, NOW_S)["clf"].plot


def test_less_than_a_day_is_no_plot() -> None:
    calls = [Calls("clf", 1, LAST - n, 100) for n in range(2)]

    assert calls_plots(calls, NAMES, KINDS, NOW_S) == {}


def test_releases_that_are_not_named_are_one_share_and_long_ago_is_left_out() -> None:
    calls = [Calls("clf", n, LAST - n, 10) for n in range(3, 200)]

    svg = calls_plots(calls, NAMES, KINDS, NOW_S)["clf"].plot

    assert svg.count(" cut") == 1
    assert svg.count("L") < 3 * POINTS


def test_the_plot_stands_as_numbers_beside_it_the_newest_first() -> None:
    calls = [Calls("clf", 1, LAST - n, 100) for n in range(1, 5)]
    calls += [Calls("clf", 2, LAST - 1, 300)]

    found = calls_plots(calls, NAMES, KINDS, NOW_S)["clf"]

    assert found.versions == ("1.0", "2.0")
    assert [row.shares for row in found.rows[1:3]] == [("25 %", "75 %"), ("100 %", "0 %")]
    assert found.rows[1].at_s == (LAST - 1) * STEP_S
    assert len(found.rows) == 5
