"""Writes this process's figures for the agent, and lets nothing of that disturb serving.

How often it writes is an argument of `HotModel`.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Final

import msgspec

from slotcast_device.application.app_report import AppReport, Failure, Phase, uptime_s, write_report
from slotcast_device.application.histogram import BOUNDS_S
from slotcast_device.hotmodel.recorder import Recorder
from slotcast_device.hotmodel.source import Opened
from slotcast_device.runtime import memory
from slotcast_device.runtime.users import this_user
from slotcast_schemas.errors import ModelFailed
from slotcast_schemas.limits import DETAIL_MAX_CHARS

_log = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""The seconds after which a report is written where there were no requests: it says that the
process lives."""


class ReportWriter:
    """Of one `HotModel`; used by its follower thread alone."""

    def __init__(self, folder: Path, every_s: float) -> None:
        self._folder = folder
        self._every_s = every_s
        self._instance = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._next_s = 0.0
        self._idle_until_s = 0.0
        self._last_requests = -1
        self._has_warned = False
        self._closed = threading.Event()
        self._written: set[str] = set()
        self._resident: dict[str, tuple[int, int]] = {}

    def is_due(self, requests: int) -> bool:
        """Whether to write now: something was answered, or nothing was said for long."""
        now_s = time.monotonic()
        if self._every_s <= 0 or now_s < self._next_s:
            return False
        if requests == self._last_requests and now_s < self._idle_until_s:
            return False
        self._next_s = now_s + self._every_s
        self._idle_until_s = now_s + IDLE_S
        self._last_requests = requests
        return True

    def say(self, opened: Opened, phase: Phase, *, failure: ModelFailed | None = None) -> None:
        """Write a report without figures: loading, or failed.

        Args:
            opened: the release.
            phase: where this process stands with it.
            failure: why it could not be loaded.
        """
        why = None
        if failure is not None:
            why = Failure(reason=failure.reason, detail=str(failure)[:DETAIL_MAX_CHARS])
        self._write(opened, AppReport(slot="a", phase=phase, failure=why))

    def figures(self, opened: Opened, phase: Phase, recorder: Recorder, load_s: float) -> None:
        """Write all figures of a release. The caller holds no lock: counts may be one apart.

        Args:
            opened: the release.
            phase: where this process stands with it.
            recorder: what was counted.
            load_s: how long loading and warming took.
        """
        resident = memory.resident_bytes()
        if phase == "retired":  # by now the next one is in memory too
            resident = self._resident.get(opened.slot, resident)
        else:
            self._resident[opened.slot] = resident
        rss_bytes, peak_bytes = resident
        mean_std = recorder.output_mean_std()
        report = AppReport(
            slot="a",
            phase=phase,
            requests=recorder.requests or (None if recorder.is_pinned else 0),
            errors=recorder.errors,
            invalid=recorder.invalid,
            checked=recorder.checked,
            nonfinite=recorder.nonfinite,
            bounds_s=BOUNDS_S,
            counts=tuple(recorder.counts),
            sum_s=recorder.sum_ns / 1e9,
            max_s=recorder.max_ns / 1e9,
            rss_bytes=rss_bytes,
            peak_rss_bytes=peak_bytes,
            load_s=load_s,
            output_mean=None if mean_std is None else mean_std[0],
            output_std=None if mean_std is None else mean_std[1],
        )
        self._write(opened, report)

    def _write(self, opened: Opened, report: AppReport) -> None:
        if self._closed.is_set() or self._every_s <= 0 or opened.slot not in {"a", "b"}:
            return
        report = _of(report, opened, self._instance)
        try:
            self._folder.mkdir(exist_ok=True)
            self._written.add(report.slot)
            write_report(self._folder, report)
        except OSError as exc:
            if not self._has_warned:
                self._has_warned = True
                _log.warning(
                    "no figures for the agent: %s may not write %s (%s); serving goes on. Put that"
                    " user into the folder's group; see docs/application.md",
                    this_user(),
                    self._folder,
                    exc.strerror or exc,
                )
        if self._closed.is_set():  # from another thread, meanwhile
            self.close()

    def close(self) -> None:
        """Remove this process's reports: it ends on purpose, and is no restart.

        Nothing is written after it, though another thread be in the middle of that.
        """
        self._closed.set()
        for slot in sorted(self._written):
            path = self._folder / f"report-{self._instance}-{slot}.json"
            try:
                path.unlink(missing_ok=True)
            except OSError:
                return


def _of(report: AppReport, opened: Opened, instance: str) -> AppReport:
    return msgspec.structs.replace(
        report,
        slot=opened.slot,
        sequence=opened.sequence,
        instance=instance,
        time=int(time.time()),
        uptime_s=uptime_s(),
    )
