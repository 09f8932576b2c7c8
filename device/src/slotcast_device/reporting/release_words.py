"""What the release that serves says to people: what it changes, an advisory, until when it counts.

It is in the signed release beside the slot; devices do nothing by it (EU Cyber Resilience Act,
Annex I, Part II (4) and (8), asks that users are told).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core.signed_time import moment
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Release
from slotcast_schemas.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages.status import SlotStatus


class ReleaseWords(msgspec.Struct, frozen=True, kw_only=True):
    """What a release says; all of it may be empty.

    `supported_until` is in seconds since 1970; 0 where nothing is promised.
    """

    changes: tuple[str, ...] = ()
    advisory: str = ""
    supported_until: int = 0


def read_words(disk: Disk, folder: Path, slot: SlotStatus | None) -> ReleaseWords:
    """Read what the release in a slot says; nothing where it cannot be read.

    Args:
        disk: the durable layer.
        folder: the model's.
        slot: the active one, if there is one.

    Raises:
        StorageFailed: the disk does not give it.
    """
    if slot is None:
        return ReleaseWords()
    data = disk.read(folder / "slots" / f"{slot.slot}.release", limits.TARGET_MAX_BYTES)
    try:
        found = None if data is None else wire.decode(data, Release)
    except RefusedRelease:
        found = None
    if found is None:
        return ReleaseWords()
    return ReleaseWords(
        changes=found.changes, advisory=found.advisory, supported_until=found.supported_until
    )


def lines_of_words(words: ReleaseWords, now_s: int) -> Iterator[str]:
    """Say it to people, in lines below the slot's.

    Args:
        words: what the release says.
        now_s: seconds since 1970.
    """
    if words.changes:
        yield f"    it        {printable(', '.join(words.changes)).replace('_', ' ')}"
    if 0 < words.supported_until < now_s:
        ended = moment(words.supported_until)
        yield f"    support   ended at {ended}: ask the publisher for a newer release"
    elif words.supported_until:
        yield f"    support   until {moment(words.supported_until)}"
    for number, line in enumerate(words.advisory.splitlines()):
        yield f"    {'' if number else 'advice':<9} {printable(line)}"
