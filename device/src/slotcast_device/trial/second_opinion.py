"""Live latency alone ends no trial: a probe beside the old release is asked first.

An application's latency with the old release is from another time. The device may be busy now, and
was not then: the ratio says nothing of the model. The probe runs both releases at the same time, so
it can tell; and it says how far the device is short of processor.

| the probe | what is made of it |
|---|---|
| it is too slow beside the old release | believed: the trial has failed |
| it is not, and requests waited for a processor as the probe did | the latency is the device's |
| it is not, and the device has processors to spare | requests are counted anew from now on; the |
|   | same twice, and the latency is believed, since live requests may cost what samples do not |
| too busy a device to tell | not now: the trial goes on, and is asked again |

Pure but for the probe that is asked; docs/adr/0051 has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from slotcast_device.application.app_report import AppReport
from slotcast_device.trial.judge import judge_latency
from slotcast_device.trial.live_figures import FiguresWindow, LiveFigures
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.probe import DEVICE_BUSY, TOO_SLOW, ProbeResult
from slotcast_schemas.probe.waits import CLEAN_SHARE
from slotcast_schemas.reasons import Reason

ASK_AGAIN_FIRST_S: Final = 60.0
"""The first number of seconds for which a probe's answer is good; a probe costs the device what it
is short of."""
ASK_AGAIN_CAP_S: Final = 900.0
"""The longest of these waits, in seconds."""

COUNT_ANEW_S: Final = 900.0
"""The seconds within which enough requests must come, or else the probe is believed instead."""

COUNTING_ANEW: Final = "counting_anew"
"""The reason of a trial whose requests are counted anew because the probe found the release
fast."""

Outcome = Literal["slow", "fine", "open"]
"""What asking a probe can end with."""


class Opinion(msgspec.Struct, frozen=True):
    """What is to be made of a live latency above its limit.

    Attributes:
        outcome: `open` means: not decided yet, the trial goes on.
        reason: one stable word.
        detail: for people, with what the probe says.
    """

    outcome: Outcome
    reason: str
    detail: str


class SecondOpinion:
    """Of one trial.

    Args:
        ask: holds a probe of the release on trial beside the old one.
        window: gives a window that counts the release's requests.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        ask: Callable[[], ProbeResult],
        window: Callable[[], FiguresWindow],
        clock: Callable[[], float],
    ) -> None:
        self._ask = ask
        self._window = window
        self._clock = clock
        self._last: ProbeResult | None = None
        self._asked_s = 0.0
        self._wait_s = ASK_AGAIN_FIRST_S
        self._anew: FiguresWindow | None = None
        self._anew_s = 0.0

    def on(
        self, trial: Trial, old: LiveFigures, reports: Sequence[AppReport], slow: frozenset[str]
    ) -> Opinion:
        """Say what is to be made of a live latency above its limit.

        Args:
            trial: the release's limits.
            old: the old release's figures.
            reports: of applications, as they are now.
            slow: the checks that failed.

        Raises:
            ProbeNotHeld: the probe could not be held.
        """
        if self._anew is not None:
            return self._count_anew(trial, old, self._anew.take(reports), slow)
        result = self._get_answer()
        if (known := _judge_without_figures(result)) is not None:
            return known
        self._anew, self._anew_s = self._window(), self._clock()
        self._anew.skip(reports)
        return _open_opinion(result)

    def _get_answer(self) -> ProbeResult:
        """Give the last answer while it is good, else a new one."""
        now_s = self._clock()
        if self._last is None or now_s - self._asked_s >= self._wait_s:
            if self._last is not None:
                self._wait_s = min(2 * self._wait_s, ASK_AGAIN_CAP_S)
            self._last = self._ask()
            self._asked_s = self._clock()
        return self._last

    def _count_anew(
        self, trial: Trial, old: LiveFigures, since: LiveFigures, slow: frozenset[str]
    ) -> Opinion:
        """What requests say that came while the device had processors to spare."""
        checks = tuple(judge_latency(trial, old, since))
        last = self._last
        if last is None:
            raise TypeError("counted anew before a probe was asked")
        if all(check.passed for check in checks):
            if slow <= {check.name for check in checks if check.limit is not None}:
                return _fine_opinion(
                    f"{since.requests} requests counted anew were fast enough", last
                )
            if self._clock() - self._anew_s < COUNT_ANEW_S:
                return _open_opinion(last)
            return _fine_opinion("too few requests came to count anew", last)
        self._last = None  # its answer is of another time than these requests
        result = self._get_answer()
        self._anew = None
        if (known := _judge_without_figures(result)) is not None:
            return known
        said = f"{since.requests} requests counted anew are as slow, with processors to spare"
        return Opinion("slow", TOO_SLOW, f"{said}; {_describe_probe(result)}")


def _judge_without_figures(result: ProbeResult) -> Opinion | None:
    """What a probe says that needs no more requests; None where these must decide."""
    if result.reason == DEVICE_BUSY:
        return Opinion("open", DEVICE_BUSY, result.detail)
    if not result.passed:
        return Opinion("slow", result.reason, f"beside the old release: {result.detail}")
    if result.waited_share > CLEAN_SHARE:
        return _fine_opinion("requests wait because the device is short of processor", result)
    return None


def _open_opinion(result: ProbeResult) -> Opinion:
    return Opinion("open", COUNTING_ANEW, f"requests are counted anew; {_describe_probe(result)}")


def _fine_opinion(why: str, result: ProbeResult) -> Opinion:
    return Opinion("fine", Reason.PASSED, f"{why}; {_describe_probe(result)}")


def _describe_probe(result: ProbeResult) -> str:
    found = next((check.detail for check in result.checks if check.name == "latency_p50"), "")
    return f"a probe beside the old release says: {found or 'fast enough'}"
