"""Probe and trial as jobs: gathers what the judges need, and gives the core a verdict.

Where an application reports, its live figures are judged against those it had with the old
release; both lie in its report files, so what living processes counted is not lost when the agent
restarts. Where nobody reports, or nobody counts requests, the release on trial is probed again and
again. A trial passes only when all who serve the release were heard of after its time was over.
How often a trial is looked at is decided by `core.switch_and_commit`.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import structs
from msgspec.structs import replace

from slotcast_device.application.app_report import (
    STALE_AFTER_S,
    AppReport,
    forget_reports,
    read_reports,
)
from slotcast_device.application.liveness import AT_WORK, Liveness
from slotcast_device.core.actions import ProbeSlot, Verdict, Watch
from slotcast_device.core.state import SlotName, other_slot
from slotcast_device.runtime.importing import import_problem
from slotcast_device.storage.memory_copies import MemoryCopies
from slotcast_device.trial.judge import TrialVerdict, hold_back, judge_probes, judge_trial
from slotcast_device.trial.live_figures import FiguresWindow, LiveFigures
from slotcast_device.trial.second_opinion import SecondOpinion
from slotcast_schemas.errors import ProbeNotHeld, SlotDamaged, SoftwareBroken, StorageFailed
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.status import Check
from slotcast_schemas.model_formats import is_run_by_command
from slotcast_schemas.probe import (
    DEVICE_BUSY,
    TOO_SLOW,
    ProbeRequest,
    ProbeResult,
    SlotModel,
    run_probe,
)
from slotcast_schemas.reasons import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from slotcast_device.storage.slots import SlotStore
    from slotcast_device.trial.reference import Reference
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.release import Trial

TAKING_OVER: Final = "waiting for the application to load the release"
"""What is said of a trial while the application still loads the release."""
UNCOUNTED: Final = "the application does not count requests, so probes stand in"
"""What is said of a trial whose application counts no requests."""
CALM_LEAST_S: Final = 60.0
"""The least seconds for which an application must run on after a restart before the trial
passes."""
CALM_MOST_S: Final = 600.0
"""The most seconds of that; between both it is as long as the trial. One that dies every half
minute is alive at most looks."""
SERVED_MOST_S: Final = 60.0
"""The most seconds for which the release must have been served before its trial passes; a shorter
trial asks for as long as itself. Time in which it was loaded is watched, and shows nothing."""
TAKE_OVER_S: Final = 60.0
"""The seconds that an application which served the old release gets to load the new one."""


class Prober(Protocol):
    """Tries a model, as `slotcast_schemas.probe.runner.run_probe` does."""

    def __call__(self, request: ProbeRequest, *, cancel: threading.Event) -> ProbeResult:
        """Give the verdict; see `run_probe`."""


class TrialWatcher:
    """Holds the probes of one model and looks at its application's reports.

    Args:
        store: the model's slots.
        app: the folder into which applications report.
        cancel: set when the agent ends; a probe under way ends with it.
        clock: monotonic, in seconds.
        threads: of the probe's sessions; 0 is as many as the runtime takes.
        commands: the owner's for the formats that no runtime here runs.
        closed: paths that no model may read while it is tried, but for its slot.
        reference: keeps the old release's figures over restarts; without it they are not kept.
        prober: tries a model.
    """

    def __init__(
        self,
        store: SlotStore,
        app: Path,
        cancel: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        *,
        threads: int = 0,
        commands: Mapping[str, tuple[str, ...]] | None = None,
        closed: tuple[str, ...] = (),
        reference: Reference | None = None,
        prober: Prober = run_probe,
    ) -> None:
        self._store = store
        self._app = app
        self._cancel = cancel
        self._clock = clock
        self._threads = threads
        self._commands = commands or {}
        self._closed = closed
        self._kept = reference
        self._prober = prober
        self._copies = MemoryCopies(store.slot_files)
        self._begin_trial()

    def _begin_trial(self) -> None:
        self._liveness = Liveness()
        self._windows: dict[SlotName, FiguresWindow] = {}
        self._probes = 0
        self._opinion: SecondOpinion | None = None
        self._agreed_s: float | None = None  # since when there are figures enough for a verdict

    def expect(self, slot: SlotName) -> None:
        """A slot is about to become active: what was reported of its last release goes."""
        self._begin_trial()
        with contextlib.suppress(StorageFailed):  # then it is done without
            release = self._store.release(slot)
            if release is not None:
                self._keep_reference(release, other_slot(slot))
        forget_reports(self._app, slot=slot, stale_after_s=STALE_AFTER_S)

    def _keep_reference(self, release: Release, old: SlotName | None) -> None:
        """Keep the old release's figures now, while all who serve it are there."""
        if old is not None and self._kept is not None:
            live = FiguresWindow(old).take(read_reports(self._app).reports)
            self._kept.best(live, release.image_sha256)

    def probe(self, job: ProbeSlot) -> Verdict:
        """Probe a slot before the switch, and keep what the active one's applications say of it.

        Power may fail before the switch, and those who reported are gone then. Of an encrypted
        slot that passes, what it holds stays in memory for the first look at the trial, unless an
        application is there to load it. It is given back after a short time, or by `drop_copy`.

        Raises:
            ProbeNotHeld: the probe could not be held; that says nothing against the model.
            SoftwareBroken: the runtime cannot be imported.
        """
        self._keep_reference(job.release, job.beside)
        reports = read_reports(self._app).reports
        keeps = not any(report.phase in AT_WORK for report in reports)
        result = self._run_probe(job.slot, job.release, job.beside, keeps_copy=keeps)
        if not result.passed:
            self.drop_copy()
        if result.reason == DEVICE_BUSY:
            return Verdict(None, DEVICE_BUSY, result.detail, result.checks)
        return _make_verdict(_blame_software(result))

    def drop_copy(self) -> None:
        """Give back what the last probe kept in memory, as where no switch comes at once."""
        self._copies.drop()

    def watch(self, job: Watch) -> Verdict:
        """Look how the release on trial does.

        Raises:
            ProbeNotHeld: the probe could not be held; that says nothing against the model.
            SoftwareBroken: the runtime cannot be imported.
        """
        try:
            return self._look(job)
        finally:
            self.drop_copy()  # where it was not probed

    def _look(self, job: Watch) -> Verdict:
        now_s = self._clock()
        reports = self._liveness.look(read_reports(self._app).files, now_s)
        seen = self._window_of(job.slot, job.release.sequence).take(reports)
        old = self._find_reference(job, reports)
        restarts = self._liveness.restarts(job.slot)
        if self._wants_probe(job, reports, seen):
            verdict = self._judge_by_probe(job, seen, old, len(restarts))
        else:
            judge = partial(
                judge_trial,
                reference=old,
                seen=seen,
                elapsed_s=job.elapsed_s,
                restarts=job.restarts + len(restarts),
            )
            verdict = judge(job.release.trial)
            if verdict.reason == TOO_SLOW and old is not None:
                verdict = self._ask_when_slow(job, verdict, old, reports, judge)
            if verdict.outcome != "failed" and not seen.serving and _may_take_over(job, reports):
                return Verdict(None, "taking_over", TAKING_OVER, restarts=len(restarts))
        held = self._hold_back_pass(job, seen, verdict, now_s)
        return _make_trial_verdict(held, restarts=len(restarts))

    def _find_reference(self, job: Watch, reports: Sequence[AppReport]) -> LiveFigures | None:
        if job.fallback is None:
            return None
        live = self._window_of(job.fallback).take(reports)
        return live if self._kept is None else self._kept.best(live, job.release.image_sha256)

    def _ask_when_slow(
        self,
        job: Watch,
        slow: TrialVerdict,
        old: LiveFigures,
        reports: Sequence[AppReport],
        judge: Callable[[Trial], TrialVerdict],
    ) -> TrialVerdict:
        """Ask a probe before live latency alone ends the trial.

        Args:
            job: the look that is held.
            slow: the verdict that live latency would give.
            old: the old release's figures.
            reports: of applications.
            judge: judges the trial by these limits.
        """
        if self._opinion is None:
            ask = partial(self._probe_beside, job)
            window = partial(FiguresWindow, job.slot, job.release.sequence)
            self._opinion = SecondOpinion(ask, window, self._clock)
        failed = frozenset(check.name for check in slow.checks if not check.passed)
        opinion = self._opinion.on(job.release.trial, old, reports, failed)
        is_slow, detail = opinion.outcome == "slow", opinion.detail[:DETAIL_MAX_CHARS]
        said = Check(name="second_opinion", passed=not is_slow, detail=detail)
        if is_slow:
            detail = f"{slow.detail}; {opinion.detail}"[:DETAIL_MAX_CHARS]
            return TrialVerdict("failed", opinion.reason, detail, (*slow.checks, said))
        rest = judge(_drop_time_limits(job.release.trial))
        rest = replace(rest, checks=(*rest.checks, said))
        if opinion.outcome == "fine" or rest.outcome == "failed":
            return rest
        waits_for = f"{rest.detail}; {opinion.detail}" if rest.detail else opinion.detail
        return TrialVerdict("pending", opinion.reason, waits_for[:DETAIL_MAX_CHARS], rest.checks)

    def _probe_beside(self, job: Watch) -> ProbeResult:
        result = self._run_probe(job.slot, job.release, job.fallback)
        return result if result.reason == DEVICE_BUSY else _blame_software(result)

    def _window_of(self, slot: SlotName, sequence: int = 0) -> FiguresWindow:
        return self._windows.setdefault(slot, FiguresWindow(slot, sequence))

    def _wants_probe(self, job: Watch, reports: Sequence[AppReport], seen: LiveFigures) -> bool:
        """Whether nobody says how the release does: no application, or one that does not count."""
        if seen.failure is not None:
            return False
        if seen.serving:
            return not seen.is_counted and job.release.trial.min_requests > 0
        is_at_work = any(report.phase in AT_WORK for report in reports)
        return not is_at_work and not self._liveness.gone(job.slot)

    def _judge_by_probe(
        self, job: Watch, seen: LiveFigures, old: LiveFigures | None, restarts: int
    ) -> TrialVerdict:
        result = self._run_probe(job.slot, job.release, None)
        if result.reason == DEVICE_BUSY:
            return TrialVerdict("pending", DEVICE_BUSY, result.detail, result.checks)
        result = _blame_software(result)
        self._probes += 1
        verdict = judge_probes(
            _drop_time_limits(job.release.trial),  # nobody's latency: who serves it does not count
            result,
            elapsed_s=job.elapsed_s,
            restarts=job.restarts + restarts,
            probes=self._probes,
            seen=seen,
            reference=old,
        )
        if seen.serving and verdict.outcome == "pending":
            return replace(verdict, detail=f"{UNCOUNTED}: {verdict.detail}")
        return verdict

    def _hold_back_pass(
        self, job: Watch, seen: LiveFigures, verdict: TrialVerdict, now_s: float
    ) -> TrialVerdict:
        """A pass that waits until all who serve the release have been heard of."""
        trial = job.release.trial
        is_enough = verdict.outcome == "passed" or verdict.reason == "few_requests"
        if not is_enough or (not trial.duration_s and not trial.min_requests):
            self._agreed_s = None
            return verdict
        if self._agreed_s is None:
            self._agreed_s = now_s
        if verdict.outcome != "passed":
            return verdict
        missing = self._find_missing(job, seen, self._agreed_s, now_s)
        if not missing:
            return verdict
        elapsed_s, grace_s = job.elapsed_s, _find_calm_s(trial)
        return hold_back(trial, verdict, missing, elapsed_s=elapsed_s, grace_s=grace_s)

    def _find_missing(self, job: Watch, seen: LiveFigures, agreed_s: float, now_s: float) -> str:
        if seen.loading:
            return f"{seen.loading} processes of the application still load the release"
        if not seen.serving and self._liveness.gone(job.slot):
            return "the application has ended without a word, and has not come back"
        unheard = self._liveness.unheard(job.slot, agreed_s)
        if unheard:
            return f"waiting to hear from {unheard} processes of the application once more"
        least_s = min(SERVED_MOST_S, job.release.trial.duration_s)
        if seen.serving and self._liveness.served_s(job.slot) < least_s:
            return f"waiting until the application has served the release for {least_s:.0f} s"
        calm_s = _find_calm_s(job.release.trial)
        unrest_s = self._liveness.unrest_s(job.slot)
        if unrest_s is not None and now_s < unrest_s + calm_s:
            return f"waiting until the application has run for {calm_s:.0f} s without a restart"
        return ""

    def _run_probe(
        self,
        slot: SlotName,
        release: Release,
        beside: SlotName | None,
        *,
        keeps_copy: bool = False,
    ) -> ProbeResult:
        model_format = release.runtime.format
        if is_run_by_command(model_format) and model_format not in self._commands:
            raise ProbeNotHeld(
                f"device.toml names no command for models of format {model_format!r} any more:"
                f" [formats.{model_format}]"
            )
        with contextlib.ExitStack() as held:
            request = ProbeRequest(
                candidate=self._slot_model(slot, release, held, keeps_copy=keeps_copy),
                active=self._find_beside(beside, held),
                inputs=release.inputs,
                outputs=release.outputs,
                probe=release.probe,
                threads=self._threads,
                closed=self._closed,
            )
            return self._prober(request, cancel=self._cancel)

    def _slot_model(
        self,
        slot: SlotName,
        release: Release,
        held: contextlib.ExitStack,
        *,
        keeps_copy: bool = False,
    ) -> SlotModel:
        """Name a model to the probe; of an encrypted slot, what runtimes read is held in memory.

        Args:
            slot: where the model is.
            release: what it is.
            held: what is held until the probe is over.
            keeps_copy: what is in memory is kept for the next probe.
        """
        runtime = release.runtime
        folder = self._store.path(slot).resolve()
        read = [file for file in release.files if file.role != "data" or file.path == release.entry]
        return SlotModel(
            str(folder),
            release.entry,
            runtime.format,
            tuple(self._commands.get(runtime.format, ())),
            runtime.compiled,
            dict(held.enter_context(self._copies.hold(folder, read, keeps=keeps_copy))),
        )

    def _find_beside(self, slot: SlotName | None, held: contextlib.ExitStack) -> SlotModel | None:
        release = None if slot is None else self._store.release(slot)
        if slot is None or release is None:
            return None
        try:
            return self._slot_model(slot, release, held)
        except SlotDamaged:
            return None  # it is not the one to be judged


def _may_take_over(job: Watch, reports: Sequence[AppReport]) -> bool:
    """Whether an application serves the old release and still has time to load the new one."""
    if job.elapsed_s >= max(TAKE_OVER_S, job.release.trial.duration_s):
        return False
    return any(report.phase in AT_WORK for report in reports)


def _find_calm_s(trial: Trial) -> float:
    return min(CALM_MOST_S, max(CALM_LEAST_S, trial.duration_s))


def _drop_time_limits(trial: Trial) -> Trial:
    """The same limits, but for latency."""
    return structs.replace(trial, max_latency_ratio=None)


def _blame_software(result: ProbeResult) -> ProbeResult:
    if result.passed or result.blames_model:
        return result
    problem = import_problem() if result.reason == Reason.PROBE_NOT_STARTED else ""
    if problem:
        raise SoftwareBroken(
            f"onnxruntime cannot be imported by {sys.executable}: {problem}; install it anew on"
            " this device"
        )
    raise ProbeNotHeld(f"the probe could not be held: {result.reason}: {result.detail}")


def _make_verdict(result: ProbeResult) -> Verdict:
    return Verdict(result.passed, result.reason, result.detail, result.checks)


def _make_trial_verdict(verdict: TrialVerdict, *, restarts: int) -> Verdict:
    passed = {"pending": None, "passed": True, "failed": False}[verdict.outcome]
    return Verdict(passed, verdict.reason, verdict.detail, verdict.checks, restarts)
