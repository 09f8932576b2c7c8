"""Whether arrays that were found by their looks may cost more than the bytes taken as bytes.

A guess that fails keeps bytes from whoever searches for equal ones: an array that nothing explains
counts as noise, and pieces of another length than rows are many. Where both images evidently share
bytes, the delta is made without guesses as well, which is what other tools do with such a file: a
patch by sorted suffixes, or a dictionary. Weights that were trained share none and skip it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.worth_trying import covered_share
from slotcast_schemas.codecs.source import Source

_GUESSED_MAX_BYTES: Final = 64 * 1024 * 1024
"""The most bytes of guessed arrays for which it is tried: it takes up to two seconds for each
megabyte."""

_MANY_BYTES: Final = 16 * 1024 * 1024
_EVIDENT_SHARE: Final = 0.5
"""Above so many bytes, it is tried only where such a share is in common."""

_STRETCH_BYTES: Final = 1024
_STRETCHES: Final = 32
"""The bytes and the number of stretches by which it is told how many bytes are in common."""

_READ_BYTES: Final = 1024 * 1024
"""The bytes of the base that are searched at once."""

_SMALL_BYTES: Final = 256
_SMALL_SHARE: Final = 1 / 8192
"""The bytes of a delta, or its share of guessed arrays, up to which there is nothing to gain: its
own headers are as many, and of many bytes the search takes minutes."""

_SMALL_GAIN: Final = 0.01
"""The share of a told image's arrays that a delta must take, to be tried with guesses alone."""

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
    guessed = [[place for place in places if place.is_guess] for places in (old, new)]
    sizes = [sum(place.size_bytes for place in places) for places in guessed]
    small = max(_SMALL_BYTES, _SMALL_SHARE * sizes[1])
    if not any(sizes) or max(sizes) > _GUESSED_MAX_BYTES or payload_size_bytes <= small:
        return False
    share = _covered_share(base, guessed[0], target, guessed[1])
    least = _SHARE_MIN if sizes[1] <= _MANY_BYTES else _EVIDENT_SHARE
    return share >= least and payload_size_bytes > _NOISE_SHARE * (1 - share) * sizes[1]


def is_only_one_told(
    old: list[TensorPlace], new: list[TensorPlace], payload_size_bytes: int
) -> bool:
    """Say whether one format told of its arrays and the other, with as many, did not.

    A guessed array has no rows, so a matrix that was told is not found in it turned around. Between
    two guesses rows are searched for in both.

    Args:
        old: the tensors of the old image.
        new: those of the new one.
        payload_size_bytes: what the delta came to.
    """
    told, guessed = (
        [
            sum(place.size_bytes for place in places if place.is_guess == is_guess)
            for places in (old, new)
        ]
        for is_guess in (False, True)
    )
    for here, there in ((0, 1), (1, 0)):
        if guessed[here] > told[here] and told[there] > guessed[there]:
            is_large = max(told[there], guessed[here]) > _MANY_BYTES
            return not is_large and payload_size_bytes > _SMALL_GAIN * told[there]
    return False


def _covered_share(
    base: Source, old: list[TensorPlace], target: Source, new: list[TensorPlace]
) -> float:
    stretches = _stretches(target, new)
    if not stretches:
        return 1.0
    slabs = (
        base.read_at(start, min(_READ_BYTES, place.end - start))
        for place in old
        for start in range(place.offset, place.end, _READ_BYTES)
    )
    return covered_share(stretches, slabs)


def _stretches(target: Source, new: list[TensorPlace]) -> list[bytes]:
    """Stretches from all over the arrays that are long enough."""
    room = np.array([max(0, place.size_bytes - _STRETCH_BYTES) for place in new], dtype=np.int64)
    ends = np.cumsum(room)
    found = []
    for at in np.linspace(0, room.sum() - 1, _STRETCHES).astype(np.int64) if room.sum() else []:
        index = int(np.searchsorted(ends, at, side="right"))
        place = new[index]
        offset = place.offset + int(at - (ends[index] - room[index]))
        found.append(target.read_at(offset, _STRETCH_BYTES))
    return found
