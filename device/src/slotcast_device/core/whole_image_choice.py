"""Which of several whole images to fetch: the easy one, or the small one that takes longer to undo.

Pure: sizes and speeds in, a payload and the reason out. Deltas and what may be fetched at all are
`payload_choice`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core.payload_codecs import SMALL_CODEC
from slotcast_schemas.codecs.encrypted import plain_codec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotcast_schemas.messages.offer import Payload


class Speeds(msgspec.Struct, frozen=True):
    """How fast this device is; 0 where it is not known.

    Attributes:
        link_bytes_per_s: what the last transfer came to, waits and all.
        undo_bytes_per_s: how much of an image the processor makes of a small payload.
    """

    link_bytes_per_s: float = 0.0
    undo_bytes_per_s: float = 0.0


class WholeImage(msgspec.Struct, frozen=True):
    """A payload that needs no base, and how much of it must be fetched."""

    payload: Payload
    fetch_bytes: int


def choose_whole(
    images: Sequence[WholeImage], speeds: Speeds, *, image_size_bytes: int, begun: bytes
) -> tuple[WholeImage, str]:
    """Choose what is whole in the slot soonest, and say why in a few words.

    The one that was begun is gone on with, for its chunks are here already. Where the link's speed
    is not known it is taken for slow: the fewest bytes win.

    Args:
        images: at least one.
        speeds: of this device.
        image_size_bytes: what each of them makes.
        begun: digest of the payload that was begun last, or empty.
    """
    if len(images) == 1:
        return images[0], ""
    for image in images:
        if image.payload.sha256 == begun:
            return image, "begun before"
    smallest = min(images, key=lambda image: image.fetch_bytes)
    if not speeds.link_bytes_per_s:
        return smallest, "the fewest bytes"

    def needed_s(image: WholeImage) -> float:
        return image.fetch_bytes / speeds.link_bytes_per_s + _undo_s(
            image.payload, speeds, image_size_bytes
        )

    ordered = sorted(images, key=needed_s)
    first, second = ordered[0], ordered[1]
    return first, (
        f"about {needed_s(first):.1f} s at {speeds.link_bytes_per_s / 1e3:.0f} kB/s,"
        f" {second.payload.codec} {needed_s(second):.1f} s"
    )


def _undo_s(payload: Payload, speeds: Speeds, image_size_bytes: int) -> float:
    """What the processor needs for a small payload; for the easy ones the disk needs longer."""
    if plain_codec(payload) != SMALL_CODEC or not speeds.undo_bytes_per_s:
        return 0.0
    return image_size_bytes / speeds.undo_bytes_per_s
