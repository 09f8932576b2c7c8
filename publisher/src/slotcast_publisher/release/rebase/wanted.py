"""What a person asks of rebasing, and what a release tells of it; how it is done is far heavier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas.decoders import make_decoders

if TYPE_CHECKING:
    from slotcast_publisher.release.rebase.search import RebaseReport
    from slotcast_schemas.messages.release import Rebased


class RebaseWanted(msgspec.Struct, frozen=True, kw_only=True):
    """How near the rebased model must stay to the given one, on the user's samples.

    Attributes:
        measure: `cosine`, the mean cosine of its outputs with the given model's, or `accuracy`,
            the share of the samples' labels that it gives.
        at_least: what the measure must reach.
        output: with accuracy, the output that holds the scores; the first unless given.
        base: version to rebase on; what devices hold unless given.
    """

    measure: Literal["cosine", "accuracy"] = "cosine"
    at_least: Annotated[float, Meta(gt=0, le=1)] = 0.9999
    output: str | None = None
    base: str | None = None


make_decoders(RebaseWanted)


@dataclass(frozen=True, slots=True)
class Rebasing:
    """What was made: the report for people, and what the release says."""

    report: RebaseReport
    base_version: str
    says: Rebased
