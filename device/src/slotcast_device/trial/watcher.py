"""Probe and trial as jobs: gathers what the judges need, and gives the core a verdict.

Where an application reports, its live figures are judged against those it had with the old
release; both lie in its report files, so nothing is lost when the agent restarts. Where none
does, the release on trial is probed again and again.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from slotcast_device.application.app_report import (
    STALE_AFTER_S,
    AppReport,
    forget_reports,
    read_reports,
)
from slotcast_device.core.events import Probe, Verdict, Watch
from slotcast_device.probe import ProbeRequest, ProbeResult, SlotModel, run_probe
from slotcast_device.trial.judge import TrialVerdict, judge_probes, judge_trial
from slotcast_device.trial.live_figures import Window
from slotcast_schemas.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from slotcast_device.core.state import SlotName
    from slotcast_device.storage.slots import SlotStore
    from slotcast_schemas.messages import Release

TAKE_OVER_S: Final = 60.0
"""An application that served the old release gets this long to load the new one."""


class Watcher:
    """Holds the probes of one model and looks at its application's reports.

    Args:
        store: the model's slots.
        app: the folder into which applications report.
        cancel: set when the agent ends; a probe under way ends with it.
    """

    def __init__(self, store: SlotStore, app: Path, cancel: threading.Event) -> None:
        self._store = store
        self._app = app
        self._cancel = cancel
        self._probes: dict[bytes, int] = {}

    def expect(self, slot: SlotName) -> None:
        """A slot is about to become active: what was reported of its last release goes."""
        forget_reports(self._app, slot=slot, older_than=time.time() - STALE_AFTER_S)

    def probe(self, job: Probe) -> Verdict:
        """Probe a slot before the switch.

        Raises:
            StorageFailed: the probe could not be held; that says nothing against the model.
        """
        return _verdict(_held(self._run_probe(job.slot, job.release, job.beside)))

    def watch(self, job: Watch) -> Verdict:
        """Look how the release on trial does.

        Raises:
            StorageFailed: the probe could not be held; that says nothing against the model.
        """
        reports = read_reports(self._app).reports
        seen = Window(job.slot, job.release.sequence).take(reports)
        if not seen.requests and not any(report.phase != "gone" for report in reports):
            return self._watch_by_probe(job)  # no application, or none any more
        if not seen.serving and seen.failure is None and _may_take_over(job, reports):
            return Verdict(None, "pending", "waiting for the application to load the release")
        old = None if job.fallback is None else Window(job.fallback).take(reports)
        verdict = judge_trial(
            job.release.trial,
            reference=old,
            seen=seen,
            elapsed_s=job.elapsed_s,
            restarts=job.restarts,
        )
        return _trial_verdict(verdict)

    def _watch_by_probe(self, job: Watch) -> Verdict:
        digest = job.release.image_sha256
        result = _held(self._run_probe(job.slot, job.release, None))
        self._probes = {digest: self._probes.get(digest, 0) + 1}
        verdict = judge_probes(
            job.release.trial,
            result,
            elapsed_s=job.elapsed_s,
            restarts=job.restarts,
            probes=self._probes[digest],
        )
        return _trial_verdict(verdict)

    def _run_probe(self, slot: SlotName, release: Release, beside: SlotName | None) -> ProbeResult:
        request = ProbeRequest(
            candidate=self._model(slot, release.entry),
            active=self._beside(beside),
            inputs=release.inputs,
            outputs=release.outputs,
            probe=release.probe,
        )
        return run_probe(request, cancel=self._cancel)

    def _model(self, slot: SlotName, entry: str) -> SlotModel:
        return SlotModel(str(self._store.path(slot).resolve()), entry)

    def _beside(self, slot: SlotName | None) -> SlotModel | None:
        release = None if slot is None else self._store.release(slot)
        return None if slot is None or release is None else self._model(slot, release.entry)


def _may_take_over(job: Watch, reports: Sequence[AppReport]) -> bool:
    """Whether an application serves the old release and still has time to load the new one."""
    if job.elapsed_s >= max(TAKE_OVER_S, job.release.trial.duration_s):
        return False
    return any(report.phase in {"serving", "loading"} for report in reports)


def _held(result: ProbeResult) -> ProbeResult:
    if not result.passed and not result.blames_model:
        raise StorageFailed(f"the probe could not be held: {result.reason}: {result.detail}")
    return result


def _verdict(result: ProbeResult) -> Verdict:
    return Verdict(result.passed, result.reason, result.detail, result.checks)


def _trial_verdict(verdict: TrialVerdict) -> Verdict:
    passed = {"pending": None, "passed": True, "failed": False}[verdict.outcome]
    return Verdict(passed, verdict.reason, verdict.detail, verdict.checks)
