"""The screen of one rollout: why it stands where it stands, and what can be done. Pure.

It opens with one sentence: the state, and what is wrong, in figures. Everything below is what the
sentence rests on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from slotcast_publisher.fleet.rollout.limit_words import in_unit, limit_kind
from slotcast_publisher.fleet.rollout.plan import Plan, PlanGroup
from slotcast_publisher.fleet.rollout.state_table import OVER
from slotcast_publisher.fleet.steering.overview_types import NOT_LET_IN, GroupView, RolloutView
from slotcast_publisher.fleet.web.plots.bars import BarPart
from slotcast_publisher.fleet.web.screens.limits_view import (
    LimitRow,
    limit_rows,
)
from slotcast_publisher.fleet.web.static_files import static_address
from slotcast_publisher.fleet.web.words import (
    count_words,
    of_words,
    share_words,
    size_words,
    span_words,
)
from slotcast_schemas.plural import part_of, several, word_for

ICON: Final = static_address("icon.svg")
ICON_PAUSED: Final = static_address("icon-paused.svg")
ICON_WRONG: Final = static_address("icon-wrong.svg")

KINDS: Final[Mapping[str, str]] = {
    "COMMITTED": "f-new",
    "TRIAL": "#h-trial",
    "DOWNLOADING": "f-soft",
    "DOWNLOADED": "f-soft",
    "VERIFIED": "f-soft",
    "ACTIVATING": "f-soft",
    "ROLLED_BACK": "#h-back",
    "FAILED": "f-bad",
    "REJECTED": "f-bad",
    "QUEUED": "f-wait",
    "IDLE": "f-wait",
    "CANCELED": "f-wait",
    NOT_LET_IN: "f-wait",
}
"""The look of each state in a bar."""
ORDER: Final = tuple(KINDS)
"""The order of states in a bar, and in lists."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The sentence that a screen opens with.

    Attributes:
        state: its word; its shape stands before the sentence.
        sentence: what is the matter, in figures.
        tone: `warn` where a person is waited for, `bad` where something is broken, else empty.
        notes: what else there is to know, a sentence each.
    """

    state: str
    sentence: str
    tone: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """So many devices that say one thing.

    Attributes:
        state: what they say.
        devices: how many.
        href: where they are listed.
    """

    state: str
    devices: int
    href: str


@dataclass(frozen=True, slots=True)
class GroupCard:
    """A group, from left to right with the others.

    Attributes:
        done: how many of the reachable devices have committed, as two numbers.
        share: the same in percent; empty where none is let in.
        passes_at: from which share on it passes, in percent.
        bar: the devices by what they say.
        counts: likewise, with links.
        who: which devices belong to it.
        delivered: what it cost, and what it would have.
        gate: who opens the way behind it, in words; empty behind the last.
        progress: how far it is let in, and watched; empty where there is nothing to say.
    """

    name: str
    state: str
    is_now: bool
    done: str
    share: str
    passes_at: str
    bar: tuple[BarPart, ...]
    counts: tuple[Count, ...]
    who: str
    delivered: str
    gate: str
    progress: str


@dataclass(frozen=True, slots=True)
class RolloutScreen:
    """What the screen shows, but for the log and the distributions.

    Attributes:
        group: that the limits are of: the last one that was let in; empty for none.
        unread: limits of the plan that cannot be judged yet, in words.
    """

    title: str
    icon: str
    answer: Answer
    cards: tuple[GroupCard, ...]
    group: str
    limits: tuple[LimitRow, ...]
    unread: tuple[str, ...]


def rollout_screen(view: RolloutView, plan: Plan) -> RolloutScreen:
    """Make the screen of a rollout.

    Args:
        view: where it stands.
        plan: of it.
    """
    group = last_opened(view)
    limits = tuple(limit_rows(view.limits, view.figures, group))
    answer = answer_of(view, limits)
    icon = {"warn": ICON_PAUSED, "bad": ICON_WRONG}.get(answer.tone, ICON)
    return RolloutScreen(
        title=f"{view.state} {view.model} {view.version}",
        icon=icon,
        answer=answer,
        cards=tuple(_cards(view, plan)),
        group=group,
        limits=limits,
        unread=tuple(_unread(view, plan)) if group else (),
    )


def last_opened(view: RolloutView) -> str:
    """Name the last group that was let in; empty for none."""
    opened = [group.name for group in view.groups if group.state != "WAITING"]
    return opened[-1] if opened else ""


# --- the sentence ---------------------------------------------------------------------------------


def answer_of(view: RolloutView, limits: Sequence[LimitRow]) -> Answer:
    """Say in a sentence where a rollout stands.

    Args:
        view: where it stands.
        limits: as they are shown.
    """
    notes = tuple(_notes(view))
    if view.pause is not None:
        return Answer("PAUSED", _paused(view, limits), "warn", notes)
    gate = next((group for group in view.groups if group.waits_for), None)
    if gate is not None:
        who = "a person" if "person" in gate.waits_for else f"its {' and '.join(gate.waits_for)}"
        sentence = f"{gate.name} waits for {who}: {_done(gate)}, {_held(limits)}."
        return Answer("AT_GATE", sentence, "warn", notes)
    return Answer(view.state, _going(view, limits), "", notes)


def _paused(view: RolloutView, limits: Sequence[LimitRow]) -> str:
    pause = view.pause
    assert pause is not None  # noqa: S101 - who calls has looked
    broken = [row for row in limits if row.is_broken]
    if pause.by == "limit" and broken:
        return f"by itself: {broken_words(broken[0])}."
    if pause.by == "limit":
        return f"by itself: {pause.why}."
    if pause.by == "person":
        return f"by {pause.who or 'a person'}{f': {pause.why}' if pause.why else '.'}"
    if pause.by == "gate":
        return f"by a gate: {pause.why}"
    return f"in the signed offer, and not by us{f': {pause.why}' if pause.why else '.'}"


def broken_words(row: LimitRow) -> str:
    """Say in figures how a limit is broken."""
    where = f" in {row.group}" if row.group else ""
    if row.key == "max_failed_share":
        return f"{row.on}{where} did not take it, {row.words}"
    if row.key == "stop_after_failures":
        return row.words
    if row.over_all:
        was = f"; it went from {row.old} to {row.new}" if row.old and row.new else ""
        return f"{row.name}{where}: {row.words}{was}, {row.over_all}"
    devices = row.on.partition(";")[0]
    if row.old and row.new:
        return f"{row.name} went from {row.old} to {row.new}{where} on the {devices}, {row.words}"
    return f"{row.name}{where}: {row.words}, {row.on}"


def _going(view: RolloutView, limits: Sequence[LimitRow]) -> str:
    committed = sum(group.committed for group in view.groups)
    match view.state:
        case "FINISHED":
            done = part_of(committed, view.devices, "device")
            run = word_for(view.devices, "runs", "run")
            return f"every group has passed; {done} {run} {view.version}."
        case "STOPPED":
            back = f" The way back to {view.go_back_to} is offered." if view.going_back else ""
            return f"for good{f': {view.why}' if view.why else ''}.{back}".replace("..", ".")
        case "RUNNING":
            group = next((g for g in view.groups if g.state not in {"WAITING", "PASSED"}), None)
            if group is None:
                return f"{_held(limits)}."
            return f"{group.name}: {_done(group)}, {_held(limits)}."
        case "PREPARING":
            run = word_for(view.devices, "runs", "run")
            return f"deltas are made for what {several(view.devices, 'device')} {run}."
        case "READY":
            return "the first group may begin as soon as its window is open."
        case _:
            return "a plan that nobody has started."


def _held(limits: Sequence[LimitRow]) -> str:
    """Say in short how the limits stand."""
    unsure = sum(row.verdict == "not sure yet" for row in limits)
    broken = sum(row.is_broken for row in limits)
    if broken:
        return f"{broken} of {len(limits)} limits are broken"
    if not limits:
        return "no limit can be judged yet"
    return "every limit holds" if not unsure else f"no limit is broken, {unsure} not sure yet"


def _notes(view: RolloutView) -> Iterator[str]:
    waiting = [group.name for group in view.groups if group.state == "WAITING"]
    if view.pause is not None and waiting and view.groups[0].state != "WAITING":
        yield f"No device of {_list(waiting)} was let in."
    # Of a pause, the sentence has said it.
    yield from (f"It waits for {text}." for text in view.waits_for if view.pause is None)
    if not view.driven and view.state not in OVER:
        since = "ever" if view.looked_s is None else f"for {span_words(view.looked_s)}"
        yield f"Nobody has looked at it {since}: does `slotcast serve` run?"
    if view.requests:
        yield f"{view.requests} requests of persons wait to be carried out."
    if view.saved_bytes:
        yield f"Deltas, and files that were there, have saved {size_words(view.saved_bytes)}."


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# --- groups ---------------------------------------------------------------------------------------


def _cards(view: RolloutView, plan: Plan) -> Iterator[GroupCard]:
    now = last_opened(view)
    planned = {group.name: group for group in plan.groups}
    for number, group in enumerate(view.groups):
        is_last = number == len(view.groups) - 1
        its_plan = planned.get(group.name)
        reachable = group.reachable
        yield GroupCard(
            name=group.name,
            state=group.state,
            is_now=group.name == now and view.state not in {"FINISHED", "STOPPED"},
            done=of_words(group.committed, reachable or group.states.get(NOT_LET_IN, 0)),
            share=share_words(group.committed / reachable) if reachable else "",
            passes_at=share_words(group.success_share),
            bar=tuple(_bar(group)),
            counts=tuple(_counts(view, group)),
            who=_who(group, its_plan),
            delivered=_delivered(view, group),
            gate="" if is_last or its_plan is None else _gate(its_plan, group),
            progress=_progress(group),
        )


def _bar(group: GroupView) -> Iterator[BarPart]:
    for state in (*ORDER, *sorted(group.states.keys() - set(ORDER))):
        if group.states.get(state):
            yield BarPart(state, group.states[state], KINDS.get(state, "f-wait"))
    if group.unseen:
        yield BarPart("not seen", group.unseen, "f-none")


def _counts(view: RolloutView, group: GroupView) -> Iterator[Count]:
    for part in _bar(group):
        yield Count(part.name, part.count, _href(view, group, part.name))


def _href(view: RolloutView, group: GroupView, state: str) -> str:
    """Give where the devices are listed that a count is of."""
    where = {"model": view.model, "rollout": view.name, "group": group.name}
    if state == "not seen":
        where["presence"] = "offline"
    elif state != NOT_LET_IN:
        where["state"] = state
    return f"/devices?{urlencode(where)}"


def _done(group: GroupView) -> str:
    reachable = group.reachable
    has = word_for(reachable, "has", "have")
    return f"{part_of(group.committed, reachable, 'reachable device')} {has} committed"


def _who(group: GroupView, planned: PlanGroup | None) -> str:
    devices = several(group.members, "device")
    if planned is None:
        return devices
    parts = [f"{key}={value}" for key, value in sorted(planned.tags.items())]
    if planned.ids is not None:
        parts.append(f"{len(planned.ids)} by their ids")
    if planned.percent is not None and planned.percent < 100:
        parts.append(f"{planned.percent:g} % by hash")
    return f"{devices}, {' and '.join(parts) or 'all others'}"


def _delivered(view: RolloutView, group: GroupView) -> str:
    """Say what a group's devices fetched, by what they themselves say they were spared."""
    if not group.taken or not view.whole_bytes:
        return ""
    whole = group.taken * view.whole_bytes
    fetched = max(0, whole - group.saved_bytes)
    words = f"{count_words(group.taken)} have it, for {size_words(fetched)}"
    return f"{words}; whole images would be {size_words(whole)}."


def _gate(planned: PlanGroup, group: GroupView) -> str:
    kinds = {"person": "a person", "command": "a command", "url": "an address that is asked"}
    who = " and ".join(kinds[kind] for kind in planned.gate.kinds)
    after = f"after {span_words(group.soak_s)} of SOAKING" if group.soak_s else ""
    if not who:
        return f"passes {after}" if after else "passes by itself"
    return f"opened by {who}{f', {after}' if after else ''}"


def _progress(group: GroupView) -> str:
    parts = []
    if 0 < group.percent < 100:
        steps = f", step {group.step} of {group.steps}" if group.steps > 1 else ""
        parts.append(f"{group.percent:.3g} % let in{steps}")
    if group.state == "SOAKING":
        parts.append(f"watched for {span_words(group.soaked_s)} of {span_words(group.soak_s)}")
    return "; ".join(parts)


def _unread(view: RolloutView, plan: Plan) -> Iterator[str]:
    """Name the limits of the plan that nothing can be said of yet."""
    read = {limit.limit for limit in view.limits}
    for key in plan.limits.__struct_fields__:
        value = getattr(plan.limits, key)
        is_limit = key.startswith("max_") and key not in {
            "max_share_of_devices",
            "max_share_by_reason",
        }
        if is_limit and value is not None and key not in read:
            kind = limit_kind(key)
            yield f"{kind.name} (limit {in_unit(kind.unit, value)})"
