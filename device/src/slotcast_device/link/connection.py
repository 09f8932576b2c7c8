"""Keeping a connection: which broker next, asked how, after which wait.

Several brokers are tried in order, again and again. How long to wait is decided by what failed,
with waits of its own for each reason: that a notice came before does not help a device that is
pushed off by another one with its id. Waits are short again after a connection that lasted longer
than they do, and, where the link was only lost, after one that brought a chunk.

A broker that does not take the connection as the device likes best is asked otherwise: in the older
protocol, without a retained last will. What it was found to allow is in the book. Who is
told what on a new connection is the agent's business.

All that comes is metered. A broker that sends more than its budget of what nobody wants, or what
MQTT forbids, is left alone for a while that grows; the others of the list serve meanwhile.
Which broker is next, how it is asked and after which wait is decided by `broker_history`.
"""

from __future__ import annotations

import logging
import random
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.transfer.broker_limits import (
    BrokerLimits,
    Refusal,
)
from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.link.broker_history import SHUNNED_FOR, BrokerHistory
from slotcast_device.link.learnt_limits import LearntLimits
from slotcast_device.link.link import Link
from slotcast_device.link.link_state import LinkState
from slotcast_device.link.presence import OwnPresence, id_in_use
from slotcast_device.link.traffic import Traffic, TrafficMeter
from slotcast_schemas.broker import HungUp
from slotcast_schemas.errors import (
    BrokerRefused,
    LinkDown,
    TransferFailed,
)

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.core.transfer.broker_limits import Ending
    from slotcast_device.link.listeners import Book, Certificates, ConnectionListener

_LOG: Final = logging.getLogger("slotcast.device")


class Connection:
    """The one connection of this device, made anew whenever it is lost.

    Args:
        config: brokers and waits.
        rng: jitter.
        listener: told what happens.
        book: what is known of the brokers.
        session: what this run of the software calls itself in its presence.
        wall_clock: the time of day, in seconds since 1970.
        certificates: which one a broker is shown; those of the configuration unless given.
        waits: for a farewell, and for a packet that has begun to come.

    Attributes:
        link: the present connection; None while there is none.
        is_up: whether the broker accepted it.
        last_error: why there was none, or why the last one ended.
        state: what is to be said of it.
    """

    def __init__(
        self,
        config: DeviceConfig,
        rng: random.Random,
        listener: ConnectionListener,
        book: Book,
        session: str,
        wall_clock: Callable[[], float] = time.time,
        certificates: Certificates | None = None,
        waits: Waits = USUAL,
    ) -> None:
        self._wall_clock = wall_clock
        self._certificates = certificates
        self._waits = waits
        self._config = config
        self._listener = listener
        self._presence = OwnPresence(config, session, wall_clock)
        # Not every broker lets a device have them, and most of its work goes on without.
        own = config.topics.device(config.values.device, "certificate")
        self._dispensable = (self._presence.topic, own)
        self._history = BrokerHistory(config, rng)
        self._learnt = LearntLimits(
            book, self._history, self._presence, wall_clock, self._limits_changed
        )
        self._meter = TrafficMeter(config.values.policy.credit_max_chunks)
        self._next_s = 0.0
        self._up_since_s = 0.0
        self._has_progress = False
        self.link: Link | None = None
        self.is_up = False
        self.last_error: TransferFailed | None = None
        self.state = LinkState()

    @property
    def traffic(self) -> Traffic:
        """What went over all connections so far, MQTT's own bytes included."""
        return self._meter.total(self.link)

    @property
    def deadline_s(self) -> float | None:
        """When the next try is due; None while there is a connection."""
        return None if self.link is not None else self._next_s

    @property
    def useless_bytes(self) -> int:
        """What came of all brokers that nobody wanted."""
        return self._meter.useless_bytes

    def progressed(self, size_bytes: int = 0) -> None:
        """A chunk that was missing came: the link is worth being made anew soon when it is lost."""
        self._has_progress = True
        if self.link is not None:
            self._meter.budget.wanted(size_bytes)

    def wanted_came(self, size_bytes: int) -> None:
        """A message of so many bytes came that was wanted."""
        if self.link is not None:
            self._meter.budget.wanted(size_bytes)

    def notice_came(self, size_bytes: int, *, is_asked: bool) -> None:
        """A notice came: the one that a subscription asked for, or another."""
        if self.link is None:
            return
        if is_asked:
            self._meter.budget.asked_notice_came(size_bytes)
        else:
            self._meter.budget.unasked_notice_came(time.monotonic())

    def leave(self, error: TransferFailed) -> None:
        """Go to another broker, if there is one: this one does not give what is true."""
        if self.link is not None and self.link.error is None and self._has_others:
            self.link.error = error

    @property
    def _has_others(self) -> bool:
        return len(self._config.values.brokers) > 1

    # --- the loop's turns ---------------------------------------------------------------------

    def connect_due(self) -> None:
        """Try the next broker, if it is time to."""
        if self.link is None and time.monotonic() >= self._next_s:
            self._connect()

    def wait(self, waker: int, timeout_s: float) -> bool:
        """Sleep until the socket or the waker has something; serve the socket.

        Returns:
            Whether the waker has something to read.
        """
        link = self.link
        found = None if link is None else link.socket
        poll = select.poll()
        poll.register(waker, select.POLLIN)
        if link is not None and found is not None:
            poll.register(found, link.poll_events)
            if link.has_buffered():
                timeout_s = 0.0
        ready = dict(poll.poll(max(0.0, timeout_s) * 1000))
        if found is not None:
            self.serve(readable=bool(ready.get(found.fileno(), 0) & ~select.POLLOUT))
        return waker in ready

    def serve(self, *, readable: bool) -> None:
        """Read and write what can be, and keep the connection alive; call about every second.

        Args:
            readable: whether the socket was found to have something.
        """
        link = self.link
        if link is not None and link.socket is not None:
            self._serve_socket(link, readable=readable)

    def _serve_socket(self, link: Link, *, readable: bool) -> None:
        if readable or link.has_buffered():
            link.drop_at_most(self._meter.budget.left_bytes(time.monotonic()))
            link.read()
            self._count(link)
            if self.is_up and link.has_part:
                self._listener.bytes_arrived()
        if link.socket is not None and link.wants_write:
            link.write()
        if link.socket is not None:
            link.keep_alive()

    def _count(self, link: Link) -> None:
        """Count what came; hang up once too much of it was wanted by nobody."""
        error = self._meter.count(link, time.monotonic())
        if error is not None and link.error is None:
            link.error = error

    def check(self) -> None:
        """Notice that a connection was taken, or is gone."""
        link = self.link
        if link is None:
            return
        if link.accepted is not None and not self.is_up:
            self._connection_made(link)
        if link.error is not None or link.socket is None:
            self._drop_link(link.error or LinkDown(f"{link.broker.name}: connection lost"))

    def close(self) -> None:
        """Say goodbye, so that the presence says that this device is gone."""
        if self.link is not None:
            self.link.close((self._presence.topic, self._presence.message(online=False)))
            self._let_go(self.link)
        self.state.stopped(int(self._wall_clock()))

    # --- making one ---------------------------------------------------------------------------

    def _connect(self) -> None:
        broker = self._with_certificate(self._history.broker)
        self._meter.begin(broker.name)
        limits = self._learnt.known(broker.name)
        version, retained = self._history.way(broker, limits)
        try:
            link = Link(
                broker,
                self._config,
                f"slotcast-{self._config.values.device}",
                version,
                (self._presence.topic, self._presence.message(online=False)),
                self,
                limits=msgspec.structs.replace(limits, retained=retained),
                muted=self._history.muted_topics(broker.name, time.monotonic()),
                is_careful=self._history.is_careful(broker.name),
                waits=self._waits,
            )
            link.connect()
        except TransferFailed as exc:
            if isinstance(exc, BrokerRefused | HungUp):  # some hang up on a certificate
                self._was_not_let_in(broker)
            self._wait_after_loss(broker, exc)
            return
        self.link = link
        if self._history.shunned_until_s(broker.name):
            self._meter.budget.tried_again(time.monotonic())

    def _with_certificate(self, broker: BrokerConfig) -> BrokerConfig:
        if self._certificates is None:
            return broker
        return self._certificates.chosen(broker, self._wall_clock(), time.monotonic())

    def _was_not_let_in(self, broker: BrokerConfig) -> None:
        if self._certificates is not None:
            self._certificates.refused(broker, time.monotonic())

    def _was_let_in(self, broker: BrokerConfig) -> None:
        if self._certificates is None:
            return
        self._certificates.accepted(broker)
        self.state.showed(self._certificates.in_use)

    def connect_anew(self, why: str) -> None:
        """Leave the broker and connect to it again at once."""
        link = self.link
        if link is None or not self.is_up:
            return
        _LOG.info("%s: %s; connecting anew", link.broker.name, why)
        link.abandon()
        self._let_go(link)
        self._listener.connection_lost()
        self._next_s = time.monotonic()

    def _connection_made(self, link: Link) -> None:
        broker, accepted = link.broker, link.accepted
        if accepted is None:
            raise TypeError("a connection came up that no broker took")
        self.is_up = True
        self._up_since_s = time.monotonic()
        self._has_progress = False
        self._history.came_up(broker.name)
        self._learnt.learn_from_connack(link, accepted)
        _LOG.info("connected to %s (MQTT %s)", broker.name, link.version)
        self._was_let_in(broker)
        self.state.connected(
            broker.name,
            link.version,
            self.limits,
            mono_s=time.monotonic(),
            wall_s=int(self._wall_clock()),
        )
        is_in_doubt = self._history.is_suspicious(broker.name)
        if is_in_doubt and self._presence.may_ask(broker.name, time.monotonic()):
            link.subscribe((self._presence.topic,))
        link.publish(
            self._presence.topic,
            self._presence.message(online=True),
            retain=True,
            acked=lambda: self._presence.was_told(broker.name),
        )
        self._listener.connection_made(link, accepted.credit_chunks, self.limits)

    @property
    def limits(self) -> BrokerLimits:
        """What the present broker allows, as far as it is known."""
        return self._learnt.present(self.link)

    # --- what the link tells --------------------------------------------------------------------

    def message(self, topic: str, data: bytes) -> None:
        """Hand it on."""
        self._listener.message(topic, data)

    def subscription_answered(self, filters: int, took_s: float) -> None:
        """Hand it on."""
        self._listener.subscription_answered(filters, took_s)

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None:
        """Hand it on."""
        if not set(filters) <= set(self._dispensable):
            self._listener.subscription_unanswered(filters)

    def subscription_refused(self, refusal: Refusal) -> None:
        """Learn from it, and hand it on; with other brokers to go to, one that refuses is left."""
        link = self.link
        if link is None or refusal.filter in self._dispensable:
            return
        may_work = self._learnt.learn_from_refusal(link, refusal)
        self._listener.subscription_refused(refusal, is_final=not may_work)
        if may_work:
            return
        error = BrokerRefused(f"{refusal.text}; check its access rules")
        self.trouble(error)
        if self._has_others:
            link.error = error

    def trouble(self, error: TransferFailed) -> None:
        """Say what does not work on this connection."""
        if self.link is not None:
            _LOG.warning("%s: %s", error.reason, error)
            self.state.trouble(self.link.broker.name, error, int(self._wall_clock()))

    def learn_wildcards(self, messages_max: int) -> None:
        """Keep how many retained messages a filter with a wildcard was seen to bring."""
        if self.link is not None:
            self._learnt.learn_from_wildcard(self.link.broker.name, messages_max)

    def _limits_changed(self) -> None:
        if self.is_up and self.link is not None:
            self.state.limits_changed(self.limits)
            self._listener.limits_changed(self.limits)

    # --- losing one ---------------------------------------------------------------------------

    def _drop_link(self, error: TransferFailed) -> None:
        link = self.link
        if link is None:
            return
        was_up = self.is_up
        ending = link.ending()
        link.abandon()
        self._let_go(link)
        if was_up:
            self._listener.connection_lost()
            error, asks_otherwise = self._look_at_ending(link, ending, error)
        elif isinstance(error, SHUNNED_FOR):
            asks_otherwise = False
        else:
            self._was_not_let_in(link.broker)
            asks_otherwise = self._learnt.learn_from_hang_up(link)
        if asks_otherwise:
            self._ask_otherwise(link.broker, error)
        else:
            self._wait_after_loss(link.broker, error)

    def _look_at_ending(
        self, link: Link, ending: Ending, error: TransferFailed
    ) -> tuple[TransferFailed, bool]:
        """Note how a connection ended, and learn from it.

        Returns:
            As `LearntLimits.learn_from_ending`.
        """
        name, now_s = link.broker.name, time.monotonic()
        self._history.ended(
            name,
            now_s - self._up_since_s,
            has_progress=self._has_progress,
            is_lost=isinstance(error, LinkDown),
        )
        return self._learnt.learn_from_ending(name, ending, error, now_s)

    def _let_go(self, link: Link) -> None:
        self._meter.end(link)
        self.link = None
        self.is_up = False

    def _ask_otherwise(self, broker: BrokerConfig, error: TransferFailed) -> None:
        """Ask the same broker at once, in another way."""
        self.last_error = error
        self._next_s = time.monotonic()
        _LOG.info("%s: %s; asking in another way", broker.name, error)

    def _wait_after_loss(self, broker: BrokerConfig, error: TransferFailed) -> None:
        self.last_error = error
        now_s = time.monotonic()
        if isinstance(error, SHUNNED_FOR):
            until_s = self._history.shun(broker.name, now_s)
            self.state.left(broker.name, error, until_s)
        self._next_s = self._history.choose_next_broker(now_s + self._history.wait_s(error.reason))
        wait_s = self._next_s - now_s
        level = logging.WARNING if isinstance(error, LinkDown) else logging.ERROR
        _LOG.log(level, "%s: %s; trying again in %.1f s", error.reason, error, wait_s)
        self.state.lost(broker.name, error, time.monotonic(), int(self._wall_clock()))

    # --- presence -----------------------------------------------------------------------------

    def presence_came(self, data: bytes) -> None:
        """Look who spoke last under this device's id; asked for only where that is in doubt."""
        link = self.link
        if link is None or not self._presence.is_of_another(link.broker.name, data):
            return
        link.unsubscribe((self._presence.topic,))
        self._presence.note_twin(time.monotonic())
        error = id_in_use(link.broker.name)
        _LOG.error("%s: %s", error.reason, error)
        self.state.lost(link.broker.name, error, time.monotonic(), int(self._wall_clock()))
