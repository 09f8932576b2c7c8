"""The screen of one release: what it is, and whether it is better than the last. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.figures.comparison import Figure, on_device, value_on_all
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.web.plots.ranges import Range, range_bar
from slotcast_publisher.fleet.web.screens.release_data import (
    PREDECESSORS,
    ReleaseScreenData,
)
from slotcast_publisher.fleet.web.screens.release_payloads import (
    PayloadRow,
    PlaceRow,
    devices_href,
    payload_rows,
    place_row,
)
from slotcast_publisher.fleet.web.screens.release_statements import (
    FileRow,
    RoleRow,
    SupportRow,
    file_rows,
    held_to,
    rebased_facts,
    role_row,
    running_on,
    support_rows,
)
from slotcast_publisher.fleet.web.screens.rollout_view import (
    ICON,
    ICON_PAUSED,
    ICON_WRONG,
    Answer,
)
from slotcast_publisher.fleet.web.screens.slots_view import release_href
from slotcast_publisher.fleet.web.words import (
    NONE,
    Clock,
    count_words,
    ratio_words,
    seconds_words,
    share_words,
    size_words,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.plural import part_of, several, word_for

_NOTABLE_RATIO: Final = 1.2
"""From which ratio on a figure is called worse; from its inverse on, better."""


@dataclass(frozen=True, slots=True)
class BehaviourRow:
    """A release beside others.

    Attributes:
        range: p50 to p95 as a line; empty where nothing was timed.
        bad: devices that say now that they did not take it, of those that had a say.
    """

    version: str
    href: str
    is_this: bool
    ever: str
    ever_href: str
    p50: str
    p95: str
    range: Markup
    errors: str
    memory: str
    load: str
    bad: str


@dataclass(frozen=True, slots=True)
class ReleaseScreen:
    """What the screen shows.

    Attributes:
        note: what the figures beside the predecessors are of.
        payloads_note: why a table is empty, or what it does not say.
        total_devices: that have a payload still to come.
        total_saves: by it, against whole images.
        changes: what the release says that it changes.
        rebased: names and texts; empty where it is the model that was given.
        held_to: names and texts: what each device checks.
        verified: how a device judges the notice; empty where it is not offered.
    """

    title: str
    icon: str
    answer: Answer
    behaviour: tuple[BehaviourRow, ...]
    note: str
    payloads: tuple[PayloadRow, ...]
    total_devices: str
    total_saves: str
    groups: tuple[PlaceRow, ...]
    tags: tuple[PlaceRow, ...]
    changes: tuple[str, ...]
    support: tuple[SupportRow, ...]
    rebased: tuple[tuple[str, str], ...]
    files: tuple[FileRow, ...]
    roles: tuple[RoleRow, ...]
    verified: str
    held_to: tuple[tuple[str, str], ...]
    commands: tuple[tuple[str, str], ...]
    note_command: str


def release_screen(facts: ReleaseScreenData, clock: Clock, repo: str) -> ReleaseScreen:
    """Say all of a release.

    Args:
        facts: what is known of it.
        clock: the time, and the viewer's zone.
        repo: the repository's folder, as commands name it.
    """
    release = facts.release
    answer = _answer(facts, clock)
    rows, total, saved = payload_rows(facts)
    return ReleaseScreen(
        title=f"{release.model} {release.version}",
        icon={"bad": ICON_WRONG, "warn": ICON_PAUSED}.get(answer.tone, ICON),
        answer=answer,
        behaviour=tuple(_behaviour(facts)),
        note=_note(facts),
        payloads=rows,
        total_devices=count_words(total),
        total_saves=f"{size_words(saved)} of {size_words(total * release.image_size_bytes)}",
        groups=tuple(place_row(facts, each, "group", each.name) for each in facts.groups),
        tags=tuple(
            place_row(facts, each, "tag", f"{facts.key}={each.name}") for each in facts.tags
        ),
        changes=tuple(word.replace("_", " ") for word in release.changes),
        support=tuple(support_rows(facts, clock)),
        rebased=tuple(rebased_facts(facts)),
        files=tuple(file_rows(facts)),
        roles=tuple(role_row(role) for role in facts.roles),
        verified=facts.verdict,
        held_to=tuple(held_to(release)),
        commands=tuple(_commands(facts, repo)),
        note_command=_note_command(release, repo),
    )


# --- the sentence ---------------------------------------------------------------------------------


def _answer(facts: ReleaseScreenData, clock: Clock) -> Answer:
    release, running = facts.release, running_on(facts, facts.release.sequence)
    everyone = sum(each.devices for each in facts.versions)
    runs = f"{part_of(running, everyone, 'device')} {word_for(everyone, 'runs', 'run')} it."
    if not everyone:
        runs = "No device has this model yet."
    notes = tuple(_notes(facts, clock))
    if facts.verdict not in {"", "verified"}:
        words = facts.verdict.replace("_", " ")
        return Answer("broken", f"A device would refuse its notice: {words}. {runs}", "bad", notes)
    state = _state(facts)
    worse, is_faster = _comparison(facts)
    if state == "PAUSED":
        return Answer("PAUSED", f"Do not widen it yet{worse}. {runs}", "warn", notes)
    if worse and not is_faster:
        return Answer(state, f"Slower than before{worse}. {runs}", "warn", notes)
    if not facts.is_offered and release.sequence < _offered_sequence(facts):
        return Answer(state, f"An older release. {runs}", "", notes)
    if not facts.is_offered:
        return Answer(state, f"Not offered to any device. {runs}", "", notes)
    return Answer(state, f"Nothing needs a person{worse}. {runs}", "", notes)


def _state(facts: ReleaseScreenData) -> str:
    if facts.rollouts:
        return facts.rollouts[0].state
    if facts.is_offered and facts.offer is not None:
        return {"active": "RUNNING", "paused": "PAUSED", "canceled": "CANCELED"}.get(
            facts.offer.state, "RUNNING"
        )
    return "DRAFT" if not running_on(facts, facts.release.sequence) else "STOPPED"


def _offered_sequence(facts: ReleaseScreenData) -> int:
    return next(
        (r.sequence for r in facts.releases if facts.offer and r.version == facts.offer.version), 0
    )


def _comparison(facts: ReleaseScreenData) -> tuple[str, bool]:
    """Say how fast it is beside the release before, on the same devices, and whether it is faster.

    Nothing is said where the two are about alike.
    """
    before = facts.before
    for name, figure in (("p95", Figure.LATENCY_P95_RATIO), ("p50", Figure.LATENCY_P50_RATIO)):
        counted = [pair for pair in facts.pairs if on_device(figure, pair) is not None]
        ratio = value_on_all(figure, counted)
        if before is None or ratio is None or not math.isfinite(ratio):
            continue  # p95 needs many calls of each device
        if 1 / _NOTABLE_RATIO < ratio < _NOTABLE_RATIO:
            break
        words = (
            f": {name} is {ratio_words(ratio)} that of {before.version} on the same"
            f" {several(len(counted), 'device')}"
        )
        return words, ratio < 1
    return "", False


def _notes(facts: ReleaseScreenData, clock: Clock) -> Iterator[str]:
    bad = facts.bad.get(facts.release.sequence, 0)
    if bad:
        yield f"{several(bad, 'device')} did not take it."
    for row in support_rows(facts, clock):
        if row.is_soon and row.devices:
            yield (
                f"Support of {row.version} {row.words}; it runs on"
                f" {several(row.devices, 'device')}."
            )


# --- beside its predecessors ----------------------------------------------------------------------


def _behaviour(facts: ReleaseScreenData) -> Iterator[BehaviourRow]:
    shown = [r for r in facts.releases if r.sequence <= facts.release.sequence]
    shown = shown[: PREDECESSORS + 1]
    p95s = [_quantile_s(facts.sums.get(r.sequence), 0.95) for r in shown]
    p50s = [_quantile_s(facts.sums.get(r.sequence), 0.5) for r in shown]
    known = [value for value in (*p50s, *p95s) if value]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    for release, p50_s, p95_s in zip(shown, p50s, p95s, strict=True):
        yield _behaviour_row(facts, release, p50_s, p95_s, Range(low, high))


def _behaviour_row(
    facts: ReleaseScreenData,
    release: Release,
    p50_s: float | None,
    p95_s: float | None,
    axis: Range,
) -> BehaviourRow:
    figures = facts.sums.get(release.sequence)
    is_this = release.sequence == facts.release.sequence
    ever, bad = facts.ever.get(release.sequence, 0), facts.bad.get(release.sequence, 0)
    had_a_say = bad + running_on(facts, release.sequence)
    drawn = Markup()
    if p50_s and p95_s:
        label = f"p50 {seconds_words(p50_s)}, p95 {seconds_words(p95_s)}"
        drawn = range_bar(axis, p50_s, p95_s, "new" if is_this else "old", label)
    return BehaviourRow(
        version=release.version,
        href=release_href(release.model, release.version),
        is_this=is_this,
        ever=count_words(ever),
        ever_href=devices_href(model=release.model, version=release.version),
        p50=NONE if not p50_s else seconds_words(p50_s),
        p95=NONE if not p95_s else seconds_words(p95_s),
        range=drawn,
        errors=NONE
        if figures is None or not figures.requests
        else share_words(figures.error_share.value),
        memory=NONE
        if figures is None or not figures.memory_bytes
        else size_words(figures.memory_bytes),
        load=NONE if figures is None or not figures.load_s else seconds_words(figures.load_s),
        bad=f"{count_words(bad)} of {count_words(had_a_say)}" if had_a_say else NONE,
    )


def _quantile_s(figures: ReleaseFigures | None, share: float) -> float | None:
    found = None if figures is None else figures.latency.quantile(share)
    return None if found is None else found.value_s


def _note(facts: ReleaseScreenData) -> str:
    before = facts.before
    if not facts.sums:
        return "No device has reported a call yet; the application does so by HotModel."
    if before is None:
        return "It is the first release of its model."
    if not facts.pairs:
        return (
            f"No device has figures of both {facts.release.version} and {before.version} yet; each"
            " row is of all devices that ran it."
        )
    have = word_for(len(facts.pairs), "has", "have")
    return (
        f"Each row is of all devices that ever ran it. {facts.release.version} and"
        f" {before.version} are held against each other on the"
        f" {several(len(facts.pairs), 'device')} that {have} figures of both."
    )


# --- what can be done -----------------------------------------------------------------------------


def _commands(facts: ReleaseScreenData, repo: str) -> Iterator[tuple[str, str]]:
    release = facts.release
    words = [repo, release.model, release.version]
    if not facts.is_offered and not facts.rollouts:
        plan = f"{release.model}-{release.version}.toml"
        yield (
            shlex.join(["slotcast", "rollout", "plan", *words, "--out", plan]),
            "Writes a plan, to be edited and started.",
        )
        if release.sequence < _offered_sequence(facts):
            yield (
                shlex.join(
                    ["slotcast", "release", *words[:2], "VERSION", "--same-as", release.version]
                ),
                "Releases the same files under a new sequence, to go back to them.",
            )
    if facts.is_offered:
        yield (
            shlex.join(["slotcast", "inspect", repo, release.model]),
            "Explains the notice that devices get, and verifies it as they do.",
        )


def _note_command(release: Release, repo: str) -> str:
    about = ["--model", release.model, "--version", release.version]
    return shlex.join(["slotcast", "note", repo, *about, "TEXT"])
