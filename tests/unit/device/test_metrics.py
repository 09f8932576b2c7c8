"""Summaries wait in a ring until the broker has them; scrapers read totals."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from slotcast_device.application.histogram import WIRE_BOUNDS_S, bucket_of, latency
from slotcast_device.reporting.metrics_ring import MetricsRing
from slotcast_device.reporting.openmetrics import Totals
from slotcast_schemas import wire
from slotcast_schemas.messages.metrics import Metrics, Summary


def summary(start: int, requests: int = 10, sequence: int = 1) -> Summary:
    counts = [0] * 416
    counts[bucket_of(5_000_000)] = requests
    return Summary(
        model="detector", version=f"{sequence}.0", sequence=sequence, start=start, end=start + 60,
        requests=requests, errors=1, latency=latency(counts, requests * 0.005, 0.005),
        rss_bytes=1000, load_s=0.5,
    )  # fmt: skip


def send(ring: MetricsRing) -> Metrics | None:
    return ring.message(device="dev", time=1)


def test_hours_offline_come_in_order_once_back() -> None:
    ring = MetricsRing()
    for minute in range(200):
        ring.add(summary(minute * 60))
    starts: list[int] = []
    while message := send(ring):
        assert wire.decode(wire.encode(message), Metrics) == message
        starts += [s.start for s in message.summaries]
        ring.confirm(message)
    assert starts == [minute * 60 for minute in range(200)]


def test_what_is_not_confirmed_comes_again() -> None:
    ring = MetricsRing()
    ring.add(summary(0))
    assert send(ring) == send(ring)
    assert len(ring) == 1


def test_a_message_comes_again_as_it_was_whatever_was_added_and_over_a_restart() -> None:
    ring = MetricsRing()
    ring.add(summary(0))
    first = send(ring)
    ring.add(summary(1))
    assert send(ring) == first
    again = MetricsRing.from_bytes(ring.to_bytes())
    assert send(again) == first
    assert first is not None
    again.confirm(first)
    after = send(again)
    assert after is not None
    assert (after.counter, [s.start for s in after.summaries]) == (first.counter + 1, [1])


def test_the_oldest_go_first_and_are_counted() -> None:
    ring = MetricsRing(size=3)
    for minute in range(5):
        ring.add(summary(minute))
    message = send(ring)
    assert message is not None
    assert [s.start for s in message.summaries] == [2, 3, 4]
    assert message.dropped == 2
    ring.confirm(message)
    ring.add(summary(9))
    again = send(ring)
    assert again is not None
    assert (again.dropped, again.counter) == (0, message.counter + 1)


def test_what_was_pushed_out_while_it_was_sent_is_not_called_lost() -> None:
    ring = MetricsRing(size=2)
    ring.add(summary(0))
    ring.add(summary(1))
    message = send(ring)
    assert message is not None
    ring.add(summary(2))
    ring.confirm(message)
    left = send(ring)
    assert left is not None
    assert [s.start for s in left.summaries] == [2]
    assert left.dropped == 0


def test_a_restart_keeps_the_ring() -> None:
    ring = MetricsRing(size=2)
    for minute in range(4):
        ring.add(summary(minute))
    again = MetricsRing.from_bytes(ring.to_bytes(), size=2)
    assert send(again) == send(ring)


def test_the_ring_on_disk_stays_within_a_few_megabytes() -> None:
    ring = MetricsRing()
    for minute in range(3000):
        ring.add(summary(minute))
    assert len(ring) == 1440
    assert len(ring.to_bytes()) < 2 << 20


@given(st.binary(max_size=200))
def test_a_damaged_ring_is_an_empty_one(data: bytes) -> None:
    ring = MetricsRing.from_bytes(data)
    ring.add(summary(0))
    assert send(ring) is not None
    assert len(MetricsRing.from_bytes(None)) == 0


def test_openmetrics_text_adds_windows_up() -> None:
    totals = Totals()
    totals.add(summary(0, requests=10))
    totals.add(summary(60, requests=5))
    totals.add(summary(60, requests=7, sequence=2))
    text = totals.openmetrics()
    assert text.endswith("# EOF\n")
    assert 'slotcast_requests_total{model="detector",version="1.0"} 15' in text
    assert 'slotcast_requests_total{model="detector",version="2.0"} 7' in text
    assert 'slotcast_latency_seconds_count{model="detector",version="1.0"} 15' in text
    assert 'slotcast_latency_seconds_sum{model="detector",version="1.0"} 0.075' in text
    assert 'slotcast_latency_seconds_bucket{model="detector",version="1.0",le="+Inf"} 15' in text
    for line in text.splitlines():
        assert re.fullmatch(r'# .+|[a-z_]+(\{([a-z]+="[^"]*",?)+\})? [0-9.e+-]+', line), line


def test_buckets_are_cumulative_and_families_stand_together() -> None:
    totals = Totals()
    totals.add(summary(0))
    lines = totals.openmetrics().splitlines()
    counts = [int(line.split()[-1]) for line in lines if "_bucket{" in line]
    assert counts == sorted(counts)
    assert len(counts) == len(WIRE_BOUNDS_S) + 1
    types = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types))


def test_totals_of_releases_long_gone_are_forgotten() -> None:
    totals = Totals(releases_max=3)
    for sequence in range(1, 10):
        totals.add(summary(0, sequence=sequence))
    assert 'version="6.0"' not in totals.openmetrics()
    assert 'version="9.0"' in totals.openmetrics()
