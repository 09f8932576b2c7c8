"""The fleet in lines for people: what runs, what is wanted and the state are three columns.

Every text that a device may have written goes through `printable`: it cannot begin a line, move the
cursor or turn the direction of writing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final

from rich.cells import cell_len

from slotcast_publisher.cli.common import size
from slotcast_publisher.fleet.database.listing import (
    HistoryEntry,
    KnownDevice,
    KnownModel,
)
from slotcast_publisher.fleet.database.signed_words import refused_words, signed_words
from slotcast_schemas.messages.status import Check, Evidence, Target
from slotcast_schemas.printable import printable

_HEAD: Final = ("DEVICE", "MODEL", "RUNS", "WANTED", "STATE", "REASON", "SEEN", "")
_WIDTH_MAX: Final = 40
"""The most characters of a text in a column."""
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))

Table = Sequence[Sequence[str]]
"""Rows of cells, the first of them the head; nothing in them needs an escape any more."""


def table_of(devices: Iterable[KnownDevice], now_s: float) -> Table:
    """Give a row for each model of each device.

    Args:
        devices: those that are shown.
        now_s: the time, in seconds since 1970.
    """
    return [_HEAD, *(row for device in devices for row in _rows(device, now_s))]


def _rows(device: KnownDevice, now_s: float) -> Iterator[tuple[str, ...]]:
    seen = seen_words(device, now_s)
    notes = "; ".join(notes_of(device))
    if not device.models:
        yield (_cut(device.id), "-", "-", "-", "-", "-", seen, notes)
    for model in device.models:
        status = model.status
        yield (
            _cut(device.id),
            _cut(status.model),
            "-" if status.active is None else _cut(status.active.version),
            _wanted(status.target),
            str(status.state),
            _cut(status.reason),
            seen,
            notes,
        )


def aligned(table: Table) -> list[str]:
    """Give lines with columns below each other."""
    widths = [max(map(cell_len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def version_lines(counts: Iterable[tuple[str, str, int]]) -> list[str]:
    """Say in a line for each model which versions run."""
    return [
        f"{_cut(model)}: "
        + ", ".join(f"{_cut(version) or 'nothing'} on {count:,}" for _, version, count in found)
        for model, found in groupby(counts, key=lambda count: count[0])
    ]


def seen_words(device: KnownDevice, now_s: float) -> str:
    """Say whether a device is online, or since when it is not heard."""
    if device.row["online"]:
        return "online"
    return f"{duration(now_s - device.row['seen_s'])} ago" if device.row["seen_s"] else "never"


def notes_of(device: KnownDevice) -> Iterator[str]:
    """Say what a person should look at."""
    if device.row["twins_seen_s"]:
        yield "two devices use this id"
    if device.row["refused_s"]:
        yield "reports in its name were refused"
    off_s = device.clock_off_s
    if off_s is not None:
        yield f"clock {duration(abs(off_s))} {'ahead' if off_s > 0 else 'behind'}"
    elif device.clock_complaint:
        yield f"clock {_cut(device.clock_complaint)}"


# --- one device ---------------------------------------------------------------------------------


def device_lines(
    device: KnownDevice,
    changes: Sequence[HistoryEntry],
    figures: Sequence[Mapping[str, Any]],
    now_s: float,
) -> Iterator[str]:
    """Say all that is known of a device.

    Args:
        device: the device.
        changes: its history, the newest first.
        figures: what it reported of releases, as `device_json.figures_fields` gives it.
        now_s: the time, in seconds since 1970.
    """
    yield f"{printable(device.id)}: {seen_words(device, now_s)}"
    yield from _about(device)
    for model in device.models:
        yield ""
        yield from _model_lines(model)
        mine = [each for each in figures if each["model"] == model.status.model]
        yield from (f"  {line}" for line in aligned(_figures_table(mine)) if mine)
    if changes:
        yield ""
        yield "History, the newest first:"
        for change in changes:
            yield from _change_lines(change)


def _about(device: KnownDevice) -> Iterator[str]:
    row = device.row
    if device.tags:
        tags = (f"{key}={value}" for key, value in sorted(device.tags.items()))
        yield "  tags: " + printable(" ".join(tags))
    software = ", ".join(filter(None, (row["software"], row["runtime"], row["machine"])))
    if software:
        yield "  software: " + printable(software)
    if row["disk_free_bytes"] or row["memory_bytes"]:
        free, memory = size(row["disk_free_bytes"]), size(row["memory_bytes"])
        yield f"  disk: {free} free; memory: {memory}"
    if device.link is not None:
        link = device.link
        yield "  link: " + printable(f"{link.broker} {link.protocol} {link.reason}".strip())
    heard_s, off_s = row["status_heard_s"], row["clock_off_s"]
    if heard_s:
        yield f"  last status: {when(heard_s)}; by its own clock {when(row['status_at_s'])}"
    else:
        yield f"  last status: by its own clock {when(row['status_at_s'])}"
    yield f"  reports: {printable(signed_words(row))}"
    if off_s is None:
        yield f"  clock: {printable(row['clock'])}, as it says itself"
    yield from _odd_lines(device)


def _odd_lines(device: KnownDevice) -> Iterator[str]:
    """Say what of a device does not fit together."""
    row = device.row
    for note in notes_of(device):
        yield f"  ! {note}"
    if row["twins_seen_s"]:
        yield f"    last noticed {when(row['twins_seen_s'])}: {printable(row['twins_why'])}"
    if row["refused_s"]:
        why = printable(refused_words(row["refused_why"]))
        yield f"    {row['refused_count']:,}, the last {when(row['refused_s'])}: {why}"
    if row["started_anew_s"]:
        yield f"  ! it counts its messages anew since {when(row['started_anew_s'])}"


def _model_lines(model: KnownModel) -> Iterator[str]:
    status = model.status
    yield f"model {printable(status.model)}"
    active, target = status.active, status.target
    runs = "nothing" if active is None else f"{active.version} (sequence {active.sequence})"
    yield "  runs: " + printable(runs) + ("" if active is None else f" in slot {active.slot}")
    if status.standby is not None:
        yield "  standby: " + printable(status.standby.version)
    yield "  wanted: " + _wanted_in_full(target)
    why = f"{status.reason}: {status.detail}" if status.detail else status.reason
    yield f"  state: {status.state}, {printable(why)}, since {_since(model)}"
    if status.progress is not None:
        done = status.progress
        yield (
            f"  progress: {size(done.verified_bytes)} of {size(done.size_bytes)}"
            f" ({printable(done.codec)}), at {size(done.rate_bytes_per_s)}/s"
        )
    if model.saved_bytes:
        yield f"  saved: {size(model.saved_bytes)} against the whole image"
    if status.evidence is not None:
        yield from _evidence_lines(status.evidence, "  ")
    for benched in status.benched:
        yield "  benched: " + printable(f"{benched.version}, {benched.reason}")


def _since(model: KnownModel) -> str:
    """Say since when a model is in its state, by our clock, as all other times here."""
    if model.changed_s:
        return when(model.changed_s)
    return f"{when(model.status.since)} by its own clock"


def _evidence_lines(evidence: Evidence, indent: str) -> Iterator[str]:
    yield f"{indent}evidence of sequence {evidence.sequence}:"
    for check in evidence.checks:
        yield f"{indent}  {_check_words(check)}"


def _check_words(check: Check) -> str:
    word = "ok    " if check.passed else "FAILED"
    value = "" if check.value is None else f" {check.value:g}"
    limit = "" if check.limit is None else f" (limit {check.limit:g})"
    reference = "" if check.reference is None else f" (old model {check.reference:g})"
    detail = f" {check.detail}" if check.detail else ""
    return printable(f"{word} {check.name}{value}{limit}{reference}{detail}")


def _figures_table(figures: Iterable[Mapping[str, Any]]) -> Table:
    head = ("release", "requests", "errors", "not finite", "p50", "p95", "memory")
    return [
        head,
        *(
            (
                _cut(each["version"]),
                f"{each['requests']:,}",
                f"{each['errors']:,}",
                f"{each['nonfinite']:,}",
                _milliseconds(each["latency_p50_s"]),
                _milliseconds(each["latency_p95_s"]),
                size(each["memory_bytes"]) if each["memory_bytes"] else "-",
            )
            for each in figures
        ),
    ]


def _change_lines(change: HistoryEntry) -> Iterator[str]:
    version = f"runs {change.version}" if change.version else "runs nothing"
    wanted = f", wanted {change.target_version}" if change.target_version else ""
    said = f"{change.model}: {change.state} {change.reason}; {version}{wanted}"
    detail = f"; {change.detail}" if change.detail else ""
    yield f"  {when(change.at_s)}  {printable(said + detail)}"
    if change.evidence is not None:
        bad = [check for check in change.evidence.checks if not check.passed]
        yield from (f"      {_check_words(check)}" for check in bad)


# --- words --------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Give a time span as people say it, in its largest unit."""
    whole = max(0, round(seconds))
    for unit_s, unit in _UNITS:
        if whole >= unit_s:
            return f"{whole // unit_s} {unit}"
    return "0 s"


def when(at_s: int | None) -> str:
    """Give a time as people read it, in UTC."""
    if not at_s:
        return "never"
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{at_s} s after 1970"


def _wanted(target: Target | None) -> str:
    return "-" if target is None else _cut(target.version)


def _wanted_in_full(target: Target | None) -> str:
    if target is None:
        return "nothing"
    by = f" by {target.deployment}" if target.deployment else ""
    group = f", group {target.group}" if target.group else ""
    return printable(f"{target.version} (sequence {target.sequence}){by}{group}")


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def _cut(text: str) -> str:
    return printable(text if len(text) <= _WIDTH_MAX else text[: _WIDTH_MAX - 1] + "…")
