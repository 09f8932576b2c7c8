"""Plots: classes and no styles, texts escaped, and places that say what the numbers say."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.web.plots.bars import BarPart, bar
from slotcast_publisher.fleet.web.plots.distribution import Curve, distribution
from slotcast_publisher.fleet.web.plots.scales import Scale, log_ticks, ticks
from slotcast_publisher.fleet.web.plots.strips import LimitStrip, strip

EVIL = '<b>"x"</b>\u202e'


def shares(at: int) -> list[float]:
    return [1.0 if n == at else 0.0 for n in range(len(GRID_S) + 1)]


def drawn() -> list[Markup]:
    old, new = Curve(EVIL, shares(20), 0.005, 0.006), Curve("2", shares(30), 0.05, 0.06)
    return [
        bar([BarPart(EVIL, 3, "f-new"), BarPart("b", 1, "#h-trial"), BarPart("c", 1, "f-none")]),
        bar([]),
        strip(LimitStrip(2.6, 2.4, 2.9, 1.5, is_broken=True), EVIL),
        distribution(GRID_S, old, new, 0.009, EVIL),
        distribution(GRID_S, None, new, None, EVIL),
    ]


@pytest.mark.parametrize("svg", drawn())
def test_a_plot_needs_no_style_and_no_script_and_its_texts_are_texts(svg: Markup) -> None:
    root = ET.fromstring(svg)

    for element in root.iter():
        assert element.tag in {"svg", "rect", "line", "path", "circle", "text"}
        assert "style" not in element.attrib
        assert not any(name.startswith("on") for name in element.attrib)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"].strip()
    assert "\u202e" not in svg


def test_a_bar_is_divided_as_the_devices_are() -> None:
    svg = bar([BarPart("a", 34, "f-new"), BarPart("b", 0, "f-bad"), BarPart("c", 6, "f-wait")])

    assert re.findall(r'width="([\d.]+)%"', svg)[1:] == ["85.00", "15.00"]
    assert 'aria-label="34 a, 6 c"' in svg


def middle(value: float, limit: float) -> float:
    svg = strip(LimitStrip(value, None, None, limit, is_broken=value > limit), "x")
    found = re.search(r'cx="([\d.]+)"', svg)
    assert found is not None
    return float(found[1])


def test_the_limit_is_always_in_the_middle_of_its_strip() -> None:
    assert middle(1.5, 1.5) == middle(0.05, 0.05) == 66.0
    assert middle(1.0, 1.5) < 66.0 < middle(1.6, 1.5)
    assert middle(1000, 1.5) == 132.0
    assert middle(0.0, 0.0) == 66.0  # nothing at all is allowed, and nothing is there
    assert middle(0.001, 0.0) > 66.0


def test_a_distribution_has_its_quantiles_where_they_are() -> None:
    old, new = Curve("1", shares(20), 0.005, 0.006), Curve("2", shares(30), 0.05, 0.06)

    svg = distribution(GRID_S, old, new, 0.009, "both")

    assert "p95 6.00 ms" in svg
    assert "p95 60.0 ms" in svg
    assert "limit 9.00 ms" in svg
    xs = {m[1]: float(m[0]) for m in re.findall(r'M([\d.]+) [\d.]+L[^"]+" class="([^"]+)"', svg)}
    assert xs["old-l thin"] < xs["limit"] < xs["new-l thin"]


def test_ticks_are_round_and_reach_what_is_shown() -> None:
    assert ticks(32, 4) == [0, 10, 20, 30, 40]
    assert ticks(0.7, 4)[-1] >= 0.7
    assert list(log_ticks(0.004, 0.06)) == pytest.approx([0.005, 0.01, 0.02, 0.05])


def test_a_value_outside_an_axis_is_put_at_its_end() -> None:
    scale = Scale(1, 100, 0, 10, is_log=True)

    assert scale.at(10) == pytest.approx(5)
    assert (scale.at(0.001), scale.at(10_000)) == (0, 10)
