"""What is heard of wants at one broker: on which topics, which of them count, and what must go.

A want counts if it is whole, about something that is offered now, and, below a device's own name,
from that device. A want that the broker keeps counts for nothing, for no device has it kept: it is
taken off, since so many of them would fill the broker.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

from slotcast_publisher.delivery.arrived_room import Lane
from slotcast_publisher.delivery.link_events import Arrived
from slotcast_publisher.serve.catalog import Catalog
from slotcast_publisher.serve.wants import Answers
from slotcast_publisher.serve_settings import WantTopics
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import Want
from slotcast_schemas.topics import DeviceTopic, Topics, WantTopic

DEVICE_ARRIVED_MAX: Final = 16
"""The most wants of one device that wait to be looked at; it has one for each model under way."""

CLAIMED_ARRIVED_MAX: Final = 1_000
"""The same of all together that ask on the payloads' topics: half of the room there is."""

LOOK_EVERY_S: Final = 300.0
"""The seconds between two looks for wants that the broker keeps: MQTT 3.1.1 shows only so that it
keeps what is published meanwhile."""

_LOOK_SOON_S: Final = 1.0
"""The seconds to the next look where something was taken off: a broker gives only so much at
once."""

_UNOFFERED_MAX: Final = 1_000
"""The most payloads without an offer that are remembered as wanted, for anybody may ask."""

_UNFIT_MAX: Final = 10_000
"""The most kept wants that wait to be taken off; the next look finds the rest."""


class HeardWants:
    """Takes what comes on the topics of wants, and hands on what counts.

    Args:
        topics: below the repository's prefix.
        answers: who is told what is asked for.
        heard: on which topics.

    Attributes:
        hears_devices: whether wants are heard below the devices' names; the broker may not let us.
        unfit: topics of wants that the broker keeps, which are to be taken off.
    """

    def __init__(self, topics: Topics, answers: Answers, heard: WantTopics) -> None:
        self._topics = topics
        self._answers = answers
        self._heard = heard
        self._unoffered: dict[bytes, float] = {}
        self._look_s = math.inf  # until there is a connection
        self.hears_devices = heard != "payload"
        self.unfit: deque[str] = deque(maxlen=_UNFIT_MAX)

    def filters(self) -> list[str]:
        """Give the filters that wants are heard by, where wildcards are served."""
        found = [self._topics.wants()] if self._heard != "device" else []
        return [*found, self._topics.device_wants()] if self.hears_devices else found

    def exact_topics(self, payloads: Iterable[bytes]) -> list[str]:
        """Give the topics to listen to where no wildcards are served: devices cannot be named."""
        return [] if self._heard == "device" else [self._topics.want(p) for p in payloads]

    def lane_of(self, topic: str) -> Lane | None:
        """Tell senders apart: each device that has a topic of its own, and all others together."""
        match self._topics.parse(topic):
            case DeviceTopic(device, "want"):
                return Lane(device, DEVICE_ARRIVED_MAX, limits.WANT_MAX_BYTES)
        if self._topics.is_like_want(topic):
            return Lane("", CLAIMED_ARRIVED_MAX, limits.WANT_MAX_BYTES)
        return None

    def unoffered(self) -> dict[bytes, float]:
        """Say when devices last asked for payloads that no offer names; from any thread."""
        return self._unoffered.copy()

    # --- what comes -----------------------------------------------------------------------------

    def take(self, message: Arrived, catalog: Catalog, now_s: float) -> None:
        """Take a message on a topic of wants.

        Args:
            message: the message.
            catalog: what is offered now.
            now_s: the clock, in seconds.
        """
        if message.retained:
            if message.data:  # an empty one is how a kept one is taken off
                self.unfit.append(message.topic)
            return
        want = self._read(message)
        stored = None if want is None else catalog.payloads.get(want.payload)
        if want is not None and stored is None and len(self._unoffered) < _UNOFFERED_MAX:
            self._unoffered[want.payload] = time.time()
        if want is None or stored is None:
            self._answers.counts.refused_wants += 1
            return
        is_proven = isinstance(self._topics.parse(message.topic), DeviceTopic)
        self._answers.want(want, stored.payload, now_s, is_proven=is_proven)

    def _read(self, message: Arrived) -> Want | None:
        """Give a want that says what its topic says, too."""
        try:
            want = wire.decode(message.data, Want)
        except RefusedRelease:
            return None
        match self._topics.parse(message.topic):
            case WantTopic(payload) if want.payload == payload and self._heard != "device":
                return want
            case DeviceTopic(device, "want") if want.device == device and self.hears_devices:
                return want
        return None

    # --- what the broker keeps ------------------------------------------------------------------

    def connected(self, now_s: float) -> None:
        """Take note of a connection, on which all that the broker keeps is given at first."""
        self._look_s = now_s + LOOK_EVERY_S

    def took_off(self, now_s: float) -> None:
        """Take note that kept wants were taken off: there may be more of them."""
        self._look_s = min(self._look_s, now_s + _LOOK_SOON_S)

    def is_look_due(self, now_s: float) -> bool:
        """Say whether to subscribe again, to be given what the broker keeps; True once."""
        if now_s < self._look_s:
            return False
        self._look_s = now_s + LOOK_EVERY_S
        return True
