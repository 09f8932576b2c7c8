"""Reports of applications: added up over processes and restarts, and none of them trusted."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_device.application.app_report import (
    REPORT_MAX_BYTES,
    REPORTS_MAX,
    AppReport,
    forget_reports,
    read_reports,
    write_report,
)
from slotcast_device.application.histogram import (
    BOUNDS_S,
    BUCKETS,
    WIRE_BOUNDS_S,
    bucket_of,
    latency,
    quantile_s,
    rebucket,
)
from slotcast_device.hotmodel.recorder import LOOK_FIRST, Recorder
from slotcast_device.trial.live_figures import FiguresWindow


def report(instance: str, requests: int, **more: Any) -> AppReport:
    fields: dict[str, Any] = {
        "slot": "b",
        "phase": "serving",
        "bounds_s": (0.01, 0.1),
        "counts": (requests, 0, 0),
        **more,
    }
    return AppReport(instance=instance, requests=requests, **fields)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    counts = [0] * BUCKETS
    counts[100] = 7
    full = report("1", 7, bounds_s=BOUNDS_S, counts=tuple(counts), rss_bytes=5, output_mean=0.5)
    write_report(tmp_path, full)
    write_report(tmp_path, report("2", 1))
    found = read_reports(tmp_path)
    assert full in found.reports
    assert len(found.reports) == 2
    assert not list(tmp_path.glob(".*"))


def test_a_shell_may_write_the_least(tmp_path: Path) -> None:
    (tmp_path / "report-me-a.json").write_text('{"slot": "a", "phase": "serving", "requests": 3}')
    (found,) = read_reports(tmp_path).reports
    assert (found.requests, found.counts) == (3, ())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"slot": "c", "phase": "serving"}',
        b'{"slot": "a", "phase": "serving", "requests": -1}',
        b'{"slot": "a", "phase": "serving", "bounds_s": [2, 1], "counts": [1, 1, 1]}',
        b'{"slot": "a", "phase": "serving", "bounds_s": [1], "counts": [1]}',
        b'{"slot": "a", "phase": "serving", "instance": "' + b"x" * 500 + b'"}',
        b" " * (REPORT_MAX_BYTES + 1),
    ],
)
def test_what_is_not_a_report_is_counted_and_left_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report-bad-a.json").write_bytes(content)
    write_report(tmp_path, report("good", 1))
    found = read_reports(tmp_path)
    assert (len(found.reports), found.malformed) == (1, 1)


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "elsewhere.json"
    secret.write_bytes(msgspec.json.encode(report("x", 1)))
    (tmp_path / "report-link-a.json").symlink_to(secret)
    os.mkfifo(tmp_path / "report-pipe-a.json")
    (tmp_path / "report-folder-a.json").mkdir()
    found = read_reports(tmp_path)
    assert (found.reports, found.malformed) == ((), 3)


def test_only_so_many_files_are_read(tmp_path: Path) -> None:
    for index in range(REPORTS_MAX + 10):
        write_report(tmp_path, report(str(index), 1))
    assert len(read_reports(tmp_path).reports) == REPORTS_MAX


def test_a_folder_that_is_not_there_holds_no_reports(tmp_path: Path) -> None:
    assert read_reports(tmp_path / "app").reports == ()
    forget_reports(tmp_path / "app", slot="a")


def test_reports_of_a_slot_are_forgotten(tmp_path: Path) -> None:
    write_report(tmp_path, report("1", 1, slot="a"))
    write_report(tmp_path, report("2", 1, slot="b"))
    forget_reports(tmp_path, slot="b")
    assert [r.slot for r in read_reports(tmp_path).reports] == ["a"]


@pytest.mark.parametrize(
    ("ages_s", "kept"),
    [
        ((10, 5000), 1),  # one of a process that is gone
        ((100_000, 100_005), 2),  # the clock was set ahead: both were written a moment ago
        ((-100_000, 10), 2),  # the clock was set back: the first is of before, the second lives
        ((-100_000, 10, 5000), 2),
    ],
)
def test_old_reports_are_forgotten_and_those_of_the_living_kept_whatever_the_clock_says(
    tmp_path: Path, ages_s: tuple[int, ...], kept: int
) -> None:
    for number, age_s in enumerate(ages_s):
        write_report(tmp_path, report(str(number), 1))
        written_s = time.time() - age_s
        os.utime(tmp_path / f"report-{number}-b.json", (written_s, written_s))
    forget_reports(tmp_path, stale_after_s=3600)
    assert len(list(tmp_path.glob("report-*"))) == kept


def test_a_window_adds_processes_up_and_counts_nothing_twice() -> None:
    window = FiguresWindow("b", sequence=5)
    window.take([report("1", 10), report("2", 5)])
    window.take([report("1", 10), report("2", 9)])
    assert window.figures.requests == 19
    assert sum(window.figures.counts) == 19
    assert window.figures.serving == 2
    assert window.cut().requests == 19
    assert window.take([report("1", 12), report("2", 9)]).requests == 2


def test_a_process_that_began_again_counts_from_zero() -> None:
    window = FiguresWindow("b")
    window.take([report("1", 10)])
    window.take([report("1", 3)])
    assert window.figures.requests == 13
    assert window.take([report("2", 4)]).requests == 17


def test_what_a_process_counted_stays_when_it_ends_and_takes_its_report_with_it() -> None:
    window = FiguresWindow("b")
    window.take([report("1", 10, errors=1), report("2", 5)])
    figures = window.take([report("2", 6)])
    assert (figures.requests, figures.errors, figures.serving) == (16, 1, 1)


def test_an_application_that_does_not_count_requests_says_nothing_of_them(tmp_path: Path) -> None:
    (tmp_path / "report-1-b.json").write_text('{"slot": "b", "phase": "serving"}')
    figures = FiguresWindow("b").take(read_reports(tmp_path).reports)
    assert (figures.requests, figures.serving, figures.is_counted) == (0, 1, False)
    write_report(tmp_path, report("2", 0))
    assert FiguresWindow("b").take(read_reports(tmp_path).reports).is_counted


def test_reports_of_another_slot_or_release_are_left_out() -> None:
    window = FiguresWindow("b", sequence=5)
    window.take([report("1", 10, slot="a"), report("2", 7, sequence=4), report("3", 2, sequence=5)])
    assert window.figures.requests == 2


def test_what_was_counted_before_a_restart_of_the_agent_can_be_skipped() -> None:
    window = FiguresWindow("b")
    window.skip([report("1", 10)])
    assert window.take([report("1", 12)]).requests == 2


def test_a_window_stays_small_whatever_comes() -> None:
    window = FiguresWindow("b")
    for index in range(2000):
        window.take([report(str(index), 1)])
    assert window.figures.requests == 2000
    assert len(window._seen) <= REPORTS_MAX + 1


@given(st.integers(0, 10**11))
def test_every_latency_lies_within_its_bucket(latency_ns: int) -> None:
    bucket = bucket_of(latency_ns)
    assert 0 <= bucket < BUCKETS
    if bucket < len(BOUNDS_S):
        assert latency_ns / 1e9 < BOUNDS_S[bucket]
    if bucket > 0:
        assert latency_ns / 1e9 >= BOUNDS_S[bucket - 1]


def test_buckets_are_narrow() -> None:
    pairs = itertools.pairwise(BOUNDS_S[15:])
    assert max(high / low for low, high in pairs) <= 1.0625


@given(st.lists(st.integers(1000, 10**10), min_size=1, max_size=300))
def test_quantiles_are_those_of_the_values_within_a_bucket(values_ns: list[int]) -> None:
    recorder = Recorder()
    for value in values_ns:
        recorder.record(value)
    ordered = sorted(values_ns)
    for share in (0.5, 0.95, 0.99):
        true_s = ordered[max(0, -(-int(share * 1000 * len(ordered)) // 1000) - 1)] / 1e9
        got_s = quantile_s(recorder.counts, share, recorder.max_ns / 1e9)
        assert got_s is not None
        assert true_s / 1.07 - 128e-9 <= got_s <= true_s * 1.07 + 128e-9


def test_what_is_sent_keeps_every_request() -> None:
    recorder = Recorder()
    for value in (10_000, 1_000_000, 50_000_000, 500_000_000_000):
        recorder.record(value)
    sent = latency(recorder.counts, recorder.sum_ns / 1e9, recorder.max_ns / 1e9)
    assert sent is not None
    assert sum(sent.counts) == 4
    assert len(sent.counts) == len(WIRE_BOUNDS_S) + 1
    assert rebucket((1.0,), (3, 4), WIRE_BOUNDS_S)[-1] == 4


def test_outputs_are_looked_at_first_always_then_now_and_again() -> None:
    recorder = Recorder()
    looks = 0
    for _ in range(LOOK_FIRST + 160):
        recorder.record(1000)
        looks += recorder.wants_look()
    assert looks == LOOK_FIRST + 10
