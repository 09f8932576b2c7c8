"""Collects what applications report into summaries, keeps them until sent, shows them to scrapers.

One window is open per model, on the release that is active; when another becomes active the old
window is closed first, so that figures of a trial are whole. The ring of unsent summaries is
written now and then, not at every summary: flash wears, and figures of some minutes are not worth
that. What it loses in a power cut is at most `SAVE_EVERY_S` of figures.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.metrics import RING_MAX_BYTES, MetricsRing, Totals
from slotcast_device.reports import read_reports
from slotcast_device.window import Window
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.events import Now
    from slotcast_device.disk import Disk
    from slotcast_device.state import ModelState
    from slotcast_schemas.messages import Metrics

SAVE_EVERY_S: Final = 600.0


@dataclass(slots=True)
class _Open:
    """A window on one release."""

    window: Window
    slot: str
    sequence: int
    version: str
    since: int
    on_trial: bool


class Collector:
    """The device's metrics."""

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._config = config
        self._disk = disk
        self._windows: dict[str, _Open] = {}
        self._totals = Totals()
        self._next_s = 0.0
        self._save_s = 0.0
        self._in_flight: Metrics | None = None
        self._ring = MetricsRing.from_bytes(self._stored())

    # --- collecting ---------------------------------------------------------------------------

    @property
    def deadline_s(self) -> float:
        """When the next summaries are due, on the monotonic clock."""
        return self._next_s

    def collect_due(self, states: list[ModelState], now: Now) -> None:
        """Summarise every model if it is time to."""
        if now.mono_s < self._next_s:
            return
        self._next_s = now.mono_s + self._config.values.metrics.interval_s
        for state in states:
            self.collect(state, now)
        self._write_openmetrics()
        if now.mono_s >= self._save_s:
            self._save_s = now.mono_s + SAVE_EVERY_S
            self.save()

    def collect(self, state: ModelState, now: Now) -> None:
        """Summarise one model up to now; closes the window of a release that is not active."""
        found = read_reports(self._config.model_dir(state.model) / "app")
        record, opened = state.active_record, self._windows.get(state.model)
        on_trial = state.update is not None and state.update.state is State.TRIAL
        if opened is not None:
            opened.window.take(found.reports)
            self._close(state.model, opened, now)
            opened.on_trial = on_trial
        if record is None or state.active is None:
            self._windows.pop(state.model, None)
            return
        if opened is None or (opened.slot, opened.sequence) != (state.active, record.sequence):
            window = Window(state.active, record.sequence)
            if opened is None:  # after a start: what was reported before was counted before
                window.skip(found.reports)
            self._windows[state.model] = _Open(
                window, state.active, record.sequence, record.version, now.wall_s, on_trial
            )

    def _close(self, model: str, opened: _Open, now: Now) -> None:
        figures = opened.window.cut()
        if figures.requests or figures.serving:
            summary = figures.summary(
                model=model,
                version=opened.version,
                sequence=opened.sequence,
                start=opened.since,
                end=now.wall_s,
                on_trial=opened.on_trial,
            )
            self._ring.add(summary)
            self._totals.add(summary)
        opened.since = now.wall_s

    # --- sending ------------------------------------------------------------------------------

    def next_message(self, now: Now) -> Metrics | None:
        """Give what is to be sent next; None while a message is under way or nothing waits."""
        if self._in_flight is not None:
            return None
        self._in_flight = self._ring.message(device=self._config.values.device, time=now.wall_s)
        return self._in_flight

    def confirmed(self, message: Metrics) -> None:
        """The broker has it."""
        self._ring.confirm(message)
        self._in_flight = None

    def link_lost(self) -> None:
        """What was under way is sent again; a message that came twice has the same counter."""
        self._in_flight = None

    # --- keeping ------------------------------------------------------------------------------

    @property
    def _path(self) -> Path:
        return self._config.state_dir / "metrics.bin"

    def _stored(self) -> bytes | None:
        try:
            return self._disk.read(self._path, RING_MAX_BYTES)
        except StorageFailed:
            return None

    def save(self) -> None:
        """Keep the unsent summaries over a restart; a disk that refuses costs only figures."""
        with contextlib.suppress(StorageFailed):
            if len(self._ring) or self._disk.size_bytes(self._path):
                self._disk.write_atomic(self._path, self._ring.to_bytes())

    def _write_openmetrics(self) -> None:
        name = self._config.values.metrics.openmetrics
        if name is None:
            return
        path = self._config.state_dir / name
        temporary = path.with_name(f".{path.name}.tmp")
        with contextlib.suppress(OSError):  # scrapers see the old file, and its age
            temporary.write_text(self._totals.openmetrics())
            temporary.replace(path)
