"""The screen of one device: what it serves, and why that. Pure.

What *runs*, what is *wanted* and in which *state* it is are three things: a device that waits for
its group is QUEUED, and serves all the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from slotcast_publisher.fleet.database.listing import HistoryEntry, KnownDevice
from slotcast_publisher.fleet.database.signed_words import signed_words
from slotcast_publisher.fleet.web.screens.course_view import CourseLimits
from slotcast_publisher.fleet.web.screens.device_answer import answer_of, plain, warnings_of
from slotcast_publisher.fleet.web.screens.device_data import DeviceScreenData
from slotcast_publisher.fleet.web.screens.rollout_view import (
    ICON,
    ICON_PAUSED,
    ICON_WRONG,
    Answer,
)
from slotcast_publisher.fleet.web.screens.slots_view import Slot, release_href, slots_of
from slotcast_publisher.fleet.web.screens.trail_view import (
    Judged,
    judged,
)
from slotcast_publisher.fleet.web.screens.transfers_view import (
    TransfersView,
    transfers_of,
    transfers_view,
)
from slotcast_publisher.fleet.web.words import (
    NONE,
    Clock,
    count_words,
    seconds_words,
    share_words,
    size_words,
    span_words,
)
from slotcast_schemas.messages.status import Evidence, LinkStatus, ModelStatus

TAGS_MAX: Final = 64
"""The most tags that are shown of a device."""


@dataclass(frozen=True, slots=True)
class OtherModel:
    """Another model of the same device."""

    name: str
    version: str
    state: str
    reason: str
    href: str


@dataclass(frozen=True, slots=True)
class FigureRow:
    """What the device reported of one release, all together."""

    version: str
    href: str
    requests: str
    errors: str
    nonfinite: str
    p50: str
    p95: str
    memory: str
    load: str
    last_s: int


@dataclass(frozen=True, slots=True)
class DeviceScreen:
    """What the screen shows, but for the history and the plots.

    Attributes:
        group: of the rollout that it belongs to; empty without.
        rollout: that brought, or brings, the release that is wanted; empty without.
        model: that is looked at; empty where it has none.
        evidence: of the last probe or trial, where the history has none.
        commands: what can be done on the device itself, and what it does.
    """

    title: str
    icon: str
    answer: Answer
    group: str
    rollout: str
    model: str
    slots: tuple[Slot, ...]
    transfers: TransfersView
    tags: tuple[tuple[str, str], ...]
    tags_left: int
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    others: tuple[OtherModel, ...]
    figures: tuple[FigureRow, ...]
    evidence: Judged | None
    commands: tuple[tuple[str, str], ...]
    note_command: str


def device_screen(facts: DeviceScreenData, clock: Clock, repo: str) -> DeviceScreen:
    """Say all of a device but its history.

    Args:
        facts: what is known of it.
        clock: the time, and the viewer's zone.
        repo: the repository's folder, as commands name it.
    """
    device, model = facts.device, facts.model
    status = None if model is None else model.status
    answer = answer_of(facts, clock)
    tags = sorted(device.tags.items())
    return DeviceScreen(
        title=f"{_mark(answer)}{device.id}",
        icon={"bad": ICON_WRONG, "warn": ICON_PAUSED}.get(answer.tone, ICON),
        answer=answer,
        group="" if status is None or status.target is None else status.target.group,
        rollout="" if status is None or status.target is None else status.target.deployment,
        model="" if status is None else status.model,
        slots=() if status is None else tuple(slots_of(status, facts.changes)),
        transfers=transfers_view(
            "" if status is None else status.model,
            transfers_of(model, facts.changes, clock.now_s),
        ),
        tags=tuple(tags[:TAGS_MAX]),
        tags_left=max(0, len(tags) - TAGS_MAX),
        facts=tuple(_device_facts(device, status)),
        warnings=tuple(warnings_of(device)),
        others=tuple(_others(device, status)),
        figures=tuple(_figures(facts)),
        evidence=_last_evidence(status, facts.changes),
        commands=() if status is None else tuple(_commands(status)),
        note_command=shlex.join(["slotcast", "note", repo, "--device", device.id, "TEXT"]),
    )


def _mark(answer: Answer) -> str:
    return {"bad": "✗ ", "note": "◀ "}.get(answer.tone, "")


# --- the link, and the device ---------------------------------------------------------------------


def _device_facts(device: KnownDevice, status: ModelStatus | None) -> Iterator[tuple[str, str]]:
    row = device.row
    off_s = device.clock_off_s
    if off_s is not None:
        side = "ahead of" if off_s > 0 else "behind"
        yield (
            "Clock",
            f"{span_words(abs(off_s))} {side} ours; it says {plain(row['clock'])}",
        )
    elif row["clock"]:
        yield "Clock", plain(row["clock"])
    if row["disk_free_bytes"]:
        yield "Disk free", size_words(row["disk_free_bytes"])
    if row["memory_bytes"]:
        yield "Memory", size_words(row["memory_bytes"])
    for name, column in (("Software", "software"), ("Runtime", "runtime"), ("Machine", "machine")):
        if row[column]:
            yield name, row[column]
    if device.link is not None:
        yield from _link_facts(device.link)
    if status is not None and status.notice != "none":
        yield "Last notice", status.notice
    yield "Report", signed_words(row)


def _link_facts(link: LinkStatus) -> Iterator[tuple[str, str]]:
    parts = [part for part in (link.broker, link.protocol) if part]
    yield "Link", ", ".join([plain(link.reason), *parts])
    if link.detail:
        yield "Link says", link.detail
    if link.limits:
        yield "Broker", "; ".join(link.limits)
    if link.left:
        yield "Brokers left alone", "; ".join(link.left)


def _others(device: KnownDevice, status: ModelStatus | None) -> Iterator[OtherModel]:
    for each in device.models:
        other = each.status
        if status is None or other.model == status.model:
            continue
        yield OtherModel(
            name=other.model,
            version="" if other.active is None else other.active.version,
            state=other.state,
            reason=other.reason,
            href=f"/devices/{quote(device.id, safe='')}?{urlencode({'model': other.model})}",
        )


def _figures(facts: DeviceScreenData) -> Iterator[FigureRow]:
    for each in facts.figures:
        found = each.figures
        p50, p95 = found.latency.quantile(0.5), found.latency.quantile(0.95)
        yield FigureRow(
            version=each.version,
            href=release_href(each.model, each.version),
            requests=count_words(found.requests),
            errors=share_words(found.error_share.value) if found.requests else NONE,
            nonfinite=share_words(found.nonfinite_share.value) if found.requests else NONE,
            p50=NONE if p50 is None else seconds_words(p50.value_s),
            p95=NONE if p95 is None else seconds_words(p95.value_s),
            memory=size_words(found.memory_bytes) if found.memory_bytes else NONE,
            load=seconds_words(found.load_s) if found.load_s else NONE,
            last_s=each.last_s,
        )


def _last_evidence(status: ModelStatus | None, changes: Sequence[HistoryEntry]) -> Judged | None:
    """Give the status' own evidence, where the history begins later."""
    if status is None or status.evidence is None or not status.evidence.checks:
        return None
    if any(change.evidence == status.evidence for change in changes):
        return None
    version = _version_of(status.evidence, status)
    return judged(status.evidence, status.state, version)


def _version_of(evidence: Evidence, status: ModelStatus) -> str:
    for each in (status.target, status.active, status.standby, *status.benched):
        if each is not None and each.sequence == evidence.sequence:
            return each.version
    return f"sequence {evidence.sequence}"


def limits_of(facts: DeviceScreenData) -> CourseLimits:
    """Give what the last trial of the model allowed, to be drawn beside what was measured."""
    evidences = [change.evidence for change in facts.changes]
    if facts.model is not None:
        evidences.insert(0, facts.model.status.evidence)
    p95_s = memory_bytes = None
    for evidence in evidences:
        for check in () if evidence is None else evidence.checks:
            if check.name == "latency_p95" and p95_s is None:
                p95_s = check.limit
            if check.name == "memory" and memory_bytes is None:
                memory_bytes = check.limit
    return CourseLimits(p95_s, memory_bytes)


def _commands(status: ModelStatus) -> Iterator[tuple[str, str]]:
    """Say what can be done on the device itself: nothing reaches it from here but notices."""
    if status.benched:
        last = status.benched[-1]
        command = ["slotcast-device", "unbench", "--model", status.model]
        yield (
            shlex.join([*command, "--sequence", str(last.sequence)]),
            f"Lifts the bench of {last.version}: it is tried again.",
        )
    if status.standby is not None and status.state in {"TRIAL", "COMMITTED"}:
        yield (
            shlex.join(["slotcast-device", "rollback", "--model", status.model]),
            f"Serves {status.standby.version} again, which slot {status.standby.slot} holds.",
        )
