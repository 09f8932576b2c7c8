"""The slots of a model on a device: which serves, which stands by, how each came. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from slotcast_publisher.fleet.database.listing import HistoryEntry
from slotcast_publisher.fleet.web.words import count_words, size_words, span_words
from slotcast_schemas.messages.status import ModelStatus, SlotStatus

FILES_MAX: Final = 16
"""The most files that are shown of a slot."""


@dataclass(frozen=True, slots=True)
class SlotFile:
    """A file in a slot."""

    path: str
    size: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that holds a release.

    Attributes:
        name: `a` or `b`.
        version: of its release.
        href: of the release's screen.
        word: `active`, `on trial`, `benched` or `standby`, for its shape.
        text: what stands beside the shape.
        reason: why it is benched; empty where it is not.
        facts: names and texts.
        files: of the release.
        left: how many more files there are.
    """

    name: str
    version: str
    href: str
    word: str
    text: str
    reason: str
    is_active: bool
    facts: tuple[tuple[str, str], ...]
    files: tuple[SlotFile, ...]
    left: int


def slots_of(status: ModelStatus, changes: Sequence[HistoryEntry]) -> Iterator[Slot]:
    """Give the slots that hold a release, the one that serves first.

    Args:
        status: what the device says of the model.
        changes: the model's history on it.
    """
    for slot, is_active in ((status.active, True), (status.standby, False)):
        if slot is not None:
            yield _slot(slot, status, changes, is_active=is_active)


def _slot(
    slot: SlotStatus, status: ModelStatus, changes: Sequence[HistoryEntry], *, is_active: bool
) -> Slot:
    benched = next((each for each in status.benched if each.sequence == slot.sequence), None)
    if is_active:
        word = "TRIAL" if status.state == "TRIAL" else "COMMITTED"
        text = "on trial" if word == "TRIAL" else "active"
    else:
        word = "IDLE" if benched is None else "ROLLED_BACK"
        text = "standby, whole" if benched is None else "standby, benched"
    sequence = f"{count_words(slot.sequence)}, floor {count_words(status.floor)}"
    facts = [("Sequence", sequence if is_active else count_words(slot.sequence))]
    if benched is not None:
        facts.append(("Attempt", count_words(benched.attempt)))
    facts += _came(slot, changes)
    return Slot(
        name=slot.slot,
        version=slot.version,
        href=release_href(status.model, slot.version),
        word=word,
        text=text,
        reason="" if benched is None else benched.reason,
        is_active=is_active,
        facts=tuple(facts),
        files=tuple(
            SlotFile(file.path, size_words(file.size_bytes), file.sha256.hex())
            for file in slot.files[:FILES_MAX]
        ),
        left=max(0, len(slot.files) - FILES_MAX),
    )


def _came(slot: SlotStatus, changes: Sequence[HistoryEntry]) -> Iterator[tuple[str, str]]:
    """Say how long a release was on trial, and how that ended."""
    by_time = sorted(changes, key=lambda change: change.at_s)
    began = next(
        (c for c in reversed(by_time) if c.state == "TRIAL" and c.sequence == slot.sequence), None
    )
    if began is None:
        return
    first = next(c for c in by_time if c.state == "TRIAL" and c.sequence == slot.sequence)
    ended = next((c for c in by_time if c.at_s >= began.at_s and c.state != "TRIAL"), None)
    if ended is None:
        return
    spent = span_words(ended.at_s - first.at_s)
    name = "Committed" if ended.state in {"COMMITTED", "IDLE"} else "Left"
    yield name, f"{ended.reason.replace('_', ' ')}, after a trial of {spent}"


def release_href(model: str, version: str) -> str:
    """Give where a release is shown.

    Args:
        model: its model.
        version: its version.
    """
    return f"/releases/{quote(model, safe='')}/{quote(version, safe='')}"
