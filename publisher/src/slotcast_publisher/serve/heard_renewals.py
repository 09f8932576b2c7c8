"""One broker's ear for devices whose certificates end: a connection that answers nothing else.

Answers of a session must not wait for signatures, and what a broker refuses here must not end
there. A device that hears no answer asks again after an hour; what it asked is answered alike.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from slotcast_publisher.certificates.renewals import RenewalOffice
from slotcast_publisher.delivery.arrived_room import ArrivedRoom, Lane
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.link_events import Arrived, Event, Lost, Subscribed
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve.renewal_budgets import DAY_ANSWERS, RenewalBudgets
from slotcast_publisher.settings import Broker
from slotcast_schemas import limits, wire
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import BrokerRefused, LinkDown, SlotcastError
from slotcast_schemas.topics import DeviceTopic, Topics

_STEP_S: Final = 0.5
"""The longest time in seconds that it waits for an event, so that it stops soon when told."""

_RECONNECT_S: Final = (0.5, 30.0)
"""The bounds in seconds of the first wait between two connections, and of every one."""

_REFUSED_AGAIN_S: Final = 600.0
"""The seconds after which a broker that does not let us listen is asked again."""

_WAITING_MAX: Final = 2
"""The most requests of one device that wait to be looked at."""

_PER_SECOND: Final = 20
"""The most signatures in a second, which leaves most of a small machine to the sessions."""


class Renewals:
    """Answers devices at one broker until told to stop.

    Args:
        broker: where.
        base: folder that the paths of certificates are relative to.
        topics: below the repository's prefix.
        office: decides, and signs.
        say: the log.
        rng: jitter; seeded in tests.
        clock: seconds that only grow, for budgets.
    """

    def __init__(
        self,
        broker: Broker,
        base: Path,
        topics: Topics,
        office: RenewalOffice,
        say: Say,
        rng: random.Random,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = broker.address.name
        self._broker = broker
        self._base = base
        self._topics = topics
        self._office = office
        self._say = say
        self._waits = Backoff(rng, *_RECONNECT_S)
        self._budgets = RenewalBudgets()
        self._clock = clock

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop` is set; returns soon after."""
        while not stop.is_set():
            wait_s = _REFUSED_AGAIN_S
            try:
                room = ArrivedRoom(self._lane_of)
                with open_link(self._broker, self._base, needs_retained=False, room=room) as link:
                    self._listen(link, stop)
            except LinkDown:
                wait_s = self._waits.next_s()  # the session of this broker says so
            except BrokerRefused as exc:
                self._say("deaf_to_renewals", broker=self.name, detail=str(exc))
            stop.wait(wait_s)

    def _lane_of(self, topic: str) -> Lane | None:
        match self._topics.parse(topic):
            case DeviceTopic(device, "renewal"):
                return Lane(device, _WAITING_MAX, limits.RENEWAL_MAX_BYTES)
        return None

    def _listen(self, link: BrokerLink, stop: threading.Event) -> None:
        link.subscribe(self._topics.device("+", "renewal"))
        while not stop.is_set():
            event = link.next_event(_STEP_S)
            if event is not None:
                self._handle(event, link, stop)

    def _handle(self, event: Event, link: BrokerLink, stop: threading.Event) -> None:
        match event:
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case Subscribed(refused=None):
                self._waits.reset()
                self._say("hears_renewals", broker=self.name)
            case Subscribed(refused=why):
                raise BrokerRefused(f"{link.name}: may not hear renewals: {why}")
            case Arrived(retained=False):
                if self._answer(event, link):
                    stop.wait(1 / _PER_SECOND)
            case _:
                pass

    def _answer(self, message: Arrived, link: BrokerLink) -> bool:
        """Answer a message; false for one that cost nothing."""
        match self._topics.parse(message.topic):
            case DeviceTopic(device, "renewal"):
                pass
            case _:
                return False
        if not self._is_in_budget(device):
            return False
        try:
            answer = self._office.answer(device, message.data, datetime.now(UTC))
        except SlotcastError as exc:
            self._say("error", broker=self.name, device=device, reason=exc.reason, detail=str(exc))
            return True
        if answer is None:
            return True
        link.publish(self._topics.device(device, "certificate"), wire.encode(answer), retain=False)
        self._say(
            "certificate_answered",
            broker=self.name,
            device=device,
            reason=answer.reason,
            detail=answer.detail,
        )
        return True

    def _is_in_budget(self, device: str) -> bool:
        found = self._budgets.take(device, self._clock())
        if found == "spent":
            self._say("renewals_over_budget", broker=self.name, device=device, answers=DAY_ANSWERS)
        return found == "answer"
