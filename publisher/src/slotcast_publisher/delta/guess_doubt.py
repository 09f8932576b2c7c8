"""Whether arrays that were found by their looks may cost more than the bytes taken as bytes.

A guess that fails keeps bytes from whoever searches for equal ones: an array that nothing explains
counts as noise, and pieces of another length than rows are many. Where both images evidently share
bytes, the delta is made without guesses as well, which is what other tools do with such a file: a
patch by sorted suffixes, or a dictionary. Weights that were trained share none and skip it.
"""

from __future__ import annotations

from typing import Final

from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.worth_trying import covered_share
from slotcast_schemas.codecs.source import Source

_GUESSED_MAX_BYTES: Final = 16 * 1024 * 1024
"""The most bytes of guessed arrays for which it is tried: sorting takes seconds for each megabyte
that is new."""

_SMALL_BYTES: Final = 256
"""The bytes of a delta below which there is nothing to gain: its own headers are as many."""

_SHARE_MIN: Final = 0.01
"""The share of bytes in common from which images share bytes evidently."""

_NOISE_SHARE: Final = 0.8
"""The least that other tools make of weights that are new, as a share of their bytes; trained ones
cost more, so a delta that is smaller than this is not beaten."""


def is_guess_doubtful(
    base: Source,
    old: list[TensorPlace],
    target: Source,
    new: list[TensorPlace],
    payload_size_bytes: int,
) -> bool:
    """Say whether a delta without guesses may be smaller.

    Args:
        base: the old image.
        old: its tensors.
        target: the new image.
        new: its tensors.
        payload_size_bytes: what the delta with guesses came to.
    """
    if payload_size_bytes <= _SMALL_BYTES:
        return False
    guessed = [[place for place in places if place.is_guess] for places in (old, new)]
    sizes = [sum(place.size_bytes for place in places) for places in guessed]
    if not any(sizes) or max(sizes) > _GUESSED_MAX_BYTES:
        return False
    share = covered_share(_bytes_of(target, guessed[1]), _bytes_of(base, guessed[0]))
    new_bytes = (1 - share) * sizes[1]
    return share >= _SHARE_MIN and payload_size_bytes > _NOISE_SHARE * new_bytes


def _bytes_of(source: Source, places: list[TensorPlace]) -> bytes:
    return b"".join(source.read_at(place.offset, place.size_bytes) for place in places)
