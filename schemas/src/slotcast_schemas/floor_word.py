"""The floor word: how the targets key brings devices back whose sequences a thief has used up.

A device accepts no release below the highest sequence that it committed, its floor
(`slotcast_device.core.sequence_floor`). Whoever stole a release key could raise that floor until
nothing is left above it. So the targets that say who may release a model may also say which
sequences of it count (ADR 0145):

    "slotcast-floors": {"detector": {"root_version": 3, "epoch": 1790000000,
                                     "sequence": 8, "sequence_max": 1048584}}

TUF's clients pass over fields that they do not know, and so do devices of before. No release key
and no online key can sign targets; root says whose key may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import Inconsistent, MalformedMessage

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOORS: Final = "slotcast-floors"
"""The extra field of targets that holds a floor word for each model that has one, by its name."""

ROOM: Final = 2**20
"""The number of sequences above a word's own that count, unless its signer says another: a million
releases, so that a thief who is in reach can be passed by an ordinary release."""

_Whole = Annotated[int, Meta(ge=0, le=limits.SAFE_INTEGER_MAX)]


class FloorWord(msgspec.Struct, frozen=True, kw_only=True):
    """Which sequences of a model count, signed by the targets key.

    Attributes:
        root_version: of the newest root when this was signed. It orders words before `epoch` does:
            a thief of the targets key cannot say a root that is not there yet, so the key that
            takes its place always has the last word.
        epoch: when it was signed, in seconds since 1970; of the words under one root the latest
            counts.
        sequence: the floor of a device whose own is above `sequence_max`.
        sequence_max: the highest sequence that counts.
    """

    root_version: Annotated[int, Meta(ge=1, le=limits.SAFE_INTEGER_MAX)]
    epoch: _Whole
    sequence: _Whole
    sequence_max: _Whole

    def is_above(self, other: FloorWord | None) -> bool:
        """Whether this word takes the place of another; the same one again does not."""
        return other is None or (self.root_version, self.epoch) > (
            other.root_version,
            other.epoch,
        )

    def counts(self, sequence: int) -> bool:
        """Whether a sequence is one that counts."""
        return sequence <= self.sequence_max


make_decoders(FloorWord)


def read_floor_word(fields: Mapping[str, Any], model: str, root_version: int) -> FloorWord | None:
    """Read what verified targets say of a model's floor; None where they say nothing.

    Args:
        fields: the targets' fields that TUF does not know.
        model: the model's name.
        root_version: the version of the root that is believed.

    Raises:
        MalformedMessage: there is a word that cannot be read.
        Inconsistent: it speaks of a root that is not there yet, or of a floor above its own bound.
    """
    words = fields.get(FLOORS)
    if words is None:
        return None
    try:
        word = msgspec.convert(words, dict[str, FloorWord]).get(model)
    except msgspec.ValidationError as exc:
        raise MalformedMessage(f"the signed word on the floor of {model!r}: {exc}") from exc
    if word is None:
        return None
    if word.root_version > root_version:
        raise Inconsistent(
            f"the signed word on the floor of {model!r} speaks of root {word.root_version}, and the"
            f" newest that is believed here is {root_version}; the publisher must sign it anew"
        )
    if not word.counts(word.sequence):
        raise Inconsistent(
            f"the signed word on the floor of {model!r} has a floor of {word.sequence}, above its"
            f" own bound of {word.sequence_max}; the publisher must sign it anew"
        )
    return word
