"""A device's figures are data from outside: huge ones stop nobody's, nor make sums that cannot be.

The database holds numbers of 63 bits, and so do histograms; a message may hold 64 summaries of
2^53 requests each.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_device.application.app_report import AppReport
from slotcast_device.trial.live_figures import FiguresWindow
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.folding import fold_metrics
from slotcast_schemas import wire
from slotcast_schemas.limits import SAFE_INTEGER_MAX
from slotcast_schemas.messages import Metrics
from slotcast_schemas.messages.metrics import Latency, Summary
from tests.support.fleet_database import (
    NOW_S,
    make_database,
    metrics_row,
    put,
    rows_of,
    summary,
)

SUMMARIES = 2_000
"""Of one device; 1,024 of the largest are more than 63 bits hold."""


def largest(bounds_s: tuple[float, ...]) -> Summary:
    """The largest figures that a message may hold."""
    counts = (SAFE_INTEGER_MAX,) * (len(bounds_s) + 1)
    latency = Latency(
        p50_s=1e9, p95_s=1e9, p99_s=1e9, max_s=1e9, sum_s=1e9, bounds_s=bounds_s, counts=counts
    )
    return Summary(
        model="clf",
        version="3.0",
        sequence=3,
        start=NOW_S - 1,
        end=NOW_S,
        requests=SAFE_INTEGER_MAX,
        errors=SAFE_INTEGER_MAX,
        nonfinite=SAFE_INTEGER_MAX,
        invalid=SAFE_INTEGER_MAX,
        latency=latency,
        output_mean=1e308,
        output_std=1e308,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = make_database(tmp_path / "fleet.db")
    yield made
    made.close()


@pytest.mark.parametrize("bounds", ["ours", "others"])
def test_the_largest_figures_of_one_device_are_added_and_so_are_those_of_others(
    database: Database, bounds: str
) -> None:
    usual = summary(NOW_S)
    assert usual.latency is not None
    bounds_s = usual.latency.bounds_s if bounds == "ours" else (0.1, 0.2)
    part = largest(bounds_s)
    rows = [metrics_row("thief", number, NOW_S + 1, part) for number in range(SUMMARIES)]
    put(database, tables.metrics, *rows, metrics_row("cam-1", 1, NOW_S + 2, usual))
    with database.transaction() as connection:
        while fold_metrics(connection):
            pass
    sums = {row.device: row for row in rows_of(database, tables.metrics_releases)}
    assert sums["cam-1"].requests == usual.requests
    assert sums["thief"].requests >= SAFE_INTEGER_MAX
    for row in (*sums.values(), *rows_of(database, tables.release_figures)):
        struct.pack("<q", row.requests)
        counted = unpack(row.figures).latency.cumulative()
        assert (counted[1:] >= counted[:-1]).all(), counted
        assert counted[0] >= 0


def test_whatever_applications_report_a_device_says_what_a_message_may_hold() -> None:
    window = FiguresWindow("a", 3)
    bounds_s = tuple(float(number + 1) for number in range(512))
    for number in range(64 * 40):
        report = AppReport(
            slot="a",
            phase="serving",
            instance=str(number),
            requests=SAFE_INTEGER_MAX,
            errors=SAFE_INTEGER_MAX,
            invalid=SAFE_INTEGER_MAX,
            bounds_s=bounds_s,
            counts=(SAFE_INTEGER_MAX,) * 513,
            sum_s=1e9,
            max_s=1e9,
        )
        window.take([report])
    said = window.cut().summary(
        model="m", version="3.0", sequence=3, start=1, end=2, on_trial=False
    )
    message = Metrics(device="cam-1", counter=1, time=1, summaries=(said,))
    assert wire.decode(wire.encode(message), Metrics) == message
