"""Judges a trial: live figures of the new release against its limits and the old one. Pure.

A verdict needs no network and no clock: how long the trial lasts is an argument. It can fail at
any look, as soon as a limit cannot be kept any more; it passes when its time is over and enough
requests were answered. Where no application reports, the agent holds probes instead, and counts
each as a request. What leads to which reason is listed in docs/health-check.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from slotcast_device.probe.judge import LATENCY_NOISE_S, ProbeResult, describe
from slotcast_device.trial.live_figures import Figures
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import Check

ENOUGH_FOR_MEDIAN: Final = 20
ENOUGH_FOR_P95: Final = 200
ENOUGH_FOR_SHARES: Final = 100
"""Errors of the first requests are held against this many, so that one is not a share of 1."""

REASONS: Final = {
    "taken_over": "app_refused",
    "restarts": "restarts",
    "errors": "errors",
    "nonfinite": "nonfinite_output",
    "memory": "too_much_memory",
    "latency_p50": "too_slow",
    "latency_p95": "too_slow",
    "deadline": "trial_deadline",
}

Outcome = Literal["pending", "passed", "failed"]


@dataclass(frozen=True, slots=True)
class TrialVerdict:
    """Where a trial stands.

    Attributes:
        outcome: `pending` means: look again later.
        reason: `pending`, `passed`, or one stable word for why it failed.
        detail: one sentence for people, with both sides.
        checks: the evidence, old and new figures side by side.
    """

    outcome: Outcome
    reason: str
    detail: str
    checks: tuple[Check, ...]


def judge_trial(
    trial: Trial,
    *,
    reference: Figures | None,
    seen: Figures,
    elapsed_s: float,
    restarts: int,
) -> TrialVerdict:
    """Judge what was seen so far.

    Args:
        trial: the release's limits.
        reference: the old release's figures, from before the switch; None if there are none.
        seen: the new release's, since the switch.
        elapsed_s: how long it was watched, before restarts and reboots too.
        restarts: starts of the agent that found this trial under way. Restarts of the
            application are taken from `seen`.
    """
    restarts += max(0, seen.starts - seen.alive)
    checks = tuple(_checks(trial, reference, seen, restarts))
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        return TrialVerdict("failed", _reason(failed, seen), describe(failed), checks)
    if elapsed_s >= trial.duration_s and seen.requests >= trial.min_requests:
        exact = _exact_errors(trial, reference, seen)
        if not exact.passed:
            return TrialVerdict("failed", REASONS["errors"], describe(exact), (*checks, exact))
        return TrialVerdict("passed", "passed", "", checks)
    if elapsed_s >= max(trial.deadline_s, trial.duration_s):
        late = Check(
            name="deadline",
            passed=False,
            value=seen.requests,
            limit=trial.min_requests,
            detail=f"requests after {elapsed_s:.0f} s; {seen.serving} processes serve it",
        )
        return TrialVerdict("failed", REASONS["deadline"], describe(late), (*checks, late))
    return TrialVerdict("pending", "pending", _waits_for(trial, seen, elapsed_s), checks)


def judge_probes(
    trial: Trial, probe: ProbeResult, *, elapsed_s: float, restarts: int, probes: int
) -> TrialVerdict:
    """Judge the trial of a device without an application, after one more probe of the slot.

    Args:
        trial: the release's limits.
        probe: of the release on trial, held just now.
        elapsed_s: how long it has been live.
        restarts: starts of the agent that found this trial under way.
        probes: held so far, this one included; each counts as a request.
    """
    if probe.blames_model and not probe.passed:
        return TrialVerdict("failed", probe.reason, probe.detail, probe.checks)
    verdict = judge_trial(
        trial,
        reference=None,
        seen=Figures(requests=probes),
        elapsed_s=elapsed_s,
        restarts=restarts,
    )
    checks = (*probe.checks, *(c for c in verdict.checks if c.name == "restarts"))
    return TrialVerdict(verdict.outcome, verdict.reason, verdict.detail, checks)


def _checks(
    trial: Trial, reference: Figures | None, seen: Figures, restarts: int
) -> Iterator[Check]:
    if seen.failure is not None:
        yield Check(name="taken_over", passed=False, detail=seen.failure.detail)
    yield Check(
        name="restarts",
        passed=restarts < trial.max_restarts,
        value=restarts,
        limit=trial.max_restarts,
    )
    old = reference or Figures()
    yield _errors(trial, old, seen)
    yield Check(
        name="nonfinite",
        passed=seen.nonfinite_share <= trial.max_nonfinite_share,
        value=seen.nonfinite_share,
        limit=trial.max_nonfinite_share,
        reference=old.nonfinite_share if old.checked else None,
        detail=f"{seen.nonfinite} of {seen.checked} outputs looked at",
    )
    limit_bytes = trial.max_memory_bytes
    yield Check(
        name="memory",
        passed=limit_bytes is None or seen.rss_bytes <= limit_bytes,
        value=seen.rss_bytes,
        limit=limit_bytes,
        reference=old.rss_bytes or None,
    )
    yield from _latencies(trial, old, seen)
    if seen.output_mean is not None:
        yield Check(
            name="output_mean", passed=True, value=seen.output_mean, reference=old.output_mean
        )
    if seen.output_std is not None:
        yield Check(name="output_std", passed=True, value=seen.output_std, reference=old.output_std)


def _errors(trial: Trial, old: Figures, seen: Figures) -> Check:
    """Fails early, once there are more errors than the whole trial may have.

    What callers get wrong fails in the old release too, so the limit is on top of its share.
    """
    limit = trial.max_error_share + old.error_share
    counted = max(seen.requests, trial.min_requests, ENOUGH_FOR_SHARES)
    return Check(
        name="errors",
        passed=seen.errors <= limit * counted,
        value=seen.error_share,
        limit=limit,
        reference=old.error_share if old.requests else None,
        detail=f"{seen.errors} of {seen.requests} requests",
    )


def _exact_errors(trial: Trial, reference: Figures | None, seen: Figures) -> Check:
    """At the end of the trial, of the requests that there were."""
    limit = trial.max_error_share + (reference or Figures()).error_share
    return Check(
        name="errors", passed=seen.error_share <= limit, value=seen.error_share, limit=limit
    )


def _latencies(trial: Trial, old: Figures, seen: Figures) -> Iterator[Check]:
    for name, share, enough in (
        ("latency_p50", 0.50, ENOUGH_FOR_MEDIAN),
        ("latency_p95", 0.95, ENOUGH_FOR_P95),
    ):
        value_s, old_s = seen.quantile_s(share), old.quantile_s(share)
        if value_s is None:
            continue
        limit_s = None
        is_enough = min(seen.requests, old.requests) >= enough
        if old_s is not None and trial.max_latency_ratio is not None and is_enough:
            limit_s = old_s * trial.max_latency_ratio + LATENCY_NOISE_S
        passed = limit_s is None or value_s <= limit_s
        yield Check(name=name, passed=passed, value=value_s, limit=limit_s, reference=old_s)


def _reason(failed: Check, seen: Figures) -> str:
    """An application that could not take the release over gives its own reason."""
    if failed.name == "taken_over" and seen.failure is not None:
        return seen.failure.reason
    return REASONS[failed.name]


def _waits_for(trial: Trial, seen: Figures, elapsed_s: float) -> str:
    time = f"{elapsed_s:.0f} of {trial.duration_s:.0f} s"
    if not trial.min_requests:
        return time
    return f"{seen.requests} of {trial.min_requests} requests, {time}"
