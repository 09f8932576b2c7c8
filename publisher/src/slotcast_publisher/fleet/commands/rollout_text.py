"""A rollout in words: for a terminal, and as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from slotcast_publisher.cli.common import size
from slotcast_publisher.fleet.rollout.state_table import OVER
from slotcast_publisher.fleet.steering.overview_types import GroupView, LimitView, RolloutView
from slotcast_schemas.plural import several, word_for

if TYPE_CHECKING:
    from slotcast_publisher.fleet.database.rollouts import LogLine

_COLUMNS: Final = (
    "group",
    "state",
    "let in",
    "devices",
    "committed",
    "failed",
    "under way",
    "waiting",
    "not seen",
    "watched",
)
_LIMITS_SHOWN: Final = 8
"""The most limits within bounds that are shown to people; broken ones are all shown."""


def overview_lines(view: RolloutView) -> list[str]:
    """Say where a rollout stands, in plain lines."""
    lines = [_head(view), *_notes(view)]
    rows = [_COLUMNS, *(_row(group) for group in view.groups)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(_COLUMNS))]
    lines += [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [f"  {text}" for text in _limits(view)]
    lines += [f"waits for {text}" for text in view.waits_for]
    return lines


def screen(view: RolloutView) -> Group:
    """Show where a rollout stands, for a terminal; text from devices is data, never markup."""
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    for group in view.groups:
        table.add_row(*map(Text, _row(group)))
    broken = [limit for limit in view.limits if limit.broken and not limit.accepted]
    style = "bold red" if view.state == "PAUSED" or broken else "bold"
    return Group(
        Text(_head(view), style=style),
        *map(Text, _notes(view)),
        Text(),
        table,
        Text(),
        *map(Text, _limits(view)),
        *(Text(f"waits for {text}", style="yellow") for text in view.waits_for),
    )


def short_line(view: RolloutView) -> str:
    """Say where a rollout stands, in a line."""
    groups = ", ".join(f"{group.name} {group.state}" for group in view.groups)
    return f"{view.name}: {view.model} {view.version} {view.state}; {groups}"


def log_text(line: LogLine) -> str:
    """Say a line of a log."""
    at = datetime.fromtimestamp(line.at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    by = f" by {line.who}" if line.who else ""
    group = f" {line.group}" if line.group else ""
    return f"{at}{group} {line.word}{by}{f': {line.text}' if line.text else ''}"


def _head(view: RolloutView) -> str:
    attempt = f", attempt {view.attempt}" if view.attempt > 1 else ""
    return f"{view.name}: {view.model} {view.version} is {view.state}{attempt}"


def _notes(view: RolloutView) -> list[str]:
    notes = []
    if view.pause is not None:
        who = f" ({view.pause.who})" if view.pause.who else ""
        notes.append(f"paused by {view.pause.by}{who}: {view.pause.why}".rstrip(": "))
    elif view.why and view.state == "STOPPED":
        notes.append(f"stopped: {view.why}")
    if view.state not in OVER and not view.driven:
        since = "ever" if view.looked_s is None else f"for {view.looked_s} s"
        notes.append(f"nobody has looked at it {since}: does `slotcast serve` run?")
    if view.requests:
        wait = word_for(view.requests, "waits", "wait")
        notes.append(f"{several(view.requests, 'request')} {wait} to be carried out")
    if view.saved_bytes:
        notes.append(f"deltas and files that were there have saved {size(view.saved_bytes)}")
    return notes


def _row(group: GroupView) -> Sequence[str]:
    reasons = ", ".join(f"{count} {reason}" for reason, count in list(group.reasons.items())[:3])
    return (
        group.name,
        group.state if not group.waits_for else f"{group.state} ({' and '.join(group.waits_for)})",
        f"{group.percent:.4g} %",
        str(group.members),
        str(group.committed),
        f"{group.failed}{f' ({reasons})' if reasons else ''}",
        str(group.under_way),
        str(group.held + group.expected),
        str(group.unseen),
        f"{group.soaked_s:.0f} of {group.soak_s:.0f} s",
    )


def _limits(view: RolloutView) -> list[str]:
    broken = [limit for limit in view.limits if limit.broken]
    fine = [limit for limit in view.limits if not limit.broken and limit.observed]
    lines = [f"{_word(limit)} {limit.text}" for limit in [*broken, *fine[:_LIMITS_SHOWN]]]
    more = len(fine) - _LIMITS_SHOWN
    return [*lines, *([f"within  {more} more limits (--json has all)"] if more > 0 else [])]


def _word(limit: LimitView) -> str:
    if not limit.broken:
        return "within "
    return "seen   " if limit.accepted else "BROKEN "
