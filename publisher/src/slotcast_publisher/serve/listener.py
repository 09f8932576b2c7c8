"""One broker's ear for the companion: a connection that only listens, and begins again when lost.

What a broker retains comes once for each subscription of a single client, and never for a shared
one (MQTT 5, 4.8.2). So each connection takes a look by plain subscriptions first. Where several
`serve` divide the live messages, the shared subscription is there before, and the plain ones go
when nothing retained has come for a while: no message falls between the two, and what came twice
has the same counter.

A broker that has to wait for us drops messages without a word. Most number what they send, so a gap
tells, once something comes after it. So at the end of a look the last topic is asked for once more,
by its own name; where a gap shows, another look is taken in time, on a new connection.
"""

from __future__ import annotations

import math
import random
import threading
import time
from pathlib import Path
from typing import Final

from slotcast_publisher.delivery.broker_connect import open_link, speaks_newest
from slotcast_publisher.delivery.broker_link import (
    USUAL_WAITS,
    BrokerLink,
    ConnectWaits,
    Inbound,
)
from slotcast_publisher.delivery.link_events import Event, Lost, Subscribed, Unsubscribed
from slotcast_publisher.serve.companion import Companion, Heard
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve.look import KeptLook, LookStep
from slotcast_publisher.serve.look_again import WAITS_S, LookTimes
from slotcast_publisher.settings import Broker
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import BrokerRefused, LinkDown

IN_FLIGHT_MAX: Final = 65_535
"""A broker sends a whole fleet's retained messages at once, and Mosquitto drops what is above its
limits for one client without a word, unless that client lets more be on their way (MQTT 5's receive
maximum). What is read no faster than it is written stops the broker by TCP."""

_STEP_S: Final = 0.5
"""The longest time in seconds that a listener waits for an event, so that it stops soon when
told."""

_LOOK_QUIET_S: Final = 5.0
"""The seconds without a retained message after which a look is over."""

_ANSWER_MAX_S: Final = 60.0
"""The seconds without an answer to SUBSCRIBE, and without a retained message, after which it is
asked anew. Mosquitto drops an answer, too, where a slow reader has left `max_queued_messages`
packets behind."""

_CUT: Final = (
    "the broker dropped messages since they were not read fast enough; its max_queued_messages"
    " (Mosquitto) has to be above three times the number of devices; it is asked again"
)
_MAY_BE_CUT: Final = (
    "the broker may have left some out: its max_queued_messages (Mosquitto) has to be above three"
    " times the number of devices; those not seen are once they say something"
)
"""What the log says of a look that brought not all, and of one that may not have."""

_NEWER_S: Final = (60.0, 6 * 3600.0)
"""The bounds in seconds of the first wait before a broker that was silent at MQTT 5 is asked in it
again, and of every one."""

_RECONNECT_S: Final = (0.5, 30.0)
"""The bounds in seconds of the first wait between two connections, and of every one."""

_REFUSED_AGAIN_S: Final = 600.0
"""The seconds after which a broker that does not let us listen is asked again."""


class Listener:
    """Listens at one broker until told to stop.

    Args:
        broker: where.
        base: folder that the paths of certificates are relative to.
        companion: who is handed what comes.
        say: the log.
        rng: jitter; seeded in tests.
        look_quiet_s: the seconds without a retained message after which a look is over.
        answer_max_s: the seconds without an answer, and without a retained message, after which
            it connects anew.
        look_again_s: the bounds of the first wait before another look, and of every one.
        newer_s: the bounds of the first wait before a broker that was silent at MQTT 5 is asked
            in it again, and of every one.
        waits: how long a connection is waited for.
    """

    def __init__(
        self,
        broker: Broker,
        base: Path,
        companion: Companion,
        say: Say,
        rng: random.Random,
        *,
        look_quiet_s: float = _LOOK_QUIET_S,
        answer_max_s: float = _ANSWER_MAX_S,
        look_again_s: tuple[float, float] = WAITS_S,
        newer_s: tuple[float, float] = _NEWER_S,
        waits: ConnectWaits = USUAL_WAITS,
    ) -> None:
        self.name = broker.address.name
        self._broker = broker
        self._base = base
        self._companion = companion
        self._say = say
        self._waits = Backoff(rng, *_RECONNECT_S)
        self._look_quiet_s = look_quiet_s
        self._answer_max_s = answer_max_s
        self._may_share = True
        self._is_shared = False
        self._shared: set[int] = set()  # SUBSCRIBEs without an answer
        self._again = LookTimes(rng, look_again_s)
        self._newer = Backoff(rng, *newer_s)
        self._connect_waits = waits
        self._look = KeptLook(look_quiet_s, 0.0)
        self._look_ended: int | None = None  # UNSUBSCRIBE without an answer
        self._is_heard = False  # all filters were answered on this connection
        self._cut = 0  # messages that brokers dropped on connections of before

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set; returns soon after."""
        inbound = Inbound(self._take, IN_FLIGHT_MAX)
        while not stop.is_set():
            wait_s = _REFUSED_AGAIN_S
            try:
                with open_link(
                    self._broker,
                    self._base,
                    needs_retained=False,
                    inbound=inbound,
                    waits=self._connect_waits,
                ) as link:
                    try:
                        self._listen(link, stop)
                    finally:
                        self._cut += link.missing
                if stop.is_set():
                    return
                self._companion.deaf(self.name)
                continue
            except LinkDown as exc:
                wait_s = self._waits.next_s()
                self._say_deaf(exc, wait_s)
            except BrokerRefused as exc:
                self._say_deaf(exc, wait_s)
            stop.wait(wait_s)

    def _say_deaf(self, exc: LinkDown | BrokerRefused, wait_s: float) -> None:
        self._companion.deaf(self.name)
        self._say(
            "deaf",
            broker=self.name,
            reason=exc.reason,
            detail=str(exc),
            again_in_s=round(wait_s, 2),
        )

    def _listen(self, link: BrokerLink, stop: threading.Event) -> None:
        """Listen until told to stop, or until it pays to connect anew."""
        self._shared.clear()
        self._look_ended = None
        self._is_heard = False
        generation = self._companion.generation
        share, filters = self._companion.share, self._companion.filters
        if not link.wildcards:
            raise BrokerRefused(
                f"{link.name}: serves no wildcard subscriptions, so what devices say there cannot"
                " be heard"
            )
        if share and link.shares and self._may_share:
            names = [f"$share/{share}/{name}" for name in filters]
            self._shared = {link.subscribe(name) for name in names}
        self._is_shared = bool(self._shared)
        self._begin_look(link)
        newer_s = math.inf
        if self._may_be_newer(link):
            newer_s = time.monotonic() + self._newer.next_s()
        while not stop.is_set() and generation == self._companion.generation:
            event = link.next_event(_STEP_S)
            if event is not None:
                self._handle(event, link)
            self._go_on_looking(link)
            if time.monotonic() >= newer_s and self._look.is_answered:
                if self._speaks_newest():
                    return
                newer_s = time.monotonic() + self._newer.next_s()
            if self._again.is_due(
                self._lost(link), time.monotonic(), is_looking=not self._look.is_over
            ):
                self._say("look_again", broker=self.name, lost=self._lost(link))
                if link.missing:
                    return  # the broker counts what it dropped as on its way, until we hang up
                self._begin_look(link)

    def _go_on_looking(self, link: BrokerLink) -> None:
        """Do what the look wants next.

        Raises:
            LinkDown: the broker has not answered for long.
        """
        now_s = time.monotonic()
        if not self._look.is_answered and self._look.silent_s(now_s) > self._answer_max_s:
            raise LinkDown(f"{link.name}: no answer to SUBSCRIBE in {self._answer_max_s:.0f} s")
        match self._look.next_step(now_s):
            case LookStep.PROVE:
                self._look.begin_proof(now_s)
                self._look.ask_proof(link.subscribe(self._look.topic))
            case LookStep.END:
                self._end_look(link)
            case LookStep.WAIT:
                pass

    def _end_look(self, link: BrokerLink) -> None:
        """Say what was left out, and give back what was for the look alone."""
        self._say_cut(link.missing)
        if self._look.topic:
            link.unsubscribe(self._look.topic)
        if self._is_shared:
            self._look_ended = link.unsubscribe(*self._companion.filters)

    def _lost(self, link: BrokerLink) -> int:
        """How many messages that a broker keeps were dropped so far, by us or on the way."""
        return self._companion.lost + self._cut + link.missing

    def _may_be_newer(self, link: BrokerLink) -> bool:
        return link.protocol != "5" and self._broker.protocol == "auto"

    def _speaks_newest(self) -> bool:
        """Ask a broker that was silent at MQTT 5 once more: it may have been busy then.

        Without MQTT 5 it sends only so many messages at once as it likes, and drops the others.
        """
        inbound = Inbound(_ignore, IN_FLIGHT_MAX)
        if not speaks_newest(self._broker, self._base, inbound, self._connect_waits):
            return False
        self._say("newer_protocol", broker=self.name)
        return True

    def _begin_look(self, link: BrokerLink) -> None:
        """Ask by plain subscriptions, which bring what the broker keeps."""
        self._again.began(self._lost(link))
        self._look = KeptLook(self._look_quiet_s, time.monotonic())
        for name in self._companion.filters:
            self._look.ask(link.subscribe(name))

    def _take(self, topic: str, data: bytes, retained: bool) -> None:  # noqa: FBT001 - as `Take`
        """Hand a message over; in the connection's own thread."""
        now_s = time.time()
        if retained:
            self._look.came(topic, time.monotonic())
        self._companion.take(Heard(topic, data, retained, now_s, self.name))

    def _say_cut(self, missing: int) -> None:
        """Say that some devices were not seen, where the broker left some out, or may have."""
        if missing or self._look.retained >= IN_FLIGHT_MAX:
            self._say(
                "look_cut",
                broker=self.name,
                retained=self._look.retained,
                missing=missing,
                detail=_CUT if missing else _MAY_BE_CUT,
            )

    def _handle(self, event: Event, link: BrokerLink) -> None:
        match event:
            case Subscribed():
                self._subscribed(event, link)
            case Unsubscribed(mid=mid) if mid == self._look_ended:
                self._say("sharing", broker=self.name, group=self._companion.share)
            case Lost(why=why):
                raise LinkDown(f"{link.name}: {why}")
            case _:
                pass

    def _subscribed(self, answer: Subscribed, link: BrokerLink) -> None:
        """Take an answer; where subscriptions cannot be shared, the plain ones stay.

        Raises:
            BrokerRefused: the broker does not let us listen.
        """
        if answer.mid in self._shared:
            self._shared.discard(answer.mid)
            if answer.refused is not None and self._may_share:
                self._may_share = self._is_shared = False
                self._say("shares_nothing", broker=self.name, detail=answer.refused)
            return
        if self._look.is_proof(answer.mid):
            return  # if it was refused, the end of the look stays unproved
        if answer.refused is not None:
            raise BrokerRefused(
                f"{link.name}: may not listen to devices: {answer.refused}; check its access rules"
            )
        self._look.answer(answer.mid, time.monotonic())
        if self._look.is_answered:
            self._waits.reset()
            if not self._is_heard:
                self._is_heard = True
                self._companion.listening(self.name)
                self._say("listening", broker=self.name, protocol=link.protocol)


def _ignore(topic: str, data: bytes, retained: bool) -> None:  # noqa: FBT001 - as `Take`
    """Take what comes to a connection that only asks for the protocol."""
