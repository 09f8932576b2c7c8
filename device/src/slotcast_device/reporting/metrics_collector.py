"""Collects what applications report into summaries, keeps them until sent, shows them to scrapers.

A window is open on each slot's release: an application answers with the old one until it has
loaded the new one, and after a roll back with the new one until it is back. Windows are closed at
an interval, at a switch and at the end of a trial, so that figures of a trial are whole. The ring
of unsent summaries is written now and then, not at every summary: flash wears, and figures of some
minutes are not worth that. What it loses in a power cut is at most `SAVE_EVERY_S` of figures, and
only those that were not sent: what was sent before and after counts once (`metrics_ring`).
The interval is a key of the configuration.
"""

from __future__ import annotations

import contextlib
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.application.app_report import Found, read_reports
from slotcast_device.application.liveness import Liveness
from slotcast_device.core.state import SLOT_NAMES
from slotcast_device.reporting.metrics_ring import RING_MAX_BYTES, MetricsRing
from slotcast_device.reporting.openmetrics import LinkTotals, Totals
from slotcast_device.runtime.users import this_user
from slotcast_device.trial.live_figures import FiguresWindow
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.plain_files import replace_plain
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slotcast_device.application.app_report import AppReport
    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.events import Now
    from slotcast_device.core.state import ModelState, SlotName, SlotRecord
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages import Metrics

_LOG: Final = logging.getLogger("slotcast.device")
METRICS_FILE: Final = "metrics.bin"
"""The name of the file, in the state directory, that keeps what was not sent."""
SAVE_EVERY_S: Final = 600.0
"""The seconds between two times that figures are made durable: flash wears out."""


class _Open(msgspec.Struct):
    """A window on one release."""

    window: FiguresWindow
    record: SlotRecord
    since_mono_s: float
    on_trial: bool = False


class MetricsCollector:
    """The device's metrics."""

    def __init__(self, config: DeviceConfig, disk: Disk) -> None:
        self._config = config
        self._disk = disk
        self._windows: dict[tuple[str, SlotName], _Open] = {}
        self._liveness: dict[str, Liveness] = {}
        self._totals = Totals()
        self._has_warned = False
        self._next_s = 0.0
        self._save_s = 0.0
        self._in_flight: Metrics | None = None
        self._ring = MetricsRing.from_bytes(self._read_stored())

    # --- collecting ---------------------------------------------------------------------------

    @property
    def deadline_s(self) -> float:
        """When the next summaries are due, on the monotonic clock."""
        return self._next_s

    def collect_due(
        self, states: list[ModelState], now: Now, link: LinkTotals | None = None
    ) -> None:
        """Summarise every model if it is time to.

        Args:
            states: where each model stands.
            now: the time.
            link: what came over the connections.
        """
        if now.mono_s < self._next_s:
            return
        self._next_s = now.mono_s + self._config.values.metrics.interval_s
        for state in states:
            self.collect(state, now)
        self._write_openmetrics(link)
        if now.mono_s >= self._save_s:
            self._save_s = now.mono_s + SAVE_EVERY_S
            self._make_message(now)  # so that it is the one on disk that goes out
            self.save()

    def collect(self, state: ModelState, now: Now) -> None:
        """Summarise one model up to now: call it also before a switch and after a trial's end."""
        liveness = self._liveness.setdefault(state.model, Liveness(look_counts_s=math.inf))
        files = self._read(state.model).files
        found = liveness.look(files, now.mono_s)
        for slot in SLOT_NAMES:
            record, opened = state.slots.get(slot), self._windows.get((state.model, slot))
            if opened is not None:
                opened.window.take(found)
                self._close_window(state.model, opened, now)
            if record is None:
                self._windows.pop((state.model, slot), None)
                continue
            if opened is None or opened.record.sequence != record.sequence:
                opened = self._open_window(state.model, slot, record, found, now)
            opened.on_trial = _is_of_trial(state, slot, opened)

    def _read(self, model: str) -> Found:
        folder = self._config.model_dir(model) / "app"
        found = read_reports(folder)
        if found.unreadable and not self._has_warned:
            self._has_warned = True
            _LOG.warning(
                "%s: %d reports cannot be read by %s: applications must write them readable"
                " (mode 0644); see docs/application.md",
                folder,
                found.unreadable,
                this_user(),
            )
        return found

    def _open_window(
        self, model: str, slot: SlotName, record: SlotRecord, found: Iterable[AppReport], now: Now
    ) -> _Open:
        window = FiguresWindow(slot, record.sequence)
        # A release is seen here before anyone can use it, so what is reported by now is of the
        # slot's last one; or this is a start, and what was reported before was counted before.
        window.skip(found)
        opened = self._windows[model, slot] = _Open(window, record, now.mono_s)
        return opened

    def _close_window(self, model: str, opened: _Open, now: Now) -> None:
        figures = opened.window.cut()
        if figures.requests or figures.serving:
            summary = figures.summary(
                model=model,
                version=opened.record.version,
                sequence=opened.record.sequence,
                start=max(0, now.wall_s - round(now.mono_s - opened.since_mono_s)),
                end=now.wall_s,
                on_trial=opened.on_trial,
                release_sha256=opened.record.release_sha256,
            )
            self._ring.add(summary)
            self._totals.add(summary)
        opened.since_mono_s = now.mono_s

    # --- sending ------------------------------------------------------------------------------

    def next_message(self, now: Now) -> Metrics | None:
        """Give what is to be sent next; None while a message is under way or nothing waits."""
        if self._in_flight is not None:
            return None
        self._in_flight = self._make_message(now)
        if self._ring.must_be_saved:
            self.save()
        return self._in_flight

    def _make_message(self, now: Now) -> Metrics | None:
        return self._ring.message(device=self._config.values.device, time=now.wall_s)

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
        return self._config.state_dir / METRICS_FILE

    def _read_stored(self) -> bytes | None:
        try:
            return self._disk.read(self._path, RING_MAX_BYTES)
        except StorageFailed:
            return None

    def save(self) -> None:
        """Keep the unsent summaries over a restart; a disk that refuses costs only figures."""
        with contextlib.suppress(StorageFailed):
            if len(self._ring) or self._disk.size_bytes(self._path):
                self._disk.write_atomic(self._path, self._ring.to_bytes())

    def _write_openmetrics(self, link: LinkTotals | None) -> None:
        name = self._config.values.metrics.openmetrics
        if name is None:
            return
        path = self._config.state_dir / name
        with contextlib.suppress(OSError):  # scrapers see the old file, and its age
            replace_plain(path, self._totals.openmetrics(link).encode())


def _is_of_trial(state: ModelState, slot: SlotName, opened: _Open) -> bool:
    """Whether what a slot's release answers from now on belongs to a trial.

    What a rolled back release still answers does too: it was never committed.
    """
    update = state.update
    if update is not None and update.state is State.TRIAL and update.slot == slot:
        return True
    return opened.on_trial and slot != state.active
