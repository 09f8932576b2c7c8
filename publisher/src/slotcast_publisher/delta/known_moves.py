"""What is known about a new image beforehand, because it was made from the old one by `rebase`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from slotcast_schemas.codecs.delta.segments import (
    LowRank,
    Rebase,
)


@dataclass(frozen=True, slots=True)
class KnownMoves:
    """How tensors of the new image were made.

    Attributes:
        rebase: the step of quantised differences, where a tensor has them.
        factors: of tensors made with a low rank, by their offset in the new image.
    """

    rebase: Rebase | None = None
    factors: Mapping[int, LowRank] = field(default_factory=dict)


NOTHING_KNOWN = KnownMoves()
"""What is known of a model that nobody rebased."""
