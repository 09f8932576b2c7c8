"""The publisher of the simulation: sends what the real one signed, and answers wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_schemas import limits, wire
from slotcast_schemas.messages import Want
from slotcast_schemas.topics import DeviceTopic, WantTopic
from tests.simulation.catalog import MODELS

if TYPE_CHECKING:
    from tests.simulation.world import World


class Publisher:
    """Publishes notices in the order in which they were signed.

    Attributes:
        sent: per model, the last notice that was sent; -1 before the first.
        retains: whether chunks are retained; else devices have to ask for them.
        is_serving: whether the service runs, which answers wants and announces again.
        hears: on which topics it hears wants: by now on both, before on the payloads' alone, and
            once that is closed, on the devices' alone.
    """

    def __init__(self, world: World, *, retains: bool) -> None:
        self._world = world
        self._said = world.said.said
        self._messages = world.said.messages
        self.sent = dict.fromkeys(MODELS, -1)
        self.retains = retains
        self.is_serving = True
        self.hears = ((WantTopic, DeviceTopic), (WantTopic,), (DeviceTopic,))[world.seed % 3]

    def serve(self) -> None:
        """The service runs again."""
        self.is_serving = True

    def want_arrived(self, topic: str, data: bytes) -> None:
        """The publisher's service answers a want: just what is missing, for all who wait."""
        found = self._world.said.config.topics.parse(topic)
        if not self.is_serving or not self._world.broker.is_up or not isinstance(found, self.hears):
            return
        self._world.counts.wants += 1
        want = wire.decode(data, Want)
        topics = self._world.said.config.topics
        names = [topics.map_part(want.payload, part) for part in want.map_parts]
        for block in want.blocks:
            first = block.block * limits.BLOCK_CHUNKS
            bits = [i for i in range(limits.BLOCK_CHUNKS) if block.missing >> i & 1]
            names += [topics.chunk(want.payload, first + i) for i in bits]
        for name in names:
            if name in self._messages:
                self._world.broker.publish(name, self._messages[name], retain=self.retains)

    def send(self, model: str, index: int) -> None:
        """Publish a notice and, before it, its payload: chunks, maps, notice."""
        said = self._said[model][index]
        self._world.counts.notices += 1
        self.sent[model] = max(self.sent[model], index)
        offer = said.trusted.offer
        self._world.log(f"notice {index} of {model}: {offer.version} {offer.state}")
        if self.retains:
            for topic, data in said.messages.items():
                self._world.broker.publish(topic, data, retain=True)
        self._world.broker.publish(
            self._world.said.config.topics.notice(model), said.data, retain=True
        )

    def send_next(self) -> None:
        """Publish a later notice of some model, but never the last."""
        model = self._world.rng.choice(MODELS)
        last = len(self._said[model]) - 2
        if self.sent[model] < last:
            self.send(
                model,
                self._world.rng.randint(self.sent[model] + 1, min(last, self.sent[model] + 3)),
            )

    def announce_again(self) -> None:
        """What the service does now and then, for brokers that lost what they retained."""
        if not self._world.has_faults:
            return  # the last notices are retained: that must do
        for model, index in self.sent.items():
            if index >= 0 and self.is_serving:
                self.send(model, index)
        self._world.after(600.0, self.announce_again)
