"""What `page` times: everything that the page answers, and where that is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from litestar.routes import HTTPRoute

from benchmarks.page import Timed, quantile
from benchmarks.page_paths import UNTIMED, Ask, asks
from benchmarks.page_table import BEGIN, END, write_table
from benchmarks.page_viewers import VIEWERS, WATCHED
from benchmarks.page_world import Clock, World, end_rollout
from benchmarks.report import CannotRun, Figure
from slotcast_publisher.fleet.web.app import make_app
from tests.support import large_fleet
from tests.support.page import running_page

COUNT = 50


def routes_of(world: World) -> set[str]:
    app = make_app(world.page.context)
    found = (route for route in app.routes if isinstance(route, HTTPRoute))
    return {route.path for route in found if "GET" in route.methods}


def is_of(path: str, route: str) -> bool:
    pattern = re.sub(r"\{[^}]*}", "[^/]+", route.replace(".", "[.]"))
    return re.fullmatch(pattern, path.partition("?")[0]) is not None


def test_all_that_the_page_answers_is_timed_or_named_with_why_not(tmp_path: Path) -> None:
    with running_page(tmp_path) as page:
        large_fleet.fill(page.database, COUNT)
        end_rollout(page.context.files, large_fleet.ROLLOUT)
        world = World(page, Clock(), None, COUNT, large_fleet.NOW_S, 0.0)
        asked, routes = asks(world), routes_of(world)
    timed = {route for route in routes for ask in asked if is_of(ask.path, route)}
    assert routes - timed == UNTIMED.keys(), "in page_paths.asks, or with the reason in UNTIMED"
    assert len({ask.name for ask in asked}) == len(asked)


def test_viewers_watch_what_goes_on() -> None:
    assert VIEWERS == 50
    assert all(any(is_of(path, route) for route in UNTIMED) for path in WATCHED)


def test_an_answer_that_was_shared_counts_no_more_after_a_leap() -> None:
    clock = Clock()
    before_s = clock()
    clock.leap()
    assert clock() - before_s >= 3_600


@pytest.mark.parametrize(("count", "expected"), [(20, 19), (100, 95), (1, 1)])
def test_the_95th_of_a_hundred(count: int, expected: int) -> None:
    assert quantile(range(count, 0, -1), 0.95) == expected


def test_the_tables_are_put_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Speed\n\n{BEGIN}\nold\n{END}\n\nMore.\n")
    fleet = Timed(Ask("screen: fleet", "/", is_screen=True), [0.1] * 19 + [0.3], 0.05, 0.0)
    timed = {"SQLite": [fleet], "PostgreSQL": [fleet]}
    figures = [Figure("SQLite: screen: fleet", 100, "ms"), Figure("viewers", 0.97, "ratio")]
    write_table(page, timed, figures, 1_000)
    text = page.read_text()
    assert text.startswith(f"# Speed\n\n{BEGIN}\n\n1,000 devices.")
    assert text.endswith(f"{END}\n\nMore.\n")
    assert "| screen: fleet | 100 | 100 | 50 | 100 | 100 | 50 |" in text
    assert "| viewers | 0.97 ratio |  |" in text
    assert "old" not in text


def test_a_page_without_marks_is_left_as_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Speed\n")
    with pytest.raises(CannotRun, match="expected the marks"):
        write_table(page, {}, [], 1_000)
    assert page.read_text() == "# Speed\n"
