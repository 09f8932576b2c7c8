"""Keeping a connection: which broker next, in which protocol, after which wait.

Several brokers are tried in order, again and again, with jittered waits that grow; a connection
that lasted, or that brought a notice, makes the next wait short again. Who is told what on a new
connection is the agent's business.
"""

from __future__ import annotations

import logging
import random
import select
import time
from typing import TYPE_CHECKING, Final, Protocol

from slotcast_device.core.backoff import Backoff
from slotcast_device.link.link import Link
from slotcast_schemas import wire
from slotcast_schemas.errors import BrokerRefused, LinkDown, TransferFailed
from slotcast_schemas.messages import Presence

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig

_LOG: Final = logging.getLogger("slotcast.device")
_STABLE_S: Final = 30.0


class Listener(Protocol):
    """Who is told of the connection."""

    def came_up(self, link: Link, credit_chunks: int) -> None:
        """A broker took the connection; nothing is subscribed on it yet."""

    def went_down(self) -> None:
        """The connection is gone, and with it every subscription."""

    def message(self, topic: str, data: bytes) -> None:
        """A message came; returning is the receipt."""

    def heard(self) -> None:
        """Bytes came."""

    def taken(self, filters: int, took_s: float) -> None:
        """The broker took a subscription, in this time beyond the round trip."""


class Connection:
    """The one connection of this device, made anew whenever it is lost.

    Attributes:
        link: the present connection; None while there is none.
        is_up: whether the broker accepted it.
        last_error: why there was none, or why the last one ended.
    """

    def __init__(self, config: DeviceConfig, rng: random.Random, listener: Listener) -> None:
        self._config = config
        self._listener = listener
        timing = config.values.timing
        self._backoff = Backoff(rng, timing.reconnect_first_s, timing.reconnect_cap_s)
        self._next_s = 0.0
        self._up_since_s = 0.0
        self._broker_index = 0
        self._versions: dict[str, str] = {}
        self._keeps_nothing: set[str] = set()
        self.link: Link | None = None
        self.is_up = False
        self.last_error: TransferFailed | None = None

    @property
    def deadline_s(self) -> float | None:
        """When the next try is due; None while there is a connection."""
        return None if self.link is not None else self._next_s

    def works(self) -> None:
        """The connection proved useful: wait little when it is lost."""
        self._backoff.reset()

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
        if link is not None and found is not None:
            self._serve(link, readable=bool(ready.get(found.fileno(), 0) & ~select.POLLOUT))
        return waker in ready

    def _serve(self, link: Link, *, readable: bool) -> None:
        if readable or link.has_buffered():
            link.read()
            if self.is_up:
                self._listener.heard()
        if link.socket is not None and link.wants_write:
            link.write()
        if link.socket is not None:
            link.keep_alive()

    def check(self) -> None:
        """Notice that a connection was taken, or is gone."""
        link = self.link
        if link is None:
            return
        if link.error is not None or link.socket is None:
            self._drop(link.error or LinkDown(f"{link.broker.name}: connection lost"))
        elif link.accepted is not None and not self.is_up:
            self.is_up = True
            self._up_since_s = time.monotonic()
            self._versions[link.broker.url] = link.version
            _LOG.info("connected to %s (MQTT %s)", link.broker.name, link.version)
            link.publish(self._presence_topic, self._presence(online=True), retain=True)
            self._listener.came_up(link, link.accepted.credit_chunks)
        if self.is_up and time.monotonic() - self._up_since_s > _STABLE_S:
            self._backoff.reset()

    def close(self) -> None:
        """Say goodbye, so that no last will is published."""
        if self.link is not None:
            self.link.close((self._presence_topic, self._presence(online=False)))
            self.link = None

    # --- making and losing one ----------------------------------------------------------------

    def _connect(self) -> None:
        brokers = self._config.values.brokers
        broker = brokers[self._broker_index % len(brokers)]
        version = self._versions.get(
            broker.url, "5" if broker.protocol == "auto" else broker.protocol
        )
        will = (self._presence_topic, self._presence(online=False))
        client_id = f"slotcast-{self._config.values.device}"
        try:
            link = Link(
                broker,
                self._config,
                client_id,
                version,
                will,
                self._listener.message,
                self._listener.taken,
                retains=broker.retained and broker.url not in self._keeps_nothing,
            )
            link.connect()
        except TransferFailed as exc:
            self._lost(exc)
            return
        self.link = link

    def _drop(self, error: TransferFailed) -> None:
        link, self.link = self.link, None
        was_up, self.is_up = self.is_up, False
        if link is not None:
            self._learn(link)
            link.close()
        if was_up:
            self._listener.went_down()
        self._lost(error)

    def _learn(self, link: Link) -> None:
        """Ask otherwise the next time, where the broker did not even take the connection.

        One that keeps no retained messages refuses a last will that is one (MQTT 5, 3.2.2.3.5);
        one that hung up on MQTT 5 before it answered is asked in 3.1.1.
        """
        if not link.retains:
            self._keeps_nothing.add(link.broker.url)
        elif link.accepted is None and link.broker.protocol == "auto":
            self._versions[link.broker.url] = "3.1.1" if link.version == "5" else "5"

    def _lost(self, error: TransferFailed) -> None:
        self.last_error = error
        self._broker_index += 1
        wait_s = self._backoff.next_s()
        self._next_s = time.monotonic() + wait_s
        level = logging.ERROR if isinstance(error, BrokerRefused) else logging.WARNING
        _LOG.log(level, "%s: %s; trying again in %.1f s", error.reason, error, wait_s)

    # --- presence -----------------------------------------------------------------------------

    @property
    def _presence_topic(self) -> str:
        return self._config.topics.device(self._config.values.device, "presence")

    def _presence(self, *, online: bool) -> bytes:
        device = self._config.values.device
        return wire.encode(Presence(device=device, online=online, time=int(time.time())))
