"""Summaries wait in a ring until the broker has them; scrapers read totals."""

from __future__ import annotations

import re

import msgspec
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
    assert [s.start for s in after.summaries] == [1]
    assert after.counter > first.counter


STEPS = st.lists(
    st.sampled_from(["minute", "minute", "send", "send", "send", "confirm", "save", "kill"]),
    min_size=60,
    max_size=150,
)


@given(STEPS)
def test_whenever_it_is_killed_each_window_counts_at_most_once_and_what_was_sent_counts(
    steps: list[str],
) -> None:
    """A reader takes each counter once; the disk has what `MetricsCollector` writes, and when."""
    ring, disk, minute = MetricsRing(), b"", 0
    in_flight: list[Metrics] = []
    read: dict[int, Metrics] = {}
    for step in steps:
        match step:
            case "minute":
                minute += 1
                ring.add(summary(60 * minute))
            case "send" if not in_flight and (message := send(ring)) is not None:
                disk = ring.to_bytes() if ring.must_be_saved else disk
                assert read.setdefault(message.counter, message) == message, "other content"
                in_flight.append(message)
            case "confirm" if in_flight:
                ring.confirm(in_flight.pop())
            case "save":
                send(ring)
                disk = ring.to_bytes()
            case "kill":
                ring = MetricsRing.from_bytes(disk or None)
                in_flight.clear()
    counted = [one.start for message in read.values() for one in message.summaries]
    assert len(counted) == len(set(counted)), "a window was counted twice"


def must_be_saved(ring: MetricsRing) -> bool:
    return ring.must_be_saved


def test_a_counter_is_not_used_again_after_a_kill_that_nothing_was_written_before() -> None:
    ring = MetricsRing()
    ring.add(summary(0))
    first = send(ring)
    assert first is not None
    assert must_be_saved(ring)
    disk = ring.to_bytes()
    assert not must_be_saved(ring)
    ring.confirm(first)
    ring.add(summary(60))
    second = send(ring)
    assert second is not None
    assert not must_be_saved(ring)  # flash is spared: the disk has nothing of it

    again = MetricsRing.from_bytes(disk)
    again.confirm(first)
    again.add(summary(120))
    third = send(again)
    assert third is not None
    assert third.counter > second.counter


def test_a_ring_of_before_counters_were_reserved_goes_on() -> None:
    ring = MetricsRing()
    ring.add(summary(0))
    old = msgspec.msgpack.decode(ring.to_bytes())
    del old["reserved"]
    again = MetricsRing.from_bytes(msgspec.msgpack.encode(old | {"counter": 7}))
    message = send(again)
    assert message is not None
    assert message.counter == 8
    assert again.must_be_saved


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
    ours, its = send(ring), send(again)
    assert ours is not None
    assert its is not None
    assert (its.summaries, its.dropped) == (ours.summaries, ours.dropped)


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
