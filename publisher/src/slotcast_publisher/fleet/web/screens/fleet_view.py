"""The first screen: does anything need a person, who is there, what runs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final
from urllib.parse import quote, urlencode

from slotcast_publisher.fleet.alarms.board import CROWD, Alarm
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.database.fleet_counts import (
    CountedState,
    CountedVersion,
    PresenceCounts,
)
from slotcast_publisher.fleet.rollout.state_table import OVER
from slotcast_publisher.fleet.steering.overview_types import RolloutView
from slotcast_publisher.fleet.web.plots.bars import BarPart
from slotcast_publisher.fleet.web.screens.limits_view import limit_rows
from slotcast_publisher.fleet.web.screens.rollout_view import (
    ICON,
    ICON_PAUSED,
    ICON_WRONG,
    answer_of,
    last_opened,
)
from slotcast_publisher.fleet.web.words import count_words, devices_words, of_words, share_words
from slotcast_schemas.plural import part_of, word_for

STATES: Final[tuple[str, ...]] = (
    *("IDLE", "QUEUED", "DOWNLOADING", "DOWNLOADED", "VERIFIED", "ACTIVATING", "TRIAL"),
    *("COMMITTED", "ROLLED_BACK", "FAILED", "REJECTED", "CANCELED"),
)
"""The states of a model on a device, in their order."""
_ALWAYS: Final = frozenset(
    {"IDLE", "QUEUED", "DOWNLOADING", "TRIAL", "COMMITTED", "ROLLED_BACK", "FAILED", "REJECTED"}
)
"""States that have a column even where nobody is in them."""
VERSIONS_MAX: Final = 4
"""The most versions of a model that are named; older ones are counted together."""
MODELS_MAX: Final = 50
"""The most models that have a row; more are counted."""

_ALARMS: Final[Mapping[AlarmKind, tuple[str, str, str]]] = {
    AlarmKind.DEVICE_SILENT: ("gone", "not seen", "See who"),
    AlarmKind.DISK_LOW: ("fail", "disk low", "See who"),
    AlarmKind.CLOCK_OFF: ("fail", "clock", "See who"),
    AlarmKind.ID_SHARED: ("fail", "one id, two devices", "See who"),
    AlarmKind.REPORTS_REFUSED: ("fail", "false reports", "See who"),
    AlarmKind.RELEASE_FAILING: ("fail", "FAILED", "See who"),
    AlarmKind.ROLLOUT_PAUSED: ("pause", "PAUSED", "Go back or resume"),
    AlarmKind.SIGNATURE_EXPIRING: ("gate", "signature", ""),
    AlarmKind.CERTIFICATE_EXPIRING: ("gate", "certificate", ""),
    AlarmKind.SUPPORT_ENDING: ("gate", "support", ""),
    AlarmKind.BROKER_REFUSING: ("fail", "broker refuses", ""),
    AlarmKind.BROKER_UNREACHABLE: ("fail", "broker", ""),
    AlarmKind.DATABASE_FAILING: ("fail", "database", ""),
}
"""For each kind of alarm: its shape, its word, and what the link beside it says."""
_CROWDS: Final[Mapping[AlarmKind, str]] = {
    AlarmKind.DEVICE_SILENT: "are offline, and were not heard of for long",
    AlarmKind.DISK_LOW: "have too little room for another release",
    AlarmKind.CLOCK_OFF: "have a clock that is wrong",
    AlarmKind.ID_SHARED: "are two under one id",
    AlarmKind.REPORTS_REFUSED: "are reported of by who has not their keys",
}
"""What many devices at once have in common."""
_SUBJECTS_MAX: Final = 5
"""The most devices or models that an alarm names."""


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that needs a person.

    Attributes:
        shape: the class of its shape.
        word: that stands beside the shape.
        text: a sentence; not made safe yet.
        since_s: seconds since 1970; 0 where nobody knows.
        href: where something can be done about it; empty for nowhere.
        link: what that says.
    """

    shape: str
    word: str
    text: str
    since_s: float
    href: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A count, and where it is listed."""

    state: str
    count: int
    href: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What the devices say of a model."""

    model: str
    devices: Cell
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class VersionsRow:
    """Which versions of a model run."""

    model: str
    devices: int
    bar: tuple[BarPart, ...]
    cells: tuple[Cell, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """A rollout, in a line."""

    name: str
    href: str
    release: str
    state: str
    progress: str
    bar: tuple[BarPart, ...]
    now: str
    started_by: str


@dataclass(frozen=True, slots=True)
class PresenceStrip:
    """Who is there."""

    devices: int
    online: int
    offline: int
    unseen: int
    online_share: str
    offline_share: str
    unseen_share: str


@dataclass(frozen=True, slots=True)
class FleetScreen:
    """What the screen shows, but for devices.

    Attributes:
        sentence: it opens with.
        tone: `warn` where a person is needed, else empty.
        needs: what for.
        states: that have a column.
        all_row: the sums of all models; None for one model alone.
        models_left: models that have no row.
    """

    title: str
    icon: str
    sentence: str
    tone: str
    needs: tuple[Need, ...]
    strip: PresenceStrip
    states: tuple[str, ...]
    rows: tuple[ModelRow, ...]
    all_row: ModelRow | None
    models_left: int
    versions: tuple[VersionsRow, ...]
    rollouts: tuple[RolloutRow, ...]


def fleet_screen(
    presence: PresenceCounts,
    states: Sequence[CountedState],
    versions: Sequence[CountedVersion],
    alarms: Iterable[Alarm],
    rollouts: Sequence[RolloutView],
) -> FleetScreen:
    """Make the first screen.

    Args:
        presence: of the whole fleet.
        states: how many devices are in which state, by model.
        versions: how many run which release, by model, the newest first.
        alarms: that stand.
        rollouts: that have not ended.
    """
    live = [view for view in rollouts if view.state not in OVER]
    needs = (*_gates(live), *map(_need, alarms))
    paused = any(need.word == "PAUSED" for need in needs)
    columns, rows, all_row = _matrix(states)
    return FleetScreen(
        title=f"PAUSED {_first_paused(live)}" if paused else "Fleet",
        icon=ICON_PAUSED if paused else ICON_WRONG if _is_wrong(needs) else ICON,
        sentence=_sentence(needs, presence, states),
        tone="warn" if needs else "",
        needs=needs,
        strip=_strip(presence),
        states=columns,
        rows=tuple(rows[:MODELS_MAX]),
        all_row=all_row,
        models_left=max(0, len(rows) - MODELS_MAX),
        versions=tuple(_versions(versions, {view.model: view for view in live}))[:MODELS_MAX],
        rollouts=tuple(rollout_row(view) for view in live),
    )


def _first_paused(views: Sequence[RolloutView]) -> str:
    found = next((view for view in views if view.state == "PAUSED"), None)
    return "" if found is None else f"{found.model} {found.version}"


def _is_wrong(needs: Iterable[Need]) -> bool:
    return any(need.shape == "fail" for need in needs)


def _sentence(
    needs: Sequence[Need], presence: PresenceCounts, states: Sequence[CountedState]
) -> str:
    if not presence.devices:
        return "No device has reported yet."
    if not needs:
        online = part_of(presence.online, presence.devices, "device")
        are = word_for(presence.devices, "is", "are")
        return f"Nothing needs a person. {online} {are} online."
    empty = sum(each.devices for each in states if each.state == "IDLE" and not each.reason)
    things = "1 thing needs" if len(needs) == 1 else f"{len(needs)} things need"
    have = word_for(empty, "has", "have")
    without = f" {count_words(empty)} {have} no model yet." if empty else ""
    return f"{things} a person.{without}"


# --- what needs a person --------------------------------------------------------------------------


def _gates(views: Iterable[RolloutView]) -> Iterator[Need]:
    """Rollouts at a gate that a person opens: no alarm, and yet nothing goes on."""
    for view in views:
        group = next((g for g in view.groups if "person" in g.waits_for), None)
        if group is None or view.state == "PAUSED":
            continue
        limits = limit_rows(view.limits, view.figures, last_opened(view))
        said = answer_of(view, limits).sentence
        text = f"{view.model} {view.version}: {said}"
        href = f"/rollouts/{quote(view.name, safe='')}"
        yield Need("gate", "AT_GATE", text, 0, href, "Look and open the gate")


def _need(alarm: Alarm) -> Need:
    shape, word, link = _ALARMS.get(alarm.kind, ("fail", str(alarm.kind), ""))
    href = _href(alarm)
    if alarm.count > 1 and link == "See who":
        link = f"See {count_words(alarm.count)} devices"
    return Need(shape, word, _text(alarm), alarm.raised_s, href, link if href else "")


def _text(alarm: Alarm) -> str:
    """Give an alarm's sentence; of many at once, what they have in common, and some of them."""
    if alarm.subject != CROWD or alarm.kind not in _CROWDS:
        return alarm.text
    some = f": {', '.join(alarm.subjects[:_SUBJECTS_MAX])}" if alarm.subjects else ""
    more = ", …" if alarm.subjects and alarm.count > _SUBJECTS_MAX else ""
    return f"{devices_words(alarm.count)} {_CROWDS[alarm.kind]}{some}{more}"


def _href(alarm: Alarm) -> str:
    names = alarm.names
    match alarm.kind:
        case AlarmKind.ROLLOUT_PAUSED:
            return f"/rollouts/{quote(names.get('rollout', ''), safe='')}"
        case AlarmKind.RELEASE_FAILING:
            where = {"state": "FAILED"} | ({"model": names["model"]} if "model" in names else {})
            return f"/devices?{urlencode(where)}"
        case AlarmKind.DEVICE_SILENT if alarm.subject == CROWD:
            return "/devices?presence=not-seen"
        case AlarmKind.ID_SHARED if alarm.subject == CROWD:
            return "/devices?note=shared-id"
    device = names.get("device", "")
    return f"/devices/{quote(device, safe='')}" if device else ""


def _strip(presence: PresenceCounts) -> PresenceStrip:
    total = presence.devices
    offline = max(0, total - presence.online - presence.unseen)

    def share(count: int) -> str:
        return share_words(count / total) if total else ""

    return PresenceStrip(
        devices=total,
        online=presence.online,
        offline=offline,
        unseen=presence.unseen,
        online_share=share(presence.online),
        offline_share=share(offline),
        unseen_share=share(presence.unseen),
    )


# --- what devices say -----------------------------------------------------------------------------


def _matrix(
    states: Sequence[CountedState],
) -> tuple[tuple[str, ...], list[ModelRow], ModelRow | None]:
    """Give the columns, a row for each model, and the sums where there are several."""
    there = {each.state for each in states}
    columns = tuple(s for s in STATES if s in there or s in _ALWAYS)
    columns += tuple(sorted(there - set(STATES)))
    by_model: dict[str, dict[str, int]] = {}
    for each in states:
        row = by_model.setdefault(each.model, {})
        row[each.state] = row.get(each.state, 0) + each.devices
    rows = [_row(model, counts, columns) for model, counts in sorted(by_model.items())]
    if len(rows) < 2:
        return columns, rows, None
    total: dict[str, int] = {}
    for counts in by_model.values():
        for state, count in counts.items():
            total[state] = total.get(state, 0) + count
    return columns, rows, _row("", total, columns)


def _row(model: str, counts: Mapping[str, int], columns: Sequence[str]) -> ModelRow:
    where = {"model": model} if model else {}
    cells = [
        Cell(state, counts.get(state, 0), f"/devices?{urlencode(where | {'state': state})}")
        for state in columns
    ]
    href = f"/devices?{urlencode(where)}" if where else "/devices"
    return ModelRow(model, Cell("", sum(counts.values()), href), tuple(cells))


def _versions(
    counts: Sequence[CountedVersion], live: Mapping[str, RolloutView]
) -> Iterator[VersionsRow]:
    for model, found in groupby(counts, key=lambda each: each.model):
        its = list(found)
        rollout = live.get(model)
        named, older = its[:VERSIONS_MAX], its[VERSIONS_MAX:]
        grey = iter(("f-1", "f-2", "f-3", "f-3", "f-3"))
        kinds = [
            "f-new" if rollout is not None and each.version == rollout.version else next(grey)
            for each in named
        ]
        cells = [_version_cell(model, each.version, each.devices) for each in named]
        if older:
            kinds.append("f-3")
            cells.append(Cell("older", sum(each.devices for each in older), ""))
        bar = [
            BarPart(cell.state, cell.count, kind)
            for cell, kind in zip(reversed(cells), reversed(kinds), strict=True)
        ]
        total = sum(each.devices for each in its)
        yield VersionsRow(model, total, tuple(bar), tuple(cells), tuple(kinds))


def _version_cell(model: str, version: str, count: int) -> Cell:
    if not version:
        return Cell("nothing", count, "")
    where = urlencode({"model": model, "version": version})
    return Cell(version, count, f"/devices?{where}")


# --- rollouts -------------------------------------------------------------------------------------


def rollout_row(view: RolloutView) -> RolloutRow:
    """Give a rollout in a line.

    Args:
        view: where it stands.
    """
    begun = [group for group in view.groups if group.state != "WAITING"]
    parts = [f"{g.name} {of_words(g.committed, g.reachable)}" for g in begun[-2:]]
    done = sum(group.committed for group in view.groups)
    failed = sum(group.failed for group in view.groups)
    at_it = sum(group.under_way for group in view.groups)
    left = max(0, sum(group.members for group in view.groups) - done - failed - at_it)
    limits = limit_rows(view.limits, view.figures, last_opened(view))
    return RolloutRow(
        name=view.name,
        href=f"/rollouts/{quote(view.name, safe='')}",
        release=f"{view.model} {view.version}",
        state=view.state,
        progress=", ".join(parts) or "no group was let in yet",
        bar=(
            BarPart("COMMITTED", done, "f-new"),
            BarPart("under way", at_it, "#h-trial"),
            BarPart("failed", failed, "f-bad"),
            BarPart("waiting", left, "f-wait"),
        ),
        now=answer_of(view, limits).sentence,
        started_by=view.started_by,
    )
