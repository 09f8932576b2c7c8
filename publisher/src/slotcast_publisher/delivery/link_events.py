"""What happens on a connection to a broker: the events that `broker_link` gives, one at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Acked:
    """The broker took a message, or says why not."""

    mid: int
    refused: str | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker answered a SUBSCRIBE.

    Attributes:
        refused: why the first filter that was refused was, or None.
        mid: the number that `subscribe` gave.
        granted: for each filter, in order, whether it was granted.
    """

    refused: str | None
    mid: int = 0
    granted: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """The broker answered an UNSUBSCRIBE: nothing more comes for its filters.

    Attributes:
        mid: the number that `unsubscribe` gave.
    """

    mid: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message came; `retained` if the broker had kept it."""

    topic: str
    data: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection is gone."""

    why: str


Event = Acked | Subscribed | Unsubscribed | Arrived | Lost
