"""A broker in memory: retained messages, QoS 1 with bounds that drop in silence, restarts.

It keeps what Mosquitto keeps and loses what Mosquitto loses: per client at most `inflight`
messages without a receipt and `queued` behind them; what comes beyond is dropped without a word.
Sessions are clean: a client that is gone leaves nothing behind.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@functools.lru_cache(maxsize=65536)
def matches(name: str, topic: str) -> bool:
    """Say whether a filter matches a topic (MQTT 3.1.1, 4.7)."""
    wanted, given = name.split("/"), topic.split("/")
    for number, level in enumerate(wanted):
        if level == "#":
            return True
        if number >= len(given) or level not in {"+", given[number]}:
            return False
    return len(wanted) == len(given)


@dataclass(slots=True)
class Client:
    """A connected client, as the broker sees it.

    `send` puts one message on the wire; the broker is told by `Broker.receipt`.
    """

    send: Callable[[str, bytes], None]
    filters: set[str] = field(default_factory=set)
    queue: deque[tuple[str, bytes]] = field(default_factory=deque)
    in_flight: int = 0


class Broker:
    """One broker.

    Args:
        inflight: messages on their way to one client.
        queued: messages that wait for one client; more are dropped.
    """

    def __init__(self, inflight: int = 20, queued: int = 1000) -> None:
        self._inflight = inflight
        self._queued = queued
        self.clients: list[Client] = []
        self.retained: dict[str, dict[str, bytes]] = {}  # by level above the last, then topic
        self.dropped = 0
        self.delivered = 0
        self.is_up = True

    # --- clients ------------------------------------------------------------------------------

    def attach(self, client: Client) -> None:
        """Take a client with a clean session."""
        self.clients.append(client)

    def detach(self, client: Client) -> None:
        """Forget a client and what waited for it."""
        if client in self.clients:
            self.clients.remove(client)
        client.queue.clear()

    def subscribe(self, client: Client, filters: tuple[str, ...]) -> None:
        """Add filters, and send what is retained for each, again if it was there already."""
        for name in filters:
            client.filters.add(name)
            for topic, data in self._retained_for(name):
                self._enqueue(client, topic, data)

    def _retained_for(self, name: str) -> list[tuple[str, bytes]]:
        above, _, last = name.rpartition("/")
        if "+" not in name and "#" not in name:
            level = self.retained.get(above, {})
            return [(name, level[name])] if name in level else []
        if last == "+" and "+" not in above:
            return list(self.retained.get(above, {}).items())
        levels = list(self.retained.values())
        return [(t, d) for level in levels for t, d in level.items() if matches(name, t)]

    def unsubscribe(self, client: Client, filters: tuple[str, ...]) -> None:
        """Take filters away; what waits already still comes."""
        client.filters.difference_update(filters)

    def receipt(self, client: Client) -> None:
        """The client acknowledged a message: there is room for the next."""
        client.in_flight -= 1
        self._pump(client)

    # --- messages -----------------------------------------------------------------------------

    def publish(self, topic: str, data: bytes, *, retain: bool) -> None:
        """Take a message; an empty retained one removes what was retained."""
        if not self.is_up:
            return
        above = topic.rpartition("/")[0]
        if retain and data:
            self.retained.setdefault(above, {})[topic] = data
        elif retain:
            self.retained.get(above, {}).pop(topic, None)
        for client in self.clients:
            if any(name == topic or matches(name, topic) for name in client.filters):
                self._enqueue(client, topic, data)

    def _enqueue(self, client: Client, topic: str, data: bytes) -> None:
        if len(client.queue) >= self._queued:
            self.dropped += 1
            return
        client.queue.append((topic, data))
        self._pump(client)

    def _pump(self, client: Client) -> None:
        while client.queue and client.in_flight < self._inflight:
            client.in_flight += 1
            self.delivered += 1
            client.send(*client.queue.popleft())

    # --- faults -------------------------------------------------------------------------------

    def stop(self, *, keeps_retained: bool) -> None:
        """Go down; the clients' connections are the caller's to break."""
        self.is_up = False
        for client in list(self.clients):
            self.detach(client)
        if not keeps_retained:
            self.retained.clear()

    def start(self) -> None:
        """Come back."""
        self.is_up = True

    def spoil(self, topic: str, data: bytes | None) -> None:
        """Change or lose one retained message, as a broken or hostile broker does."""
        level = self.retained.get(topic.rpartition("/")[0], {})
        if topic in level:
            if data is None:
                del level[topic]
            else:
                level[topic] = data
