"""Adds applications' reports up, over processes and restarts, into figures of one release.

Reports hold counts since each process loaded the release, so a window remembers what it has
counted of each process. Pure: reports in, figures out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import ge
from typing import Final

import msgspec
from msgspec.structs import replace

from slotcast_device.application.app_report import REPORTS_MAX, AppReport, Failure
from slotcast_device.application.histogram import BOUNDS_S, BUCKETS, latency, quantile_s, rebucket
from slotcast_schemas.limits import SAFE_INTEGER_MAX
from slotcast_schemas.messages.metrics import Summary

_COUNTS: Final = ("requests", "errors", "checked", "nonfinite", "invalid")
"""The counters of a report that only grow while a process lives."""


class LiveFigures(msgspec.Struct, frozen=True):
    """Figures of one release, of all its processes together; counts by `histogram.BOUNDS_S`.

    Attributes:
        serving: processes that have it loaded.
        loading: processes that are loading it.
        is_counted: whether any of them counts requests.
        failure: of a process that could not take it over.
        invalid: requests beside these that no release here takes.
        rss_bytes: of the largest process.
    """

    requests: int = 0
    errors: int = 0
    checked: int = 0
    nonfinite: int = 0
    counts: tuple[int, ...] = (0,) * BUCKETS
    sum_s: float = 0.0
    max_s: float = 0.0
    rss_bytes: int = 0
    peak_rss_bytes: int = 0
    load_s: float = 0.0
    output_mean: float | None = None
    output_std: float | None = None
    serving: int = 0
    loading: int = 0
    is_counted: bool = True
    failure: Failure | None = None
    invalid: int = 0

    def quantile_s(self, share: float) -> float | None:
        """Give the latency, in seconds, that `share` of the answered requests do not exceed."""
        return quantile_s(self.counts, share, self.max_s)

    @property
    def error_share(self) -> float:
        """Errors of all requests; 0 without requests."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def nonfinite_share(self) -> float:
        """Outputs with NaN or infinity, of those that were looked at."""
        return self.nonfinite / self.checked if self.checked else 0.0

    def summary(
        self,
        *,
        model: str,
        version: str,
        sequence: int,
        start: int,
        end: int,
        on_trial: bool,
        release_sha256: bytes = b"",
    ) -> Summary:
        """Build what is sent of these figures, each of which is at most what a message may hold.

        Applications may report any number, and one that a message cannot hold would cost the
        figures of all models.

        Args:
            model: the model's name.
            version: of the release that they are of.
            sequence: of that release.
            start: since when they were counted, Unix time.
            end: until when.
            on_trial: whether the release was on trial then.
            release_sha256: of the signed release, where that is known.
        """
        return Summary(
            model=model,
            version=version,
            sequence=sequence,
            start=start,
            end=end,
            requests=min(self.requests, SAFE_INTEGER_MAX),
            errors=min(self.errors, SAFE_INTEGER_MAX),
            nonfinite=min(self.nonfinite, SAFE_INTEGER_MAX),
            latency=latency(self.counts, self.sum_s, self.max_s),
            rss_bytes=self.rss_bytes,
            peak_rss_bytes=self.peak_rss_bytes,
            load_s=self.load_s,
            output_mean=self.output_mean,
            output_std=self.output_std,
            on_trial=on_trial,
            invalid=min(self.invalid, SAFE_INTEGER_MAX),
            release_sha256=release_sha256,
        )


class FiguresWindow:
    """Figures of the release in one slot since the window was opened or last cut.

    The agent opens one when a release becomes active, and feeds it every time it reads reports.
    """

    def __init__(self, slot: str, sequence: int = 0) -> None:
        self._slot = slot
        self._sequence = sequence
        self._seen: dict[str, AppReport] = {}
        self._figures = LiveFigures()

    @property
    def figures(self) -> LiveFigures:
        """What was seen since the last cut."""
        return self._figures

    def skip(self, reports: Iterable[AppReport]) -> None:
        """Take note of reports without counting them: they were counted before a restart."""
        for report in self._select_release(reports):
            self._seen[report.instance] = report

    def take(self, reports: Iterable[AppReport]) -> LiveFigures:
        """Count what is new in these reports.

        Args:
            reports: as read from the folder, newest first; those of another slot or release
                are left out.

        Returns:
            All figures since the last cut.
        """
        mine = self._select_release(reports)
        figures = self._figures
        for report in mine:
            earlier = self._seen.get(report.instance)
            figures = _add_report(figures, report, earlier)
            self._seen[report.instance] = report
        self._forget_old({report.instance for report in mine})
        self._figures = _set_state(figures, mine)
        return self._figures

    def cut(self) -> LiveFigures:
        """Give the figures and begin anew; what was counted is not counted again."""
        figures = self._figures
        self._figures = replace(
            LiveFigures(),
            rss_bytes=figures.rss_bytes,
            load_s=figures.load_s,
            serving=figures.serving,
            loading=figures.loading,
            is_counted=figures.is_counted,
            failure=figures.failure,
        )
        return figures

    def _select_release(self, reports: Iterable[AppReport]) -> list[AppReport]:
        return [
            report
            for report in reports
            if report.slot == self._slot
            and (not report.sequence or not self._sequence or report.sequence == self._sequence)
        ]

    def _forget_old(self, present: set[str]) -> None:
        for instance in list(self._seen):
            if len(self._seen) <= REPORTS_MAX:
                return
            if instance not in present:
                del self._seen[instance]


def _add_report(figures: LiveFigures, report: AppReport, earlier: AppReport | None) -> LiveFigures:
    """Add what a report has more than the process's earlier one (all of it, if it went back)."""
    new = rebucket(report.bounds_s, report.counts, BOUNDS_S)
    old = [0] * BUCKETS
    if earlier is not None and _has_gone_on(report, earlier):
        old = rebucket(earlier.bounds_s, earlier.counts, BOUNDS_S)
    else:
        earlier = None
    gain: Mapping[str, int] = {
        name: _count_of(report, name) - (0 if earlier is None else _count_of(earlier, name))
        for name in _COUNTS
    }
    sum_s = report.sum_s - (0.0 if earlier is None else earlier.sum_s)
    return replace(
        figures,
        requests=figures.requests + gain["requests"],
        errors=figures.errors + gain["errors"],
        checked=figures.checked + gain["checked"],
        nonfinite=figures.nonfinite + gain["nonfinite"],
        invalid=figures.invalid + gain["invalid"],
        counts=tuple([c + n - o for c, n, o in zip(figures.counts, new, old, strict=True)]),
        sum_s=figures.sum_s + max(0.0, sum_s),
        max_s=max(figures.max_s, _find_max_s(report, earlier, new, old)),
    )


def _count_of(report: AppReport, name: str) -> int:
    """One of its counts; 0 for what the application does not count."""
    count: int | None = getattr(report, name)
    return count or 0


def _has_gone_on(report: AppReport, earlier: AppReport) -> bool:
    """Whether every count is at least what it was: else the process began again."""
    if report.bounds_s != earlier.bounds_s or len(report.counts) != len(earlier.counts):
        return False
    return all(_count_of(report, n) >= _count_of(earlier, n) for n in _COUNTS) and all(
        map(ge, report.counts, earlier.counts)
    )


def _find_max_s(
    report: AppReport, earlier: AppReport | None, new: list[int], old: list[int]
) -> float:
    """The longest latency of what is new: exact if it is the longest ever, else by its bucket."""
    if earlier is None or report.max_s > earlier.max_s:
        return report.max_s
    top = next((i for i in reversed(range(BUCKETS)) if new[i] > old[i]), None)
    if top is None:
        return 0.0
    return min(report.max_s, BOUNDS_S[top]) if top < len(BOUNDS_S) else report.max_s


def _set_state(figures: LiveFigures, reports: list[AppReport]) -> LiveFigures:
    """Set what is a state and not a count, from the reports that are there now.

    Where nobody serves the release any more, from the last words of those who did: a trial holds
    the new release's memory and outputs against them.
    """
    serving = [report for report in reports if report.phase == "serving"]
    last = serving or [report for report in reports if report.phase == "retired"]
    latest = last[0] if last else None
    return replace(
        figures,
        rss_bytes=max((r.rss_bytes for r in last), default=figures.rss_bytes),
        peak_rss_bytes=max((r.peak_rss_bytes for r in last), default=figures.peak_rss_bytes),
        load_s=max((r.load_s for r in last), default=figures.load_s),
        output_mean=figures.output_mean if latest is None else latest.output_mean,
        output_std=figures.output_std if latest is None else latest.output_std,
        serving=len(serving),
        loading=sum(report.phase == "loading" for report in reports),
        is_counted=not last or any(report.requests is not None for report in last),
        failure=next((r.failure for r in reports if r.phase == "failed" and r.failure), None),
    )
