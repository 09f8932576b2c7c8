"""An invented application: serves whatever `current` opens, and reports figures of the script.

What it writes are the report files of docs/application.md, in the device's `app` folder; the
device's own code reads them, judges trials by them and sends them as metrics.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.application.app_report import AppReport, Failure, Phase, uptime_s, write_report
from slotcast_device.application.histogram import BOUNDS_S, BUCKETS, bucket_of
from slotcast_schemas import wire
from slotcast_schemas.messages import Release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotcast_device.core.state import SlotName
    from slotcast_device.storage.slots import SlotStore
    from slotcast_publisher.fleet.simulate.script import ApplicationFigures, ReleaseRule

_LOOK_FIRST: Final = 64
"""The number of first requests whose outputs are looked at for NaN, each of them."""
_LOOK_EVERY: Final = 16
"""After these, one output of so many is looked at."""
_STEP_MAX_S: Final = 30.0
"""The longest time whose requests are made up for: a process that stood still answered none."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a release does in an application, by the script."""

    latency_s: float
    error_share: float
    nonfinite_share: float
    memory_bytes: int
    load_s: float


def figures_of(
    usual: ApplicationFigures, rules: Sequence[ReleaseRule], serving_s: float
) -> Figures:
    """Put together what rules say of a release.

    Args:
        usual: what an application does of which nothing is said.
        rules: those that are about this device and release, in order.
        serving_s: how long it has served.
    """
    latency_s, memory_bytes, load_s = usual.latency_s, float(usual.memory_bytes), usual.load_s
    error_share, nonfinite_share = usual.error_share, usual.nonfinite_share
    for rule in rules:
        load_s *= rule.load_factor
        if serving_s < rule.after_s:
            continue
        latency_s *= rule.latency_factor
        memory_bytes *= rule.memory_factor
        error_share = error_share if rule.error_share is None else rule.error_share
        nonfinite_share = nonfinite_share if rule.nonfinite_share is None else rule.nonfinite_share
    return Figures(latency_s, error_share, nonfinite_share, int(memory_bytes), load_s)


@dataclass(slots=True)
class _Tally:
    """What the application counted with one release."""

    requests: int = 0
    errors: int = 0
    checked: int = 0
    nonfinite: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sum_s: float = 0.0
    max_s: float = 0.0


@dataclass(slots=True)
class _Loaded:
    """A release that the application serves, or loads."""

    slot: SlotName
    release: Release
    release_bytes: bytes
    rules: tuple[ReleaseRule, ...]
    ready_s: float
    tally: _Tally = field(default_factory=_Tally)
    refusal: str | None = None


class InventedApplication:
    """One process that serves one model of one device.

    Args:
        model: the model's name.
        store: the model's slots.
        folder: where it reports to.
        usual: what it does of which the script says nothing else.
        rules: the script's, as far as they are about this device.
        rng: chance.

    Attributes:
        due_s: when it wants to live on, on the monotonic clock.
    """

    def __init__(
        self,
        model: str,
        store: SlotStore,
        folder: Path,
        usual: ApplicationFigures,
        rules: Sequence[ReleaseRule],
        rng: random.Random,
    ) -> None:
        self._model = model
        self._store = store
        self._folder = folder
        self._usual = usual
        self._rules = rules
        self._rng = rng
        self._instance = f"sim-{rng.getrandbits(40):010x}"
        self._serves: _Loaded | None = None
        self._loads: _Loaded | None = None
        self._refused: bytes = b""
        self._owed = 0.0
        self._last_s = 0.0
        self._report_s = 0.0
        self.due_s = 0.0

    def live_on(self, now_s: float) -> None:
        """Answer the requests of the time since the last call, follow `current`, report."""
        self._follow(now_s)
        if self._loads is not None and now_s >= self._loads.ready_s:
            self._take_over(self._loads, now_s)
        if self._serves is not None:
            self._answer(self._serves, now_s)
        if now_s >= self._report_s:
            self._report(now_s)
        self._last_s = now_s
        self.due_s = self._report_s
        if self._loads is not None:
            self.due_s = min(self.due_s, self._loads.ready_s)

    # --- what it serves -----------------------------------------------------------------------

    def _follow(self, now_s: float) -> None:
        """Begin to load what `current` opens now, if that is another release."""
        slot = self._store.link().slot
        data = None if slot is None else self._store.release_bytes(slot)
        known = self._loads or self._serves
        if slot is None or data is None or data == self._refused:
            return
        if known is not None and (known.slot, known.release_bytes) == (slot, data):
            return
        self._refused = b""
        release = wire.decode(data, Release)
        rules = tuple(r for r in self._rules if r.is_about(self._model, release.version))
        figures = figures_of(self._usual, rules, 0.0)
        self._loads = _Loaded(slot, release, data, rules, now_s + figures.load_s)
        refusals = [rule.refused_by_application for rule in rules if rule.refused_by_application]
        self._loads.refusal = refusals[-1] if refusals else None
        self._report_s = now_s

    def _take_over(self, loaded: _Loaded, now_s: float) -> None:
        self._loads = None
        if loaded.refusal is not None:
            self._refused = loaded.release_bytes
            detail = "by the script of a simulation"
            self._write(loaded, "failed", now_s, Failure(reason=loaded.refusal, detail=detail))
            return
        if self._serves is not None:
            self._write(self._serves, "retired", now_s)
        self._serves = loaded
        self._report_s = now_s

    # --- requests -----------------------------------------------------------------------------

    def _answer(self, loaded: _Loaded, now_s: float) -> None:
        passed_s = min(_STEP_MAX_S, now_s - max(self._last_s, loaded.ready_s))
        self._owed += self._usual.requests_per_s * max(0.0, passed_s)
        count, self._owed = int(self._owed), self._owed % 1.0
        figures = figures_of(self._usual, loaded.rules, now_s - loaded.ready_s)
        for _ in range(count):
            self._answer_one(loaded.tally, figures)

    def _answer_one(self, tally: _Tally, figures: Figures) -> None:
        rng = self._rng
        tally.requests += 1
        if rng.random() < figures.error_share:
            tally.errors += 1
            return
        latency_s = figures.latency_s * rng.lognormvariate(0.0, self._usual.latency_spread)
        tally.counts[bucket_of(int(latency_s * 1e9))] += 1
        tally.sum_s += latency_s
        tally.max_s = max(tally.max_s, latency_s)
        if tally.requests <= _LOOK_FIRST or tally.requests % _LOOK_EVERY == 0:
            tally.checked += 1
            tally.nonfinite += rng.random() < figures.nonfinite_share

    # --- reports ------------------------------------------------------------------------------

    def _report(self, now_s: float) -> None:
        self._report_s = now_s + self._usual.report_s
        if self._loads is not None:
            self._write(self._loads, "loading", now_s)
        if self._serves is not None:
            self._write(self._serves, "serving", now_s)

    def _write(
        self, loaded: _Loaded, phase: Phase, now_s: float, failure: Failure | None = None
    ) -> None:
        tally = loaded.tally
        figures = figures_of(self._usual, loaded.rules, now_s - loaded.ready_s)
        report = AppReport(
            slot=loaded.slot,
            phase=phase,
            instance=self._instance,
            sequence=loaded.release.sequence,
            uptime_s=uptime_s(),
            requests=tally.requests,
            errors=tally.errors,
            checked=tally.checked,
            nonfinite=tally.nonfinite,
            bounds_s=BOUNDS_S,
            counts=tuple(tally.counts),
            sum_s=tally.sum_s,
            max_s=tally.max_s,
            rss_bytes=figures.memory_bytes,
            peak_rss_bytes=figures.memory_bytes,
            load_s=figures.load_s,
            failure=failure,
        )
        write_report(self._folder, report)
