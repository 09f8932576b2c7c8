"""Which of an application's processes live: told by what changes, and not by comparing clocks.

A report says when it was written by its process's own clock. That clock need not be the reader's
(a container, a time namespace, another boot), and a machine that slept makes all reports look old.
So a process lives while its file goes on changing, and has ended when it has not for a while by
the reader's monotonic clock. docs/adr/0054 has the reasons. Pure: files in, phases out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

from slotcast_device.application.app_report import AppReport, ReportFile

GONE_AFTER_S: Final = 30.0
"""The seconds without a new report after which a process has ended; one that lives writes at least
every 10 seconds."""
LATE_S: Final = 12.0
"""The seconds after which a process is late: one that writes every ten seconds is heard of within
them, if the folder is read often."""
LOOK_COUNTS_S: Final = 15.0
"""The most seconds of silence that are believed of the time between two looks: a machine that stood
still, or a reader that was kept from looking, says nothing of the processes."""
ENDED_MAX: Final = 256
"""The most ended processes of a slot that are remembered: more restarts than any release may
see."""

AT_WORK: Final = frozenset({"loading", "serving"})
"""The phases of a process that goes on writing."""


class _Process(msgspec.Struct):
    """What is known of the process behind one file.

    Attributes:
        began_s: when its file was first seen.
        heard_s: when it was last seen to have changed.
        silent_s: how much silence since then is believed.
        was_there: it lay there when looking began, and nothing of it has changed since: whether it
            lives is not known yet, and if it does not, it ended before anybody looked.
        back_s: when it first wrote again after it was taken to have ended.
        serves_s: since when it has said that it serves its release; None where it does not.
    """

    file: ReportFile
    began_s: float
    heard_s: float
    silent_s: float = 0.0
    was_there: bool = False
    back_s: float | None = None
    serves_s: float | None = None

    @property
    def slot(self) -> str:
        """Whose release it serves, or loads."""
        return self.file.report.slot

    def note_change(self, file: ReportFile, now_s: float) -> None:
        """It has written again."""
        if self.is_gone:
            self.serves_s = None  # nobody knows what it did meanwhile
            self.back_s = now_s if self.back_s is None else self.back_s
        self.file, self.heard_s, self.silent_s, self.was_there = file, now_s, 0.0, False

    @property
    def is_gone(self) -> bool:
        report = self.file.report
        is_told = report.uptime_s > 0  # where nothing is said of time, it is taken to live
        return is_told and report.phase in AT_WORK and self.silent_s > GONE_AFTER_S

    @property
    def is_alive(self) -> bool:
        """Whether it is known to live, or says nothing of time."""
        report = self.file.report
        is_known = report.uptime_s <= 0 or not self.was_there
        return report.phase in AT_WORK and is_known and not self.is_gone

    @property
    def has_ended_in_view(self) -> bool:
        return self.is_gone and not self.was_there


class Liveness:
    """Follows the report files of one model's applications from look to look.

    Args:
        look_counts_s: how much silence is believed of the time between two looks.
    """

    def __init__(self, look_counts_s: float = LOOK_COUNTS_S) -> None:
        self._look_counts_s = look_counts_s
        self._processes: dict[str, _Process] = {}
        self._looked_s: float | None = None
        self._alive_since_s: dict[str, float] = {}  # of a slot: since when one at least has lived
        self._served_s: dict[str, float] = {}  # of a slot: for how long its release was served

    def look(self, files: Sequence[ReportFile], now_s: float) -> list[AppReport]:
        """Take what lies in the folder now.

        Args:
            files: as read, newest first.
            now_s: of the reader's monotonic clock.

        Returns:
            Their reports in the same order, `gone` for processes that have ended.
        """
        since_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        believed_s = min(max(0.0, since_s), self._look_counts_s)
        for file in files:
            self._note_report(file, now_s, believed_s)
        self._forget_absent({file.name for file in files}, now_s)
        self._note_alive()
        self._count_served(now_s, believed_s)
        self._looked_s = now_s
        return [self._report_now(file) for file in files]

    def _note_report(self, file: ReportFile, now_s: float, since_s: float) -> None:
        known = self._processes.get(file.name)
        if known is None:
            was_there = self._looked_s is None
            known = _Process(file, now_s, now_s, was_there=was_there)
            self._processes[file.name] = known
        elif known.file != file:
            known.note_change(file, now_s)
        else:
            known.silent_s += since_s
        if file.report.phase != "serving":
            known.serves_s = None
        elif known.serves_s is None:
            known.serves_s = now_s

    def _note_alive(self) -> None:
        found: dict[str, float] = {}
        for process in self._processes.values():
            if process.is_alive:
                slot, began_s = process.slot, process.began_s
                before_s = self._alive_since_s.get(slot, began_s)
                found[slot] = min(began_s, before_s, found.get(slot, began_s))
        self._alive_since_s = found

    def _count_served(self, now_s: float, believed_s: float) -> None:
        """Count the time in which a release was served, without a gap.

        A process that served before and is late now adds nothing. If all that are not late began to
        serve just now, they may have taken the place of one that ended, and the time begins anew.
        """
        served_s: dict[str, float] = {}
        serving = [p for p in self._processes.values() if p.is_alive and p.serves_s is not None]
        for slot in {p.slot for p in serving}:
            mine = [p for p in serving if p.slot == slot]
            before = [p for p in mine if p.serves_s != now_s]
            so_far_s = self._served_s.get(slot, 0.0)
            if any(p.silent_s <= LATE_S for p in before):
                served_s[slot] = so_far_s + believed_s
            else:
                served_s[slot] = so_far_s if len(before) == len(mine) else 0.0
        self._served_s = served_s

    def _forget_absent(self, present: set[str], now_s: float) -> None:
        """Forget processes whose files are gone: they ended on purpose.

        One that had ended without a word, and was replaced before its file went, still counts as a
        restart.
        """
        for name, process in list(self._processes.items()):
            was_replaced = process.has_ended_in_view and self._has_successor(process, now_s)
            if name not in present and not was_replaced:
                del self._processes[name]
        ended = [n for n, p in self._processes.items() if p.has_ended_in_view and n not in present]
        for name in ended[:-ENDED_MAX]:
            del self._processes[name]

    def _report_now(self, file: ReportFile) -> AppReport:
        if self._processes[file.name].is_gone:
            return msgspec.structs.replace(file.report, phase="gone")
        return file.report

    def restarts(self, slot: str) -> list[float]:
        """When processes of a slot began in the place of others that ended without a word.

        Where the last words of one and the first of another came between the same two looks, the
        one that was there before has ended first: a supervisor may restart at once. Those that
        began between the same two looks count once: they are one application.
        """
        mine = self._of(slot)
        ended = [(p.heard_s, p.began_s) for p in mine if p.has_ended_in_view]
        ends = sorted(ended, reverse=True)
        began = []
        for start_s in sorted(p.began_s for p in mine):
            if ends and ends[-1][0] <= start_s and ends[-1][1] < start_s:
                ends.pop()
                began.append(start_s)
        return sorted(set(began))

    def unrest_s(self, slot: str) -> float | None:
        """When a process last ended, perhaps by the release's fault; None where none did.

        That is the time of the last restart, or of the last report of a process that ended and was
        not replaced. Where a process had ended before anybody looked, nobody knows whether it died
        or was stopped with the machine: there the time counts at which the application came back.
        The same time counts for a process that was taken to have ended and writes again.
        """
        mine = self._of(slot)
        times = self.restarts(slot)[-1:]
        times += [p.heard_s for p in mine if p.has_ended_in_view]
        times += [p.back_s for p in mine if p.back_s is not None]
        before = [p.began_s for p in mine if p.is_gone and p.was_there]
        if before:
            times += [*before, self._alive_since_s.get(slot, 0.0)]
        return max(times, default=None)

    def served_s(self, slot: str) -> float:
        """For how many seconds a slot's release has been served, as far as looks have seen.

        Without a gap, whichever process did; 0 where nobody serves it, or nobody is known to.
        """
        return self._served_s.get(slot, 0.0)

    def gone(self, slot: str) -> int:
        """How many processes of a slot's release ended without a word, watched or not."""
        return sum(p.is_gone for p in self._of(slot))

    def unheard(self, slot: str, since_s: float) -> int:
        """How many processes of a slot's release may have ended, for all that is known.

        They are not gone yet. They are late, or have not written since then, or not since another
        process began, which may have taken their place.
        """
        return sum(
            p.file.report.phase in AT_WORK
            and p.file.report.uptime_s > 0
            and not p.is_gone
            and (p.heard_s <= since_s or p.silent_s > LATE_S or self._has_successor(p))
            for p in self._of(slot)
        )

    def _has_successor(self, process: _Process, before_s: float = math.inf) -> bool:
        """Whether another of the same release began with its last words or later, until then."""
        return any(
            p is not process and p.slot == process.slot and process.heard_s <= p.began_s < before_s
            for p in reversed(self._processes.values())  # a successor is among the youngest
        )

    def _of(self, slot: str) -> list[_Process]:
        return [process for process in self._processes.values() if process.slot == slot]
