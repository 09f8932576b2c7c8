"""What this device sends on one connection, and what of it still waits for an answer.

A *careful* connection asks for one thing at a time, so that a broker which hangs up without a word
shows on what.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from slotcast_device.core.transfer.broker_limits import FAILED, Ending, Refusal

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.reasoncodes import ReasonCode

    from slotcast_device.core.transfer.broker_limits import BrokerLimits
    from slotcast_device.link.listeners import LinkListener

ASKED_MAX: Final = 256
"""The most subscriptions whose answer is watched; a broker that answers none must not make this
grow."""
SUBSCRIBE_TRIES: Final = 8
"""The number of times that one filter is asked for where the broker says only that it failed. A
NATS cluster with a node down fails one in three, for it may place a consumer on the dead one
(docs/brokers.md)."""
ANSWER_WAIT_S: Final = 20.0
"""The seconds after which a SUBSCRIBE counts as unanswered; eight filters took NATS 16 s."""
_UNACKED_MAX: Final = 512
"""The most messages of ours without a receipt that are remembered."""
_REFUSALS_MAX: Final = 64
"""The most topics that are remembered because the broker refuses messages on them."""
_HEADER_BYTES: Final = 16
"""What a PUBLISH has beside topic and message, in bytes: fixed header, lengths, packet id, no
properties."""
_LOG: Final = logging.getLogger("slotcast.device")


class _Unacked(msgspec.Struct, frozen=True):
    """A message of ours without a receipt."""

    topic: str
    size_bytes: int
    is_retained: bool


class Outbox:
    """Sends, and matches what the broker answers.

    Args:
        broker: its name, for the log.
        client: paho's client, which has the connection.
        listener: told what the broker says to a SUBSCRIBE; None once nobody wants to know.
        is_v5: whether the connection speaks MQTT 5.
        limits: what the broker is known to allow.
        muted: topics that this broker was found to hang up on; nothing is published there.
        is_careful: ask for one thing at a time.

    Attributes:
        held: filters that the broker took.
        publish_refusals: topics that the broker refuses messages on, with what it said.
        packet_max_bytes: the largest packet that this broker takes, as far as is known.
        retains: whether the broker keeps retained messages, as far as is known.
        round_trip_s: how long an answer takes at least.
    """

    def __init__(
        self,
        broker: str,
        client: Client,
        listener: LinkListener | None,
        *,
        is_v5: bool,
        limits: BrokerLimits,
        muted: frozenset[str],
        is_careful: bool,
    ) -> None:
        self._broker = broker
        self._client = client
        self._listener = listener
        self._is_v5 = is_v5
        self._muted = muted
        self._is_careful = is_careful
        self._asked: dict[int, tuple[tuple[str, ...], float]] = {}
        self._late: set[int] = set()
        self._unacked: dict[int, _Unacked] = {}
        self._on_acked: dict[int, Callable[[], None]] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._refusals: dict[str, int] = {}
        self._warned: set[str] = set()
        self.held: set[str] = set()
        self.publish_refusals: dict[str, str] = {}
        self.packet_max_bytes = limits.packet_max_bytes
        self.retains = limits.retained
        self.round_trip_s = 0.0

    def accepted(self, packet_max_bytes: int, *, retains: bool) -> None:
        """Keep to what the broker said in its CONNACK."""
        self.packet_max_bytes = min(self.packet_max_bytes, packet_max_bytes)
        self.retains = self.retains and retains

    def hurry(self) -> None:
        """Tell nobody of answers any more, and let nothing wait for another's answer."""
        self._listener = None
        self._is_careful = False

    def let_go(self) -> None:
        """Tell nobody of answers any more."""
        self._listener = None

    # --- sending --------------------------------------------------------------------------------

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics at QoS 1."""
        self._send_or_queue(lambda: self._subscribe(filters))

    def _subscribe(self, filters: tuple[str, ...]) -> None:
        if self._is_v5:
            options = [(f, SubscribeOptions(qos=1)) for f in filters]
            _, mid = self._client.subscribe(options)
        else:
            _, mid = self._client.subscribe([(f, 1) for f in filters])
        if mid is not None and len(self._asked) < ASKED_MAX:
            self._asked[mid] = (filters, time.monotonic())

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Let go of topics."""
        self.held.difference_update(filters)
        self._send_or_queue(lambda: self._unsubscribe(filters))

    def _unsubscribe(self, filters: tuple[str, ...]) -> None:
        self._client.unsubscribe(list(filters))
        self._send_next()

    def publish(
        self,
        topic: str,
        data: bytes,
        *,
        retain: bool = False,
        acked: Callable[[], None] | None = None,
    ) -> bool:
        """Send at QoS 1; False where too much waits already: say it again later.

        What this broker is known not to take is not sent, and never acknowledged.

        Args:
            topic: where to.
            data: the message.
            retain: whether the broker, if it can, keeps it for those who come later.
            acked: called once the broker has it.
        """
        size_bytes = len(topic) + len(data) + _HEADER_BYTES
        if size_bytes > self.packet_max_bytes:
            self._warn_once(
                f"{self._broker}: not sent, since the broker takes packets of at most"
                f" {self.packet_max_bytes} bytes: {topic} ({size_bytes} bytes)"
            )
            return True
        if topic in self._muted:
            return True
        if self._is_careful:
            self._send_or_queue(lambda: self._publish_later(topic, data, retain, acked))
            return True
        return self._publish(topic, data, retain, acked)

    def _publish(
        self,
        topic: str,
        data: bytes,
        retain: bool,  # noqa: FBT001 - handed on by `publish`
        acked: Callable[[], None] | None,
    ) -> bool:
        is_retained = retain and self.retains
        info = self._client.publish(topic, data, qos=1, retain=is_retained)
        if acked is not None:
            self._on_acked[info.mid] = acked
        if len(self._unacked) < _UNACKED_MAX:
            size_bytes = len(topic) + len(data) + _HEADER_BYTES
            self._unacked[info.mid] = _Unacked(topic, size_bytes, is_retained)
        return info.rc in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN}

    def _publish_later(
        self,
        topic: str,
        data: bytes,
        retain: bool,  # noqa: FBT001 - handed on by `publish`
        acked: Callable[[], None] | None,
    ) -> None:
        self._publish(topic, data, retain, acked)

    def _send_or_queue(self, send: Callable[[], None]) -> None:
        """Send now; on a careful connection once nothing else waits for an answer."""
        if self._is_careful and (self._waiting or self._has_outstanding()):
            self._waiting.append(send)
        else:
            send()

    def _send_next(self) -> None:
        while self._waiting and not self._has_outstanding():
            self._waiting.popleft()()

    def _has_outstanding(self) -> bool:
        return bool(self._unacked) or len(self._asked) > len(self._late)

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("%s", text)

    def ending(self, code: int | None) -> Ending:
        """Say what still waited for an answer when the connection ended, with this reason code."""
        asked = max((filters for filters, _ in self._asked.values()), key=len, default=())
        unacked = max(self._unacked.values(), key=lambda sent: sent.size_bytes, default=None)
        return Ending(
            code=code,
            filters=asked,
            topic="" if unacked is None else unacked.topic,
            size_bytes=0 if unacked is None else unacked.size_bytes,
            is_retained=unacked is not None and unacked.is_retained,
            is_single=self._is_careful and len(self._asked) + len(self._unacked) == 1,
        )

    # --- answers --------------------------------------------------------------------------------

    def published(self, mid: int, reason: ReasonCode) -> None:
        """The broker has a message, or refused it."""
        sent = self._unacked.pop(mid, None)
        if sent is not None and reason.is_failure:
            text = f"may not publish {sent.topic}: {reason}"
            if len(self.publish_refusals) < _REFUSALS_MAX:
                self.publish_refusals[sent.topic] = text
            self._warn_once(f"{self._broker}: {text}")
        acked = self._on_acked.pop(mid, None)
        if acked is not None:
            acked()
        self._send_next()

    def subscribed(self, mid: int, reasons: list[ReasonCode]) -> None:
        """The broker answered a SUBSCRIBE, filter by filter."""
        filters, asked_s = self._asked.pop(mid, ((), 0.0))
        self._late.discard(mid)
        answers = list(zip(filters, reasons, strict=False))
        failed = [(name, reason) for name, reason in answers if reason.is_failure]
        self.held.update({name for name, _ in answers}.difference(name for name, _ in failed))
        if filters and not failed:
            took_s = time.monotonic() - asked_s - self.round_trip_s
            if self._listener is not None:
                self._listener.subscription_answered(len(filters), max(0.0, took_s))
        again = tuple(name for name, reason in failed if self._may_ask_again(name, reason))
        if again:
            self.subscribe(again)
        for name, reason in failed:
            if name not in again and self._listener is not None:
                text = f"{self._broker}: the broker refused {name}: {reason}"
                self._listener.subscription_refused(Refusal(name, reason.value, text))
        self._send_next()

    def _may_ask_again(self, name: str, reason: ReasonCode) -> bool:
        """Whether a filter failed without a reason, and not too often yet."""
        self._refusals[name] = self._refusals.get(name, 0) + 1
        return bool(reason.value == FAILED) and self._refusals[name] < SUBSCRIBE_TRIES

    def look_for_unanswered(self) -> None:
        """Say of a SUBSCRIBE that has no answer for long, once; then do not wait for it."""
        due_s = time.monotonic() - ANSWER_WAIT_S
        for mid, (filters, asked_s) in list(self._asked.items()):
            if asked_s < due_s and mid not in self._late and self._listener is not None:
                self._late.add(mid)
                self._listener.subscription_unanswered(filters)
                self._send_next()
