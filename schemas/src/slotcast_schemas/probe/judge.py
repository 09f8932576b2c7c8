"""Judges a probe: what the child found against the release's limits. Decides, does no I/O.

Every check leaves a line of evidence with its figure, its limit and, where the active model was
measured too, that one's figure. The first failed check gives the reason; the order is from
"cannot run at all" to "runs, but costs too much", so the reason is the cause and not a symptom.
Whether inputs and outputs are as declared, and how far these are from the expected ones, is found
by `compare`.
Whether the model is too slow is decided by `speed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec

from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.messages.status import Check
from slotcast_schemas.plural import several
from slotcast_schemas.probe.spec import ProbeFigures, ProbeFindings, ProbeTiming
from slotcast_schemas.probe.speed import (
    NOISE_S,
    TAIL,
    Speed,
    is_surely_above,
    judge_rounds,
    quantile_s,
)
from slotcast_schemas.reasons import Reason

TOO_SLOW: Final = Reason.TOO_SLOW
DEVICE_BUSY: Final = Reason.DEVICE_BUSY
"""No verdict: the device is too short of processor to tell how fast the model is."""

MEMORY_NOISE_BYTES: Final = 8 * 1024 * 1024
"""The bytes of memory that do not count as a difference: what a first session of onnxruntime takes
varies by a few MB."""

SPREAD_MAX: Final = 0.5
"""The share of the tolerance that the values of an output may use up on average: where a processor
rounds otherwise, few values are far off; where a model is damaged, all are. Outputs of one number,
which have no direction to compare, are judged by it."""

REASONS: Final = {
    "loads": Reason.MODEL_UNLOADABLE,
    "files": Reason.UNSAFE_MODEL,
    "contract": Reason.CONTRACT_BROKEN,
    "finite": Reason.NONFINITE_OUTPUT,
    "varies": Reason.CONSTANT_OUTPUT,
    "golden": Reason.GOLDEN_MISMATCH,
    "golden_spread": Reason.GOLDEN_MISMATCH,
    "cosine": Reason.GOLDEN_MISMATCH,
    "accuracy": Reason.ACCURACY_LOW,
    "load_time": TOO_SLOW,
    "latency_p95": TOO_SLOW,
    "latency_p50": TOO_SLOW,
    "memory": Reason.TOO_MUCH_MEMORY,
    "memory_relative": Reason.TOO_MUCH_MEMORY,
}
"""Check to the reason that it gives when it fails. Words, once published, keep their meaning."""


class Death(msgspec.Struct, frozen=True):
    """The child ended without finishing. `blames_model` is false if it was ended from outside."""

    reason: str
    detail: str
    blames_model: bool = True


class ProbeResult(msgspec.Struct, frozen=True):
    """The verdict.

    Attributes:
        passed: the model may be switched to.
        reason: `passed`, or one stable word for why not.
        detail: one sentence for people, with both sides.
        checks: the evidence.
        blames_model: false if the probe could not be held (canceled, killed from outside, no
            process could be started) or the device was too busy for a verdict: the release is
            then neither good nor bad; try again.
        waited_share: of the time that runs took, what was spent waiting for a processor.
    """

    passed: bool
    reason: str
    detail: str
    checks: tuple[Check, ...]
    blames_model: bool = True
    waited_share: float = 0.0


def judge(probe: Probe, findings: ProbeFindings, death: Death | None) -> ProbeResult:
    """Judge one child's findings.

    A child that died while it measured the *active* model says nothing against the candidate:
    what was found before then is judged, without comparison. Otherwise a damaged active model
    could never be replaced.

    Args:
        probe: the release's limits.
        findings: what the child said.
        death: why it ended, if not by finishing.
    """
    if death is not None and findings.at.startswith("active_") and death.blames_model:
        findings.active = findings.timing = None
        death = None
    checks = tuple(_checks(probe, findings))
    failed = next((check for check in checks if not check.passed), None)
    if death is not None:
        last = Check(name="child", passed=False, detail=_cut(death.detail))
        return _refused(death.reason, last.detail, (*checks, last), blames_model=death.blames_model)
    if findings.failure is not None:
        failure = findings.failure
        last = Check(name=_check_of(failure.reason), passed=False, detail=failure.detail)
        blames_model = failure.reason != Reason.PROBE_NOT_STARTED
        return _refused(failure.reason, failure.detail, (*checks, last), blames_model=blames_model)
    if failed is not None:
        return _refused(REASONS[failed.name], describe(failed), checks)
    if findings.timing is not None and (open_text := _not_decided(probe, findings.timing)):
        return _refused(DEVICE_BUSY, _busy(open_text), checks, blames_model=False)
    waited_share = 0.0 if findings.timing is None else findings.timing.waited_share
    return ProbeResult(
        passed=True, reason=Reason.PASSED, detail="", checks=checks, waited_share=waited_share
    )


def _refused(
    reason: str, detail: str, checks: tuple[Check, ...], *, blames_model: bool = True
) -> ProbeResult:
    return ProbeResult(
        passed=False, reason=reason, detail=detail, checks=checks, blames_model=blames_model
    )


def describe(check: Check) -> str:
    """One sentence for a failed check, with both sides."""
    parts = [check.name]
    if check.value is not None:
        parts.append(f"is {check.value:.6g}")
    if check.limit is not None:
        parts.append(f"(limit {check.limit:.6g})")
    if check.reference is not None:
        parts.append(f"(active model: {check.reference:.6g})")
    if check.detail:
        parts.append(check.detail)
    return _cut(" ".join(parts))


def _checks(probe: Probe, found: ProbeFindings) -> Iterator[Check]:
    if found.candidate.load_s is not None:
        yield Check(name="loads", passed=True, value=found.candidate.load_s)
    if found.contract is not None:
        detail = _cut("; ".join(found.contract))
        yield Check(name="contract", passed=not found.contract, detail=detail)
    yield from _output_checks(probe, found)
    # Memory first: a model that takes much of it is slow because of that.
    yield from _memory_checks(probe, found.candidate, found.active)
    yield from _load_check(probe, found.candidate, found.active)
    if found.timing is not None:
        yield from _time_checks(probe, found.timing)


def _output_checks(probe: Probe, found: ProbeFindings) -> Iterator[Check]:
    made = "inputs made from a seed; the release has no samples" if found.made_inputs else ""
    if found.not_run:
        yield Check(name="runs", passed=True, detail=_cut(f"it was not run: {found.not_run}"))
    if found.nonfinite is not None:
        passed = not found.nonfinite or probe.allow_nonfinite
        yield Check(name="finite", passed=passed, detail=found.nonfinite or made)
    if found.constant is not None:
        passed = not found.constant or probe.allow_constant
        yield Check(name="varies", passed=passed, detail=found.constant)
    golden = found.golden
    if golden is not None:
        within = golden.worst <= 1.0
        yield Check(
            name="golden", passed=within, value=golden.worst, limit=1.0, detail=golden.detail
        )
        if golden.spread is not None:
            yield _at_most("golden_spread", golden.spread, SPREAD_MAX, None)
        if probe.min_cosine is not None and golden.cosine is not None:
            yield Check(
                name="cosine",
                passed=golden.cosine >= probe.min_cosine,
                value=golden.cosine,
                limit=probe.min_cosine,
            )
    if found.accuracy is not None:
        least = probe.min_accuracy
        passed = least is None or found.accuracy >= least
        yield Check(name="accuracy", passed=passed, value=found.accuracy, limit=least)


def _load_check(probe: Probe, mine: ProbeFigures, active: ProbeFigures | None) -> Iterator[Check]:
    if mine.load_s is not None and probe.max_load_s is not None:
        reference_s = None if active is None else active.load_s
        yield _at_most("load_time", mine.load_s, probe.max_load_s, reference_s)


def _time_checks(probe: Probe, timing: ProbeTiming) -> Iterator[Check]:
    """Time of a run, by itself and beside the active model's; `passed` where it is not decided."""
    how = f"{timing.by} time, {timing.waited_share:.0%} waiting for a processor"
    if timing.times_s:
        most_s = probe.max_latency_p95_s
        tail_s = quantile_s(timing.times_s, TAIL)
        slow = most_s is not None and is_surely_above(_least_wall_s(timing), most_s, TAIL)
        detail = f"{several(len(timing.times_s), 'run')}, {how}"
        yield Check(
            name="latency_p95",
            passed=not slow,
            value=tail_s,
            limit=most_s,
            reference=timing.active_p95_s,
            detail=detail,
        )
    if not timing.rounds:
        return
    speed = judge_rounds(timing.rounds, probe.max_latency_ratio or math.inf, is_over=True)
    limit_s = None
    if probe.max_latency_ratio is not None:
        least_s = speed.active_s + NOISE_S
        limit_s = max(speed.active_s * probe.max_latency_ratio, least_s)
    yield Check(
        name="latency_p50",
        passed=not _is_slow(speed, timing, probe),
        value=speed.active_s * speed.ratio,
        limit=limit_s,
        reference=speed.active_s,
        detail=f"{speed.text()}, {how}",
    )


def _is_slow(speed: Speed, timing: ProbeTiming, probe: Probe) -> bool:
    """By the test; and where all rounds did not decide it, by their median on a free device."""
    limit = probe.max_latency_ratio
    if speed.outcome == "open" and limit is not None and not timing.is_device_busy:
        return speed.ratio > limit
    return speed.outcome == "slow"


def _not_decided(probe: Probe, timing: ProbeTiming) -> str:
    """What cannot be said of a model on a device that is short of processor; empty if nothing."""
    if timing.by == "clock":
        return ""
    ratio, most_s = probe.max_latency_ratio, probe.max_latency_p95_s
    if ratio is not None and timing.rounds and timing.is_device_busy:
        speed = judge_rounds(timing.rounds, ratio, is_over=True)
        if speed.outcome == "open":
            return speed.text()
    if most_s is not None and timing.times_s:
        tail_s = quantile_s(timing.times_s, TAIL)
        if tail_s > most_s:
            return f"p95 is {tail_s:.4g} s of processor time (limit {most_s:.4g})"
    return ""


def _busy(text: str) -> str:
    return _cut(f"the device has too little processor to spare to judge the model's speed: {text}")


def _least_wall_s(timing: ProbeTiming) -> list[float]:
    """What each run takes at least by the clock, with as many processors as it may use.

    Timed with one thread, a model that may use all cores takes its processor time divided by them.
    """
    cores = timing.cores if timing.by == "processor" else 1
    return [time_s / cores for time_s in timing.times_s]


def _memory_checks(
    probe: Probe, mine: ProbeFigures, active: ProbeFigures | None
) -> Iterator[Check]:
    peak_bytes = mine.peak_memory_bytes
    if peak_bytes is None:
        return
    active_bytes = None if active is None else active.peak_memory_bytes
    yield _at_most("memory", peak_bytes, probe.max_memory_bytes, active_bytes)
    if active_bytes is not None and probe.max_memory_ratio is not None:
        most_bytes = active_bytes * probe.max_memory_ratio + MEMORY_NOISE_BYTES
        yield _at_most("memory_relative", peak_bytes, most_bytes, active_bytes)


def _at_most(name: str, value: float, limit: float | None, reference: float | None) -> Check:
    passed = limit is None or value <= limit
    return Check(name=name, passed=passed, value=value, limit=limit, reference=reference)


def _check_of(reason: str) -> str:
    return next((check for check, word in REASONS.items() if word == reason), "child")


def _cut(text: str) -> str:
    return text if len(text) <= DETAIL_MAX_CHARS else text[: DETAIL_MAX_CHARS - 1] + "…"
