"""Which devices the options of `slotcast fleet` ask for: all that the page's list can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.database.listing import DevicesWanted

Search = Annotated[
    list[str] | None,
    typer.Option("--search", help="A part of the id, whatever its case; repeatable."),
]
Online = Annotated[bool | None, typer.Option("--online/--offline", help="Connected now, or not.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetQuestion:
    """What the options say; times as functions of now, None for any."""

    device: str | None
    model: str | None
    version: str | None
    state: str | None
    reason: str | None
    tags: Mapping[str, str]
    words: tuple[str, ...]
    online: bool | None
    rollout: str | None
    group: str | None
    shares_id: bool | None
    seen_since_s: Callable[[float], int] | None
    unseen_since_s: Callable[[float], int] | None

    def at(self, now_s: float) -> DevicesWanted:
        """Give which devices that are, now."""
        from slotcast_publisher.fleet.database.listing import DevicesWanted

        return DevicesWanted(
            device=self.device,
            model=self.model,
            version=self.version,
            state=self.state,
            reason=self.reason,
            tags=self.tags,
            words=self.words,
            online=self.online,
            deployment=self.rollout,
            group=self.group,
            shares_id=self.shares_id,
            seen_since_s=self.seen_since_s and self.seen_since_s(now_s),
            unseen_since_s=self.unseen_since_s and self.unseen_since_s(now_s),
        )


def read_words(given: Sequence[str] | None) -> tuple[str, ...]:
    """Give the words of `--search`.

    Args:
        given: as they were typed, some of them perhaps in one argument.

    Raises:
        UsageError: one is a tag.
    """
    words = tuple(word for text in given or () for word in text.split())
    if any("=" in word for word in words):
        raise UsageError("--search: expected parts of an id; tags are asked for by --tag KEY=VALUE")
    return words
