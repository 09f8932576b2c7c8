"""Devices as rows: what runs, what is wanted and what state it is in are three columns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from slotcast_publisher.fleet.database.listing import KnownDevice, KnownModel
from slotcast_publisher.fleet.database.unseen_devices import presence_word
from slotcast_publisher.fleet.web.words import NONE, size_words, span_short

TAGS_MAX: Final = 4
"""The most tags of a device that a row has; the rest are counted."""
HEAD: Final = (
    *("device", "presence", "seen_s", "model", "runs", "wanted", "state", "reason", "since_s"),
    *("rate_bytes_per_s", "disk_free_bytes", "tags"),
)
"""The columns of the list as a file."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A model on a device; texts of the device are not made safe yet.

    Attributes:
        is_first: whether it is the first row of its device.
        presence: `online`, `offline` or `not seen`.
        seen_s: when it was heard last, seconds since 1970; 0 for never.
        wanted: the release that the last notice asked for, where it is not the one that runs.
        since_s: when the state was new here, seconds since 1970.
        link: the rate of the last transfer, in words.
        notes: what a person should look at.
    """

    device: str
    href: str
    is_first: bool
    presence: str
    seen_s: int
    model: str
    runs: str
    wanted: str
    state: str
    reason: str
    since_s: int
    rate_bytes_per_s: int
    link: str
    disk_free_bytes: int
    disk: str
    tags: tuple[str, ...]
    tags_left: int
    notes: tuple[str, ...]


def device_rows(
    devices: Iterable[KnownDevice], now_s: float, *, all_tags: bool = False
) -> Iterator[DeviceRow]:
    """Give a row for each model of each device, and one for a device without any.

    Args:
        devices: in their order.
        now_s: seconds since 1970.
        all_tags: in each row, as in a file; else some, in the first row of a device.
    """
    for device in devices:
        models: list[KnownModel | None] = list(device.models) or [None]
        for number, model in enumerate(models):
            yield _row(device, model, now_s, is_first=number == 0, all_tags=all_tags)


def notes_of(device: KnownDevice) -> Iterator[str]:
    """Say what of a device a person should look at."""
    if device.row["twins_seen_s"]:
        yield "two devices use this id"
    if device.row["refused_s"]:
        yield "reports in its name were refused"
    off_s = device.clock_off_s
    if off_s is not None:
        yield f"clock {span_short(abs(off_s))} {'ahead' if off_s > 0 else 'behind'}"
    elif device.clock_complaint:
        yield f"clock {device.clock_complaint}"


def values_of(row: DeviceRow) -> tuple[object, ...]:
    """Give a row as it stands in a file."""
    return (
        *(row.device, row.presence, row.seen_s, row.model, row.runs, row.wanted),
        *(row.state, row.reason, row.since_s, row.rate_bytes_per_s, row.disk_free_bytes),
        " ".join(row.tags),
    )


def _row(
    device: KnownDevice, model: KnownModel | None, now_s: float, *, is_first: bool, all_tags: bool
) -> DeviceRow:
    row, status = device.row, None if model is None else model.status
    tags = tuple(f"{key}={value}" for key, value in sorted(device.tags.items()))
    active = None if status is None else status.active
    target = None if status is None else status.target
    progress = None if status is None else status.progress
    rate = 0 if progress is None else progress.rate_bytes_per_s
    runs = "" if active is None else active.version
    is_other = target is not None and (active is None or target.sequence != active.sequence)
    free = int(row["disk_free_bytes"])
    return DeviceRow(
        device=device.id,
        href=f"/devices/{quote(device.id, safe='')}",
        is_first=is_first,
        presence=presence_word(
            is_online=device.row["online"], seen_s=device.row["seen_s"], now_s=now_s
        ),
        seen_s=int(row["seen_s"]),
        model="" if status is None else status.model,
        runs=runs,
        wanted=target.version if target is not None and is_other else "",
        state="" if status is None else str(status.state),
        reason="" if status is None else status.reason,
        since_s=0 if model is None else model.changed_s,
        rate_bytes_per_s=rate,
        link=f"{size_words(rate)}/s" if rate else NONE,
        disk_free_bytes=free,
        disk=size_words(free) if free else NONE,
        tags=tags if all_tags else tags[:TAGS_MAX] if is_first else (),
        tags_left=max(0, len(tags) - TAGS_MAX) if is_first else 0,
        notes=tuple(notes_of(device)) if is_first else (),
    )
