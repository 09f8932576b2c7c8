"""What a release does over time, each device set to its own switch."""

from __future__ import annotations

from pathlib import Path

from slotcast_publisher.fleet.database.database import open_database
from slotcast_publisher.fleet.database.figures_blob import pack
from slotcast_publisher.fleet.database.tables import metrics_hours, metrics_releases
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.web.screens.rollout_tables import over_time_table
from slotcast_publisher.fleet.web.screens.switch_data import around_switch
from slotcast_publisher.fleet.web.screens.switch_view import SwitchHour, switch_plots
from tests.support import rollout_views as views
from tests.support.fleet_database import put
from tests.support.latencies import histogram

HOUR_S = 3600
START = 497_000  # hours since 1970


def figures(median_s: float, memory_bytes: int = 0) -> ReleaseFigures:
    return ReleaseFigures(
        requests=1000, errors=10, latency=histogram(median_s), memory_bytes=memory_bytes
    )


def test_devices_that_switched_at_different_times_are_laid_over_each_other(tmp_path: Path) -> None:
    def hour_row(device: str, sequence: int, hour: int, median_s: float) -> dict[str, object]:
        return {
            "device": device,
            "model": "clf",
            "sequence": sequence,
            "hour_s": hour * HOUR_S,
            "figures": pack(figures(median_s)),
        }

    with open_database(tmp_path / "fleet.db") as database:
        for number, device in enumerate(("a", "b")):
            switch = START + 5 * number
            row = {"device": device, "model": "clf", "sequence": 2, "figures": b""}
            put(database, metrics_releases, row | {"first_s": switch * HOUR_S + 60})
            old = [hour_row(device, 1, switch - n, 0.01) for n in range(3)]
            new = [hour_row(device, 2, switch + n, 0.03) for n in range(3)]
            long_ago = hour_row(device, 1, switch - 100, 9.0)
            put(database, metrics_hours, *old, *new, long_ago)
        with database.reading() as connection:
            found = around_switch(connection, "clf", 2)
            assert around_switch(connection, "clf", 3) == []

    assert [(each.is_new, each.hour) for each in found] == [
        *((False, -2), (False, -1), (False, 0)),
        *((True, 0), (True, 1), (True, 2)),
    ]
    assert {len(each.devices) for each in found} == {2}


def test_a_figure_stands_beside_its_limit_before_and_after() -> None:
    old = [SwitchHour(n, False, (figures(0.01, 200_000_000),)) for n in (-2, -1, 0)]
    new = [SwitchHour(n, True, (figures(0.03, 220_000_000),)) for n in (0, 1)]

    p95, errors, memory = switch_plots([*old, *new], views.paused(), "canary")

    assert (errors.name, errors.change) == ("Errors", "1 % → 1 %")
    assert memory.change == "200 MB → 220 MB"
    assert 'class="limit"' in p95.plot
    assert 'class="limit"' not in errors.plot
    assert "limit 250 MB" in memory.plot
    assert 'class="new-l"' in p95.plot
    assert [(row.hour, row.old, row.new) for row in memory.rows] == [
        ("2 h before", "200 MB", "–"),
        ("1 h before", "200 MB", "–"),
        ("the hour of the switch", "200 MB", "220 MB"),
        ("1 h after", "–", "220 MB"),
    ]
    head, rows = over_time_table([*old, *new])
    assert head[0] == "hour_from_switch"
    assert [row[:3] for row in rows][:3] == [(-2, "before", 1), (-1, "before", 1), (0, "before", 1)]


def test_one_release_alone_is_no_comparison() -> None:
    new = [SwitchHour(0, True, (figures(0.03),))]

    assert switch_plots(new, views.paused(), "canary") == []
    assert switch_plots([], views.paused(), "canary") == []
