"""What may run beside `serve`, and is handed what devices say: the fleet, which is not imported.

`serve` works without it. Where it is there, each broker gets a connection of its own for it
(`listener`), so that a flood of statuses delays nobody who asks for chunks.
"""

from __future__ import annotations

import threading
from typing import Protocol

import msgspec


class Heard(msgspec.Struct, frozen=True, gc=False):
    """One message of a device.

    Attributes:
        topic: where it was published; data from outside, as `data` is.
        data: its bytes, not looked at yet.
        retained: whether it is from the broker's memory: nobody knows when it was said.
        at_s: when it came, seconds since 1970 by the clock of this machine.
        broker: the name of the broker.
    """

    topic: str
    data: bytes
    retained: bool
    at_s: float
    broker: str


class Companion(Protocol):
    """Listens at every broker that `serve` is at; its methods are called from several threads.

    Attributes:
        filters: topic filters of what it listens to, those with the most important retained
            messages first.
        share: the name of the group of processes among which the broker shall divide live messages
            (MQTT 5, 4.8.2); empty where each is to hear all.
        generation: grows when all that brokers keep has to be heard once more, since it was
            forgotten: each listener connects anew then.
        lost: how many messages that a broker keeps were dropped so far because there was no room:
            they are looked for again.
    """

    @property
    def filters(self) -> tuple[str, ...]:
        """Give the filters."""

    @property
    def share(self) -> str:
        """Give the name of the group."""

    @property
    def generation(self) -> int:
        """Give how often all was forgotten."""

    @property
    def lost(self) -> int:
        """Give how many there were."""

    def take(self, message: Heard) -> None:
        """Take a message; may wait a few seconds where too many came, and then drops it."""

    def listening(self, broker: str) -> None:
        """Take note that from now on everything that is said at a broker is heard."""

    def deaf(self, broker: str) -> None:
        """Take note that nothing is heard from a broker until `listening` is called again."""

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set, then write down what was taken; an error ends `serve`."""
