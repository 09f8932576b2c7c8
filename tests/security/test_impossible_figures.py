"""A device's figures are data from outside: huge ones stop nobody's, nor make sums that cannot be.

The database holds numbers of 63 bits, and so do histograms; a message may hold 64 summaries of
2^53 requests each. What no device can have answered is not added up, and what one says of itself
neither hides in a verdict what all others say, nor is the verdict.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from slotcast_device.application.app_report import AppReport
from slotcast_device.trial.live_figures import FiguresWindow
from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.folding import fold_metrics
from slotcast_publisher.fleet.figures.comparison import Figure, FiguresPair, on_all
from slotcast_publisher.fleet.figures.histograms import COUNT_MAX, GRID_S, histogram_of
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.intake.batch import Batch
from slotcast_publisher.fleet.intake.known_device import DeviceRecord
from slotcast_publisher.fleet.intake.plausible import (
    BACKLOG_S,
    REQUESTS_PER_S_MAX,
    requests_said,
)
from slotcast_publisher.fleet.intake.taking import Came, take_all
from slotcast_publisher.fleet.intake.writes import read_records, write_batch
from slotcast_publisher.serve.companion import Heard
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


# --- what is plausible ----------------------------------------------------------------------------

FIRST_S = 1_800_000_000.0


class Intake:
    """Takes what one device says, as the intake does."""

    def __init__(self) -> None:
        self.known: dict[str, DeviceRecord] = {}
        self.counter = 0
        self.requests = 0

    def says(self, requests: int, now_s: float) -> bool:
        """Say figures of so many requests; gives whether they count."""
        self.counter += 1
        part = msgspec.structs.replace(summary(int(now_s)), requests=requests, latency=None)
        message = Metrics(device="thief", counter=self.counter, time=int(now_s), summaries=(part,))
        heard = Heard("t/devices/thief/metrics", wire.encode(message), False, now_s, "b")
        batch = take_all([Came(message, heard)], self.known, 10)
        self.requests += sum(s.requests for m in batch.metrics for s in m.metrics.summaries)
        return bool(batch.metrics)


def test_requests_that_no_device_can_have_answered_are_not_added_and_the_next_are() -> None:
    intake = Intake()
    assert intake.says(1_000, FIRST_S)
    assert not intake.says(SAFE_INTEGER_MAX, FIRST_S + 60)
    assert intake.known["thief"].refused_why == "impossible_figures"
    assert intake.says(1_000, FIRST_S + 120)
    assert intake.requests == 2_000


def test_all_that_one_device_adds_in_two_months_is_what_time_allows() -> None:
    intake = Intake()
    for hour in range(24 * 60):
        for requests in (10**12, 10**11, 3 * 10**8):
            intake.says(requests, FIRST_S + hour * 3600)
    assert intake.requests <= (60 * 86_400 + BACKLOG_S) * REQUESTS_PER_S_MAX
    assert intake.requests < COUNT_MAX / 1_000_000, "a million such devices fill no sum"


def test_what_a_device_has_said_is_known_after_a_restart(database: Database) -> None:
    intake, most = Intake(), int(BACKLOG_S * REQUESTS_PER_S_MAX)
    assert intake.says(most - 10, FIRST_S)
    batch = Batch(records=intake.known)
    with database.transaction() as connection:
        write_batch(connection, batch)
        intake.known = read_records(connection, ["thief"], room=10)
    assert not intake.says(1_000, FIRST_S)
    assert intake.says(10, FIRST_S)


def test_figures_of_forty_days_offline_count() -> None:
    intake = Intake()
    assert intake.says(10, FIRST_S)
    assert intake.says(40 * 86_400 * 1_000, FIRST_S + 40 * 86_400)


@pytest.mark.parametrize("field", ["requests", "errors", "nonfinite", "invalid", "latency"])
def test_no_field_of_a_summary_says_more(field: str) -> None:
    value: object = SAFE_INTEGER_MAX
    if field == "latency":
        value = largest((0.1, 0.2)).latency
    usual = msgspec.structs.replace(summary(NOW_S), latency=None)
    part = msgspec.structs.replace(usual, **{field: value})
    message = Metrics(device="thief", counter=1, time=NOW_S, summaries=(part,))
    assert requests_said(message) >= SAFE_INTEGER_MAX


# --- verdicts -------------------------------------------------------------------------------------

LIMIT = 0.01


def share_of(errors: int, requests: int) -> FiguresPair:
    return FiguresPair(ReleaseFigures(requests=requests, errors=errors))


@pytest.mark.parametrize("devices", [6, 20, 600])
def test_one_device_hides_no_errors_of_all_others_in_a_verdict(devices: int) -> None:
    honest = [share_of(5, 100)] * devices
    found = on_all(Figure.ERROR_SHARE, [*honest, share_of(0, SAFE_INTEGER_MAX)], 0.95)
    assert found is not None
    assert found.low > LIMIT


@pytest.mark.parametrize("devices", [6, 20, 600])
def test_one_device_is_no_verdict_on_all_others(devices: int) -> None:
    honest = [share_of(0, 100)] * devices
    liar = share_of(SAFE_INTEGER_MAX, SAFE_INTEGER_MAX)
    found = on_all(Figure.ERROR_SHARE, [*honest, liar], 0.95)
    assert found is not None
    assert found.low <= LIMIT
    assert found.value <= 2 / devices or found.value <= 0.11


def test_one_device_hides_no_slower_calls_of_all_others() -> None:
    slow, quick = 0.4, 0.01
    honest = [FiguresPair(_calls(slow, 500), _calls(quick, 500))] * 20
    liar = FiguresPair(_calls(quick, 10**15), _calls(quick, 500))
    found = on_all(Figure.LATENCY_P95_RATIO, [*honest, liar], 0.95)
    assert found is not None
    assert found.low > 2


def _calls(each_s: float, requests: int) -> ReleaseFigures:
    counts = tuple(requests * (low <= each_s < high) for low, high in pairwise((0.0, *GRID_S, 1e9)))
    latency = Latency(
        p50_s=each_s,
        p95_s=each_s,
        p99_s=each_s,
        max_s=each_s,
        sum_s=each_s,
        bounds_s=GRID_S,
        counts=counts,
    )
    found = histogram_of(latency)
    assert found is not None
    return ReleaseFigures(requests=requests, latency=found)


def test_devices_that_have_as_many_requests_as_others_count_for_all_of_them() -> None:
    usual = [share_of(n, 100 * n) for n in range(1, 31)]
    found = on_all(Figure.ERROR_SHARE, usual, 0.95)
    assert found is not None
    assert found.value == pytest.approx(0.01)
    few = on_all(Figure.ERROR_SHARE, [share_of(1, 100), share_of(0, 300)], 0.95)
    assert few is not None
    assert few.value == pytest.approx(1 / 400)
