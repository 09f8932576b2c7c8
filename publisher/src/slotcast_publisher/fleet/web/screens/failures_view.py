"""Failures by reason, and the evidence of one device of each: what was found and allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from slotcast_publisher.fleet.steering.evidence import FailureView
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.words import seconds_words, share_words, size_words
from slotcast_schemas.messages.status import Check
from slotcast_schemas.plural import part_of, several

_TAGS_MAX: Final = 6
"""The most tags of a device that are shown beside its failure."""


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check of a probe or a trial, in words; texts of the device are not made safe yet."""

    name: str
    passed: bool
    value: str
    limit: str
    reference: str
    detail: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Devices of a group that failed for one reason.

    Attributes:
        href: where they are listed.
        device_href: the screen of the one that is shown closely.
        checks: its evidence; empty where it sent none.
        first_s: when the first of them said so, by its own clock; 0 if none says.
        last_s: the last of them, likewise.
    """

    group: str
    state: str
    reason: str
    actor: str
    devices: int
    href: str
    first_s: int
    last_s: int
    device: str
    device_href: str
    tags: tuple[str, ...]
    detail: str
    runs: str
    checks: tuple[CheckRow, ...]


def failures_of(view: RolloutView) -> list[Failure]:
    """Give the failures of a rollout, the most common first in each group.

    Args:
        view: where it stands.
    """
    return [_failure(view, found) for found in view.failures]


def settled_words(view: RolloutView) -> str:
    """Say how many devices failed, of those that ended."""
    failed = sum(group.failed for group in view.groups)
    ended = failed + sum(group.committed for group in view.groups)
    if not failed:
        return f"None of {several(ended, 'device')} has failed."
    return f"{part_of(failed, ended, 'device')} that ended"


def check_rows(checks: tuple[Check, ...]) -> Iterator[CheckRow]:
    """Give checks in words, those that failed first."""
    for check in sorted(checks, key=lambda each: each.passed):
        yield CheckRow(
            name=check.name,
            passed=check.passed,
            value=figure_words(check.name, check.value),
            limit=figure_words(check.name, check.limit),
            reference=figure_words(check.name, check.reference),
            detail=check.detail,
        )


def figure_words(check: str, value: float | None) -> str:
    """Give a figure of a check in its unit, which its name tells.

    Args:
        check: its name.
        value: the figure; nothing for None.
    """
    if value is None:
        return ""
    if "latency" in check or check.endswith(("_s", "load_time")):
        return seconds_words(value)
    if "memory" in check or check.endswith("_bytes"):
        return size_words(value)
    if check in {"errors", "nonfinite"} and 0 <= value <= 1:
        return share_words(value)
    return f"{value:.6g}"


def _failure(view: RolloutView, found: FailureView) -> Failure:
    where = {
        "model": view.model,
        "rollout": view.name,
        "group": found.group,
        "state": found.state,
        "reason": found.reason,
    }
    return Failure(
        group=found.group,
        state=found.state,
        reason=found.reason,
        actor=found.actor,
        devices=found.devices,
        href=f"/devices?{urlencode(where)}",
        first_s=found.first_s,
        last_s=found.last_s,
        device=found.device,
        device_href=f"/devices/{quote(found.device, safe='')}",
        tags=tuple(f"{key}={value}" for key, value in sorted(found.tags.items())[:_TAGS_MAX]),
        detail=found.detail,
        runs=found.runs,
        checks=() if found.evidence is None else tuple(check_rows(found.evidence.checks)),
    )
