"""The tables of a rollout's screen as files: figures as numbers, in the units of their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from slotcast_publisher.fleet.figures.histograms import GRID_S
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.screens.switch_view import SwitchHour, errors, memory, p95

Table = tuple[tuple[str, ...], list[Sequence[Any]]]
"""The names of the columns, and the rows."""
_GROUPS: Final = ("name", "state", "percent", "members", "let_in", "committed", "failed", "unseen")
_LIMITS: Final = (
    *("group", "limit", "value", "low", "high", "allowed", "observed", "over", "broken"),
    *("accepted", "devices_allowed"),
)
_FAILURES: Final = (
    *("group", "state", "reason", "actor", "devices", "first_s", "last_s", "device", "detail"),
)


def _fields(found: Sequence[Any], head: tuple[str, ...]) -> Table:
    return head, [[getattr(each, key) for key in head] for each in found]


def _latency(view: RolloutView) -> Table:
    """Give the calls of each bucket, by group and release."""
    bounds: tuple[float | None, ...] = (*GRID_S, None)
    rows: list[Sequence[Any]] = []
    for each in view.figures:
        old = each.old.counts if each.old is not None else ()
        for number, count in enumerate(each.new.counts):
            before = old[number] if number < len(old) else None
            if count or before:
                rows.append((each.group, bounds[number], before, count))
    return ("group", "up_to_s", "requests_before", "requests_new"), rows


def _tags(view: RolloutView) -> Table:
    """Give the p95 of devices by tag, where a tag parts slow ones from others."""
    rows: list[Sequence[Any]] = [
        (each.group, tag.key, tag.value, tag.devices, tag.old_s, tag.new_s)
        for each in view.figures
        for tag in each.slow
    ]
    return ("group", "key", "value", "devices", "p95_before_s", "p95_new_s"), rows


TABLES: Final[Mapping[str, Callable[[RolloutView], Table]]] = {
    "limits.csv": lambda view: _fields(view.limits, _LIMITS),
    "failures.csv": lambda view: _fields(view.failures, _FAILURES),
    "groups.csv": lambda view: _fields(view.groups, _GROUPS),
    "latency.csv": _latency,
    "tags.csv": _tags,
}
"""What is made of a look at the rollout alone."""


def over_time_table(hours: Sequence[SwitchHour]) -> Table:
    """Give what the releases did by the hour, each device set to its own switch.

    Args:
        hours: before and after the switch.
    """
    rows: list[Sequence[Any]] = [
        (
            each.hour,
            "new" if each.is_new else "before",
            len(each.devices),
            p95(each),
            errors(each),
            memory(each),
        )
        for each in hours
    ]
    head = ("hour_from_switch", "release", "devices", "p95_s", "error_share", "memory_bytes")
    return head, rows
