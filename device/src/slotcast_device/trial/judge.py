"""Judges a trial: live figures of the new release against its limits and the old one. Pure.

A verdict needs no network and no clock: how long the trial lasts is an argument. It can fail at
any look, as soon as a limit cannot be kept any more; it passes when its time is over and enough
requests were answered. Where no application reports, the agent holds probes instead, and counts
each as a request. What leads to which reason is listed in docs/health-check.md.
Whether a share is above its limit by more than chance is decided by `shares`, and how long a
release must have been served before its trial passes by `watcher`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from slotcast_device.trial.live_figures import LiveFigures
from slotcast_device.trial.shares import SURE, SURE_AT_LAST, SUSPECT, Share, doubt
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import Check
from slotcast_schemas.plural import part_of
from slotcast_schemas.probe.judge import TOO_SLOW, ProbeResult, describe
from slotcast_schemas.probe.speed import NOISE_S
from slotcast_schemas.reasons import Reason

ENOUGH_FOR_MEDIAN: Final = 20
"""The number of requests from which a median of their latency means something."""
ENOUGH_FOR_P95: Final = 200
"""The number of requests from which the latency that 95 % do not exceed means something: ten are
above it."""

REASONS: Final = {
    "taken_over": Reason.APP_REFUSED,
    "restarts": Reason.RESTARTS,
    "errors": Reason.ERRORS,
    "nonfinite": Reason.NONFINITE_OUTPUT,
    "memory": Reason.TOO_MUCH_MEMORY,
    "latency_p50": TOO_SLOW,
    "latency_p95": TOO_SLOW,
    "deadline": Reason.TRIAL_DEADLINE,
}
"""The reason that a trial fails with, by the name of the check that failed."""

Outcome = Literal["pending", "passed", "failed"]
"""What a look at a trial can end with."""


class TrialVerdict(msgspec.Struct, frozen=True):
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
    reference: LiveFigures | None,
    seen: LiveFigures,
    elapsed_s: float,
    restarts: int,
    unit: str = "requests",
) -> TrialVerdict:
    """Judge what was seen so far.

    Args:
        trial: the release's limits.
        reference: the old release's figures, from before the switch; None if there are none.
        seen: the new release's, since the switch.
        elapsed_s: how long it was watched, before restarts and reboots too.
        restarts: of the agent in this trial, and of the application.
        unit: what `seen.requests` counts.
    """
    checks = tuple(_make_checks(trial, reference, seen, restarts))
    failed = next((check for check in checks if not check.passed), None)
    if failed is not None:
        return TrialVerdict("failed", _choose_reason(failed, seen), describe(failed), checks)
    waits_for = _describe_wait(trial, seen, elapsed_s, unit)
    if elapsed_s >= trial.duration_s and seen.requests >= trial.min_requests:
        is_late = _is_late(trial, elapsed_s)
        doubt_max = SURE_AT_LAST if is_late else SUSPECT
        suspect = next(
            (c for c in _check_shares(trial, reference, seen, doubt_max) if not c.passed), None
        )
        if suspect is None:
            return TrialVerdict("passed", Reason.PASSED, "", checks)
        if is_late:
            found = (*checks, suspect)
            return TrialVerdict("failed", _choose_reason(suspect, seen), describe(suspect), found)
        detail = f"{suspect.name}: {suspect.detail}, too few to tell chance from fault; {waits_for}"
        return TrialVerdict("pending", "few_requests", detail, checks)
    if _is_late(trial, elapsed_s):
        late = Check(
            name="deadline",
            passed=False,
            value=seen.requests,
            limit=trial.min_requests,
            detail=f"{unit} after {elapsed_s:.0f} s; {seen.serving} processes serve it",
        )
        return TrialVerdict("failed", REASONS["deadline"], describe(late), (*checks, late))
    return TrialVerdict("pending", "pending", waits_for, checks)


def hold_back(
    trial: Trial, verdict: TrialVerdict, missing: str, *, elapsed_s: float, grace_s: float = 0.0
) -> TrialVerdict:
    """Do not let a trial pass yet, and not at all long after its deadline.

    Args:
        trial: the release's limits.
        verdict: that it has passed, by its figures.
        missing: what it still waits for, in words for people.
        elapsed_s: how long it was watched.
        grace_s: for how long after the deadline it may still wait: its figures came in time.
    """
    if not _is_late(trial, elapsed_s - grace_s):
        return TrialVerdict("pending", "held_back", missing, verdict.checks)
    late = Check(name="deadline", passed=False, detail=f"after {elapsed_s:.0f} s: {missing}")
    checks = (*verdict.checks, late)
    return TrialVerdict("failed", REASONS["deadline"], describe(late), checks)


def _is_late(trial: Trial, elapsed_s: float) -> bool:
    return elapsed_s >= max(trial.deadline_s, trial.duration_s)


def judge_probes(
    trial: Trial,
    probe: ProbeResult,
    *,
    elapsed_s: float,
    restarts: int,
    probes: int,
    seen: LiveFigures | None = None,
    reference: LiveFigures | None = None,
) -> TrialVerdict:
    """Judge a trial in which probes stand in for requests that nobody counts.

    Args:
        trial: the release's limits.
        probe: of the release on trial, held just now.
        elapsed_s: how long it was watched.
        restarts: of the agent in this trial, and of the application.
        probes: held so far, this one included; each counts as a request.
        seen: what an application reported all the same, before it ended or without counting.
        reference: the old release's figures.
    """
    if probe.blames_model and not probe.passed:
        return TrialVerdict("failed", probe.reason, probe.detail, probe.checks)
    seen = seen or LiveFigures()
    verdict = judge_trial(
        trial,
        reference=reference,
        seen=replace(seen, requests=seen.requests + probes),
        elapsed_s=elapsed_s,
        restarts=restarts,
        unit="requests and probes" if seen.requests else "probes",
    )
    has_figures = bool(seen.requests)
    said = (c for c in verdict.checks if has_figures or not c.passed or c.name == "restarts")
    return replace(verdict, checks=(*probe.checks, *said))


def _make_checks(
    trial: Trial, reference: LiveFigures | None, seen: LiveFigures, restarts: int
) -> Iterator[Check]:
    if seen.failure is not None:
        yield Check(name="taken_over", passed=False, detail=seen.failure.detail)
    yield Check(
        name="restarts",
        passed=restarts < trial.max_restarts,
        value=restarts,
        limit=trial.max_restarts,
    )
    old = reference or LiveFigures()
    yield from _check_shares(trial, reference, seen, SURE)
    limit_bytes = trial.max_memory_bytes
    yield Check(
        name="memory",
        passed=limit_bytes is None or seen.rss_bytes <= limit_bytes,
        value=seen.rss_bytes,
        limit=limit_bytes,
        reference=old.rss_bytes or None,
    )
    yield from judge_latency(trial, old, seen)
    if seen.output_mean is not None:
        yield Check(
            name="output_mean", passed=True, value=seen.output_mean, reference=old.output_mean
        )
    if seen.output_std is not None:
        yield Check(name="output_std", passed=True, value=seen.output_std, reference=old.output_std)


def _check_shares(
    trial: Trial, reference: LiveFigures | None, seen: LiveFigures, doubt_max: float
) -> Iterator[Check]:
    """Hold requests that raised, and outputs that are no numbers, against the old release's shares.

    What the old one cannot answer either is no fault of the new one.
    """
    old = reference or LiveFigures()
    invalid = f", {seen.invalid} more were none that it takes" if seen.invalid else ""
    yield _check_share(
        "errors",
        Share(seen.errors, seen.requests),
        Share(old.errors, old.requests),
        trial.max_error_share,
        f"{part_of(seen.errors, seen.requests, 'request')}{invalid}",
        doubt_max,
    )
    yield _check_share(
        "nonfinite",
        Share(seen.nonfinite, seen.checked),
        Share(old.nonfinite, old.checked),
        trial.max_nonfinite_share,
        f"{seen.nonfinite} of {seen.checked} outputs looked at",
        doubt_max,
    )


def _check_share(
    name: str, new: Share, old: Share, allowed: float, detail: str, doubt_max: float
) -> Check:
    return Check(
        name=name,
        passed=doubt(new, old, allowed) <= doubt_max,
        value=new.value,
        limit=allowed + old.value,
        reference=old.value if old.of else None,
        detail=detail,
    )


def judge_latency(trial: Trial, old: LiveFigures, seen: LiveFigures) -> Iterator[Check]:
    """Hold the latency of live requests against the old release's; no limit while too few came.

    Args:
        trial: the release's limits.
        old: figures of the release before it.
        seen: figures of the release on trial.
    """
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
            limit_s = old_s * trial.max_latency_ratio + NOISE_S
        passed = limit_s is None or value_s <= limit_s
        yield Check(name=name, passed=passed, value=value_s, limit=limit_s, reference=old_s)


def _choose_reason(failed: Check, seen: LiveFigures) -> str:
    """Choose the word: an application that could not take the release over gives its own."""
    if failed.name == "taken_over" and seen.failure is not None:
        return seen.failure.reason
    return REASONS[failed.name]


def _describe_wait(trial: Trial, seen: LiveFigures, elapsed_s: float, unit: str) -> str:
    time = f"{elapsed_s:.0f} of {trial.duration_s:.0f} s"
    if not trial.min_requests:
        return time
    return f"{seen.requests} of {trial.min_requests} {unit}, {time}"
