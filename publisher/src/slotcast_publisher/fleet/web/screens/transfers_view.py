"""What came over the link to a device, release by release, and what that spared. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from slotcast_publisher.fleet.database.listing import HistoryEntry, KnownModel
from slotcast_publisher.fleet.web.plots.bars import BarPart, bar
from slotcast_publisher.fleet.web.screens.slots_view import release_href
from slotcast_publisher.fleet.web.words import NONE, share_words, size_words
from slotcast_schemas.messages.status import Progress

_BAR_PARTS: Final = 1000
"""The parts that a bar is drawn of."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """A payload that came, or comes.

    Attributes:
        at_s: when it was last spoken of, in seconds since 1970.
        version: that it was fetched for.
        sequence: likewise.
        progress: how far it came, and what it cost.
    """

    at_s: int
    version: str
    sequence: int
    progress: Progress


@dataclass(frozen=True, slots=True)
class TransferRow:
    """A transfer as a row.

    Attributes:
        payload: how it travelled.
        received: all that came, doubled and damaged pieces too.
        twice: what of it was not new; empty for nothing.
        there: what of the payload is there and right, where that is not all; empty where it is.
        bar: the payload as a part of the whole image.
        saved: against the whole image.
        rate: while it came; the last that was reported.
    """

    at_s: int
    version: str
    href: str
    payload: str
    received: str
    twice: str
    there: str
    bar: Markup
    saved: str
    rate: str


@dataclass(frozen=True, slots=True)
class TransfersView:
    """All transfers of a model to a device that are known.

    Attributes:
        rows: the newest first.
        received: of all rows together.
        saved: likewise.
        summary: the same in a sentence; empty without rows.
    """

    rows: tuple[TransferRow, ...]
    received: str = ""
    saved: str = ""
    summary: str = ""


def transfers_of(
    model: KnownModel | None, changes: Sequence[HistoryEntry], now_s: float
) -> list[Transfer]:
    """Give what came for each release, the newest first; each payload once, as far as it came.

    Args:
        model: as its device says now; None where it says nothing.
        changes: its history, the newest first.
        now_s: seconds since 1970.
    """
    found: dict[tuple[int, bytes], Transfer] = {}
    for each in _spoken_of(model, changes, now_s):
        key = each.sequence, bytes(each.progress.payload)
        known = found.get(key)
        if known is None:
            found[key] = each
        elif each.progress.received_bytes > known.progress.received_bytes:
            found[key] = Transfer(known.at_s, each.version, each.sequence, each.progress)
    return list(found.values())


def _spoken_of(
    model: KnownModel | None, changes: Sequence[HistoryEntry], now_s: float
) -> Iterator[Transfer]:
    """Give each word of a transfer, the newest first."""
    status = None if model is None else model.status
    if status is not None and status.progress is not None and status.target is not None:
        at_s = int(now_s) if model is None else model.changed_s
        yield Transfer(at_s, status.target.version, status.target.sequence, status.progress)
    for change in changes:
        if change.progress is not None and change.target_sequence:
            yield Transfer(
                change.at_s, change.target_version, change.target_sequence, change.progress
            )


def transfers_view(model: str, transfers: Sequence[Transfer]) -> TransfersView:
    """Give transfers as rows, with their sum.

    Args:
        model: their model.
        transfers: the newest first.
    """
    if not transfers:
        return TransfersView(())
    whole = sum(_whole(each.progress) for each in transfers)
    saved = sum(each.progress.saved_bytes for each in transfers)
    received = sum(each.progress.received_bytes for each in transfers)
    twice = sum(_twice(each.progress) for each in transfers)
    words = f"{size_words(saved)} of {size_words(whole)} saved."
    if twice:
        words += f" {size_words(twice)} of what was received came twice, or damaged."
    return TransfersView(
        rows=tuple(_row(model, each) for each in transfers),
        received=size_words(received),
        saved=_saved(saved, whole),
        summary=words,
    )


def _row(model: str, transfer: Transfer) -> TransferRow:
    done = transfer.progress
    twice = _twice(done)
    is_whole = done.verified_bytes >= done.size_bytes
    return TransferRow(
        at_s=transfer.at_s,
        version=transfer.version,
        href=release_href(model, transfer.version),
        payload=done.codec,
        received=size_words(done.received_bytes),
        twice=size_words(twice) if twice else "",
        there="" if is_whole else size_words(done.verified_bytes),
        bar=_bar(done),
        saved=_saved(done.saved_bytes, _whole(done)),
        rate=rate_words(done),
    )


def rate_words(done: Progress) -> str:
    """Give how fast a payload came; a dash where nobody knows."""
    return f"{size_words(done.rate_bytes_per_s)}/s" if done.rate_bytes_per_s else NONE


def received_words(done: Progress) -> str:
    """Say in a sentence what a payload cost, and what it spared."""
    cost = f"{size_words(done.received_bytes)} received for {size_words(done.size_bytes)}"
    saved = f", {size_words(done.saved_bytes)} saved" if done.saved_bytes else ""
    return f"{done.codec}: {cost}{saved}."


def _whole(done: Progress) -> int:
    return done.size_bytes + done.saved_bytes


def _twice(done: Progress) -> int:
    # What the next chunks bring may have come already: only what is beyond the payload is twice.
    return max(0, done.received_bytes - done.verified_bytes)


def _saved(saved: int, whole: int) -> str:
    return f"{size_words(saved)}, {share_words(saved / whole)}" if saved and whole else NONE


def _bar(done: Progress) -> Markup:
    """Draw a payload as a part of the image."""
    whole = _whole(done)
    paid = round(_BAR_PARTS * done.size_bytes / whole) if whole else 0
    part = min(1.0, done.verified_bytes / done.size_bytes) if done.size_bytes else 0.0
    there = round(paid * part)
    parts = [
        BarPart("there", there, "f-new"),
        BarPart("to come", paid - there, "f-soft"),
        BarPart("saved", _BAR_PARTS - paid, "f-none"),
    ]
    return bar(parts, 10, f"{size_words(done.size_bytes)} of {size_words(whole)}")
