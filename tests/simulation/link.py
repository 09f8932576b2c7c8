"""The link of the simulation: one connection between device and broker."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.broker import Client

if TYPE_CHECKING:
    from tests.simulation.world import World


class Link:
    """One connection: each message in its time, in order unless the seed says otherwise."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.is_open = True
        self.is_silent = False
        self.client = Client(self._to_device)
        self._free_s = 0.0
        self._taken_s = 0.0

    def _later(self, do: Callable[[], None], delay_s: float) -> None:
        def arrive() -> None:
            if self.is_open and not self.is_silent:
                do()

        self._world.after(delay_s, arrive)

    def _to_device(self, topic: str, data: bytes) -> None:
        world, rng = self._world, self._world.rng
        latency_s = rng.uniform(0.01, world.latency_s)
        self._free_s = max(self._free_s, world.now_s) + len(data) / world.rate_bytes_per_s
        at_s = self._free_s + latency_s
        if rng.random() < world.odds("reorder"):
            at_s += rng.uniform(0.0, 2.0)
        copies = 2 if rng.random() < world.odds("duplicate") else 1
        world.counts.duplicates += copies - 1
        for copy in range(copies):
            deliver = functools.partial(self._deliver, topic, data, is_copy=copy > 0)
            self._later(deliver, at_s - world.now_s + 0.001 * copy)

    def _deliver(self, topic: str, data: bytes, *, is_copy: bool) -> None:
        self._world.guard(lambda: self._world.device.received(topic, data))
        if not is_copy and self.is_open:
            self._later(lambda: self._world.broker.receipt(self.client), 0.01)

    # --- what the device sends ------------------------------------------------------------------

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """See `Wire`."""
        world = self._world
        took_s = world.subscribe_s * len(filters)

        def taken() -> None:
            world.broker.subscribe(self.client, filters)
            world.guard(lambda: world.device.subscribed(len(filters), took_s))

        # In the order in which they were sent, as a broker takes the packets of one client.
        self._taken_s = max(self._taken_s, world.now_s + 0.02) + took_s
        self._later(taken, self._taken_s - world.now_s)

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """See `Wire`; in order with what was subscribed to before."""
        world = self._world
        self._taken_s = max(self._taken_s, world.now_s + 0.02)
        done_s = self._taken_s - world.now_s
        self._later(lambda: world.broker.unsubscribe(self.client, filters), done_s)

    def publish(self, topic: str, data: bytes) -> None:
        """See `Wire`."""
        self._later(lambda: self._world.publisher.want_arrived(topic, data), 0.02)
