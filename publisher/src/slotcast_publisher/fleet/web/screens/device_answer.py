"""The sentence that the screen of a device opens with, and what one must know first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from slotcast_publisher.fleet.database.listing import KnownDevice
from slotcast_publisher.fleet.database.signed_words import refused_words
from slotcast_publisher.fleet.web.screens.device_data import DeviceScreenData
from slotcast_publisher.fleet.web.screens.failures_view import figure_words
from slotcast_publisher.fleet.web.screens.rollout_view import Answer
from slotcast_publisher.fleet.web.screens.trail_view import actor_of, meaning_of
from slotcast_publisher.fleet.web.words import Clock, count_words, span_words
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.plural import several, word_for

_BAD: Final = frozenset({"ROLLED_BACK", "FAILED", "REJECTED"})
_MOVING: Final = frozenset({"DOWNLOADING", "DOWNLOADED", "VERIFIED", "ACTIVATING"})


def answer_of(facts: DeviceScreenData, clock: Clock) -> Answer:
    """Say what a device serves, and what is wrong.

    Args:
        facts: what is known of it.
        clock: the time.
    """
    device = facts.device
    if device.row["twins_seen_s"]:
        return Answer("broken", "Two devices use this id.", "bad", _twins_notes(facts))
    if facts.model is None:
        word = "online" if device.row["online"] else "offline"
        return Answer(word, "It says nothing of any model yet.", "", tuple(_away(device, clock)))
    status = facts.model.status
    runs = _runs(status)
    notes = (*_away(device, clock), *_next_notes(status))
    if status.state in _BAD:
        return Answer(status.state, f"{_why_not(status)} {runs}", "note", notes)
    if status.state == "TRIAL" and status.active is not None:
        wanted = f"{status.model} {status.active.version}"
        old = "" if status.standby is None else f"; {status.standby.version} is whole beside it"
        return Answer("TRIAL", f"{wanted} serves and is being watched{old}.", "", notes)
    if status.state in _MOVING and status.target is not None:
        return Answer(
            status.state, f"{status.model} {status.target.version} is on its way. {runs}", "", notes
        )
    if status.state == "QUEUED" and status.target is not None:
        waits = f"{status.model} {status.target.version} waits: {plain(status.reason)}."
        return Answer("QUEUED", f"{waits} {runs}", "", notes)
    if status.active is None:
        return Answer(status.state, f"It serves nothing of {status.model}.", "warn", notes)
    return Answer(status.state, f"Nothing needs a person. {runs}", "", notes)


def _why_not(status: ModelStatus) -> str:
    """Say what was wrong with the release, by the check that failed where there is one."""
    benched = status.benched[-1] if status.benched else None
    version = "" if status.target is None else status.target.version
    if not version and benched is not None:
        version = benched.version
    head = f"{status.model} {version}".strip()
    failed = None
    if status.evidence is not None:
        failed = next((check for check in status.evidence.checks if not check.passed), None)
    if failed is None or failed.value is None:
        return f"{head} was not taken: {plain(status.reason)}."
    value = figure_words(failed.name, failed.value)
    limit = figure_words(failed.name, failed.limit)
    allowed = f" where {limit} is allowed" if limit else ""
    when = " on trial" if status.state == "ROLLED_BACK" else " at the probe"
    return f"{head} failed{when}: {failed.name} {value}{allowed}."


def _runs(status: ModelStatus) -> str:
    if status.active is None:
        return f"It serves nothing of {status.model}."
    again = " again" if status.state == "ROLLED_BACK" else ""
    return f"It serves {status.model} {status.active.version}{again}."


def plain(reason: str) -> str:
    """Give a word that programs compare as people read it."""
    return reason.replace("_", " ")


def _next_notes(status: ModelStatus) -> Iterator[str]:
    """Say what a person has to do, or that nobody has."""
    meaning = meaning_of(status.reason)
    if meaning and status.state not in {"COMMITTED", "IDLE"}:
        yield meaning
    if status.detail:
        yield f"It says: {status.detail.rstrip('.')}."
    actor = actor_of(status.reason)
    if status.state == "ROLLED_BACK":
        yield "It is benched here, and is not tried again by itself."
    if actor:
        yield f"{actor[0].upper()}{actor[1:]} must act."


def _away(device: KnownDevice, clock: Clock) -> Iterator[str]:
    row = device.row
    if row["online"]:
        return
    if not row["seen_s"]:
        yield "It was never heard."
        return
    yield (
        f"It is offline, and was heard {span_words(clock.now_s - row['seen_s'])} ago;"
        " what it runs is from its last status."
    )


def _twins_notes(facts: DeviceScreenData) -> tuple[str, ...]:
    why = facts.device.row["twins_why"]
    return (
        f"It was noticed because {why}." if why else "They were noticed by their messages.",
        "What the status with the highest counter says is believed.",
        "Provision one of them anew, under another id.",
    )


def warnings_of(device: KnownDevice) -> Iterator[str]:
    """Say what of a device does not fit together."""
    row = device.row
    off_s = device.clock_off_s
    if off_s is not None:
        side = "ahead of" if off_s > 0 else "behind"
        yield f"Its clock is {span_words(abs(off_s))} {side} ours."
    elif device.clock_complaint:
        yield f"It says itself that its clock is {plain(device.clock_complaint)}."
    if row["refused_s"]:
        were = word_for(row["refused_count"], "was", "were")
        yield (
            f"{several(row['refused_count'], 'report')} in its name {were} refused, the last one"
            f" because it was {refused_words(row['refused_why'])}."
        )
    if row["started_anew_s"]:
        yield "It counts its messages anew: it lost its state, or was set up again."
    if row["metrics_lost"]:
        summaries = word_for(row["metrics_lost"], "summary", "summaries")
        yield f"It had to drop {count_words(row['metrics_lost'])} {summaries} of figures."
