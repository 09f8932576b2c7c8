"""A trial: each way to fail under live traffic, and the one way to stay."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from slotcast_device.application.app_report import Failure
from slotcast_device.application.histogram import BUCKETS, bucket_of
from slotcast_device.trial.judge import TrialVerdict, hold_back, judge_probes, judge_trial
from slotcast_device.trial.live_figures import LiveFigures
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.probe.judge import ProbeResult

TRIAL = Trial(duration_s=60.0, min_requests=500, deadline_s=600.0)


def figures(requests: int, *, latency_s: float = 0.010, **more: Any) -> LiveFigures:
    counts = [0] * BUCKETS
    counts[bucket_of(int(latency_s * 1e9))] = requests - more.get("errors", 0)
    fields: dict[str, Any] = {"serving": 1, "rss_bytes": 100, **more}
    return LiveFigures(
        requests=requests, checked=requests, counts=tuple(counts), max_s=latency_s, **fields
    )


OLD = figures(10_000)


def judged(
    seen: LiveFigures,
    *,
    trial: Trial = TRIAL,
    old: LiveFigures | None = OLD,
    elapsed_s: float = 61.0,
    restarts: int = 0,
) -> TrialVerdict:
    return judge_trial(trial, reference=old, seen=seen, elapsed_s=elapsed_s, restarts=restarts)


def test_it_passes_when_time_and_requests_are_there_with_both_figures_in_evidence() -> None:
    verdict = judged(figures(500))
    assert (verdict.outcome, verdict.reason) == ("passed", "passed")
    (p50,) = [check for check in verdict.checks if check.name == "latency_p50"]
    assert p50.value == pytest.approx(0.010, rel=0.06)
    assert p50.reference == pytest.approx(0.010, rel=0.06)


@pytest.mark.parametrize(("requests", "elapsed_s"), [(499, 61.0), (500, 59.0), (0, 599.0)])
def test_it_waits_for_both(requests: int, elapsed_s: float) -> None:
    assert judged(figures(requests), elapsed_s=elapsed_s).outcome == "pending"


def test_a_trial_without_length_passes_at_the_first_look() -> None:
    assert judged(LiveFigures(), trial=Trial(), old=None, elapsed_s=0.0).outcome == "passed"


def test_requests_that_never_come_end_in_a_deadline() -> None:
    verdict = judged(figures(10), elapsed_s=600.0)
    assert (verdict.outcome, verdict.reason) == ("failed", "trial_deadline")


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (figures(100, errors=6), "errors"),
        (figures(500, nonfinite=1), "nonfinite_output"),
        (figures(100, latency_s=0.050), "too_slow"),
        (figures(100, rss_bytes=3000), "too_much_memory"),
        (
            replace(LiveFigures(), failure=Failure(reason="memory_short", detail="needs more")),
            "memory_short",
        ),
    ],
)
def test_it_fails_at_once_where_a_limit_is_broken(seen: LiveFigures, reason: str) -> None:
    trial = Trial(duration_s=60.0, min_requests=500, max_memory_bytes=2000)
    verdict = judged(seen, trial=trial, elapsed_s=1.0)
    assert (verdict.outcome, verdict.reason) == ("failed", reason)
    assert verdict.detail


def test_restarts_count_up_to_the_limit() -> None:
    assert judged(figures(10), restarts=2, elapsed_s=1.0).outcome == "pending"
    assert judged(figures(10), restarts=3, elapsed_s=1.0).reason == "restarts"


def test_one_error_among_few_requests_is_no_verdict_until_there_are_enough_or_no_time_is_left() -> (
    None
):
    trial = Trial(duration_s=60.0, min_requests=10, deadline_s=600.0)
    for old in (OLD, None):
        assert judged(figures(2, errors=1), trial=trial, old=old, elapsed_s=1.0).reason == "pending"
        verdict = judged(figures(40, errors=1), trial=trial, old=old)
        assert (verdict.outcome, verdict.reason) == ("pending", "few_requests")
        assert "1 of 40 requests" in verdict.detail
        assert judged(figures(100, errors=1), trial=trial, old=old).outcome == "passed"
        assert judged(figures(40, errors=6), trial=trial, old=old).reason == "errors"
        late = judged(figures(40, errors=4), trial=trial, old=old, elapsed_s=600.0)
        assert (late.outcome, late.reason) == ("failed", "errors")
        # One of forty comes by chance once in three trials of a release that fails 1 %.
        assert judged(figures(40, errors=1), trial=trial, old=old, elapsed_s=600.0).outcome == (
            "passed"
        )


def test_a_share_above_its_limit_counts_only_where_it_is_more_than_chance() -> None:
    trial = Trial(duration_s=60.0, min_requests=10)
    assert judged(figures(60, errors=4), trial=trial, old=figures(30)).outcome == "passed"
    assert judged(figures(60, errors=30), trial=trial, old=figures(30)).reason == "errors"
    assert judged(figures(600, errors=40), trial=trial, old=figures(10_000)).reason == "errors"


def test_outputs_that_overflow_in_the_old_release_too_are_not_the_new_ones_fault() -> None:
    old = figures(1000, nonfinite=10)
    assert judged(figures(1000, nonfinite=9), old=old).outcome == "passed"
    assert judged(figures(1000, nonfinite=50), old=old).reason == "nonfinite_output"
    assert judged(figures(500, nonfinite=1)).reason == "nonfinite_output"
    assert judged(figures(500, nonfinite=1), old=None).reason == "nonfinite_output"


def test_a_pass_that_is_held_back_ends_in_the_deadline() -> None:
    passed = judged(figures(500))
    waits = hold_back(TRIAL, passed, "waiting for one", elapsed_s=61.0)
    assert (waits.outcome, waits.detail) == ("pending", "waiting for one")
    late = hold_back(TRIAL, passed, "waiting for one", elapsed_s=600.0)
    assert (late.outcome, late.reason) == ("failed", "trial_deadline")
    assert "waiting for one" in late.detail


def test_errors_that_the_old_release_had_too_are_not_the_new_ones_fault() -> None:
    old = figures(10_000, errors=1000)
    assert judged(figures(1000, errors=105), old=old).outcome == "passed"
    assert judged(figures(1000, errors=160), old=old).reason == "errors"


def test_few_requests_say_nothing_about_latency() -> None:
    assert judged(figures(10, latency_s=1.0), elapsed_s=1.0).outcome == "pending"
    assert judged(figures(100, latency_s=1.0), old=None, elapsed_s=1.0).outcome == "pending"


def test_a_slow_tail_is_seen_once_there_are_enough_requests() -> None:
    seen = figures(1000)
    counts = list(seen.counts)
    counts[bucket_of(10**9)] += 100
    seen = replace(seen, counts=tuple(counts), requests=1100, max_s=1.0)
    verdict = judged(seen)
    assert verdict.reason == "too_slow"
    assert "latency_p95" in verdict.detail


def test_without_an_application_probes_stand_in() -> None:
    good = ProbeResult(passed=True, reason="passed", detail="", checks=())
    bad = replace(good, passed=False, reason="golden_mismatch", detail="golden is 9 (limit 1)")
    canceled = replace(good, passed=False, reason="probe_canceled", blames_model=False)
    trial = Trial(duration_s=10.0, min_requests=3)
    options: dict[str, Any] = {"elapsed_s": 11.0, "restarts": 0}
    waits = judge_probes(trial, good, probes=2, **options)
    assert (waits.outcome, waits.detail) == ("pending", "2 of 3 probes, 11 of 10 s")
    assert judge_probes(trial, good, probes=3, **options).outcome == "passed"
    assert judge_probes(trial, bad, probes=3, **options).reason == "golden_mismatch"
    assert judge_probes(trial, canceled, probes=2, **options).outcome == "pending"
