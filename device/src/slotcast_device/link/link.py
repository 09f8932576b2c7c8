"""The connection to a broker: paho-mqtt, driven from the agent's own loop, no threads.

One object is one connection; `connection` makes the next, and decides what to make of what this one
reports: which filters were refused, what waited for an answer when it ended. Reading stops while
the agent is busy, so the broker, not this process, holds what cannot be taken yet.

A *careful* connection asks for one thing at a time, so that a broker which hangs up without a word
shows on what.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from slotcast_device.core.transfer.broker_limits import (
    FAILED,
    TAKEN_OVER,
    UNBOUNDED,
    BrokerLimits,
    Ending,
    Refusal,
)
from slotcast_device.link.packet_socket import PacketSocket
from slotcast_device.link.paho_client import PACKET_MAX_BYTES, make_client
from slotcast_schemas.errors import BrokerRefused, IdInUse, LinkDown, TransferFailed

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig

RECEIVE_MAXIMUM: Final = 512
"""The most messages without a receipt that a broker may have under way to us (MQTT 5,
3.1.2.11.3)."""
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
"""Linux's socket option to send TCP's receipts at once (tcp(7)); None where the system has none."""
READS_MAX: Final = 64
"""The most packets that are taken before the loop looks at anything else."""
RECEIPTS_TOGETHER: Final = 8
"""The number of packets whose receipts leave in one send: well below the 20 that Mosquitto has
under way."""
ASKED_MAX: Final = 256
"""The most subscriptions whose answer is watched; a broker that answers none must not make this
grow."""
SUBSCRIBE_TRIES: Final = 8
"""The number of times that one filter is asked for where the broker says only that it failed. A
NATS cluster with a node down fails one in three, for it may place a consumer on the dead one
(docs/brokers.md)."""
ANSWER_WAIT_S: Final = 20.0
"""The seconds after which a SUBSCRIBE counts as unanswered; eight filters took NATS 16 s."""
GOODBYE_WAIT_S: Final = 1.0
"""The seconds to wait for the receipt of the farewell before the connection is let go of."""
_UNACKED_MAX: Final = 512
"""The most messages of ours without a receipt that are remembered."""
_REFUSALS_MAX: Final = 64
"""The most topics that are remembered because the broker refuses messages on them."""
_HEADER_BYTES: Final = 16
"""What a PUBLISH has beside topic and message, in bytes: fixed header, lengths, packet id, no
properties."""
_HINTS: Final = {
    0x9B: "it offers no QoS 1, which is needed",
    0x85: "it does not take this device's id as a client id",
    0x89: "it is asked again later",
}
"""What to do about a CONNACK, by its reason code."""
_LOG: Final = logging.getLogger("slotcast.device")


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker said in its CONNACK, as far as it bounds us."""

    protocol: str
    credit_chunks: int
    packet_max_bytes: int
    retains: bool = True
    has_wildcards: bool = True


class LinkListener(Protocol):
    """Who is told what comes on a connection."""

    def message(self, topic: str, data: bytes) -> None:
        """A message came; returning is the receipt (PUBACK)."""

    def subscription_answered(self, filters: int, took_s: float) -> None:
        """The broker took a subscription, in this time beyond the round trip."""

    def subscription_refused(self, refusal: Refusal) -> None:
        """The broker refused a filter for good."""

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None:
        """A SUBSCRIBE got no answer for long."""


@dataclass(frozen=True, slots=True)
class _Unacked:
    """A message of ours without a receipt."""

    topic: str
    size_bytes: int
    is_retained: bool


class Link:
    """One connection, from connect to loss.

    Args:
        broker: where to.
        config: TLS paths and waits.
        client_id: unique on the broker.
        version: protocol to speak, `5` or `3.1.1`.
        will: topic and payload that the broker publishes if we vanish.
        listener: told what comes.
        limits: what the broker is known to allow.
        muted: topics that this broker was found to hang up on; nothing is published there.
        is_careful: ask for one thing at a time.

    Attributes:
        accepted: what the broker said when it took the connection; None before.
        error: why the connection is over.
        refused_code: the reason code of a CONNACK that refused; None without one.
        held: filters that the broker took.
        publish_refusals: topics that the broker refuses messages on, with what it said.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        config: DeviceConfig,
        client_id: str,
        version: str,
        will: tuple[str, bytes] | None,
        listener: LinkListener,
        *,
        limits: BrokerLimits | None = None,
        muted: frozenset[str] = frozenset(),
        is_careful: bool = False,
    ) -> None:
        limits = limits or BrokerLimits()
        self.broker = broker
        self.retains = limits.retained
        self.version = version
        self.accepted: Accepted | None = None
        self.error: TransferFailed | None = None
        self.refused_code: int | None = None
        self.held: set[str] = set()
        self.publish_refusals: dict[str, str] = {}
        self._packet_max_bytes = limits.packet_max_bytes
        self._muted = muted
        self._is_careful = is_careful
        self._listener: LinkListener | None = listener
        self._on_message: Callable[[str, bytes], None] = listener.message
        self._asked: dict[int, tuple[tuple[str, ...], float]] = {}
        self._late: set[int] = set()
        self._unacked: dict[int, _Unacked] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._refusals: dict[str, int] = {}
        self._warned: set[str] = set()
        self._closed_code: int | None = None
        self._round_trip_s = 0.0
        self._on_acked: dict[int, Callable[[], None]] = {}
        self._answer_due_s = 0.0
        self._is_v5 = version == "5"
        self._config = config
        self._client = make_client(broker, config, client_id, is_v5=self._is_v5)
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_publish = self._published
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=self.retains)

    # --- the life of a connection -------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection and send CONNECT; the answer comes to `accepted` or `error`.

        Raises:
            LinkDown: nobody answers there.
            BrokerRefused: somebody does, and TLS fails.
        """
        timing = self._config.values.timing
        began_s = time.monotonic()
        try:
            if self._is_v5:
                properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho
                properties.ReceiveMaximum = RECEIVE_MAXIMUM
                properties.MaximumPacketSize = PACKET_MAX_BYTES
                self._client.connect(
                    self.broker.host,
                    self.broker.port,
                    timing.keepalive_s,
                    clean_start=True,
                    properties=properties,
                )
            else:
                self._client.connect(self.broker.host, self.broker.port, timing.keepalive_s)
        except ssl.SSLError as exc:
            raise BrokerRefused(f"{self.broker.name}: TLS failed: {exc}") from exc
        except (OSError, ValueError) as exc:
            raise LinkDown(f"{self.broker.name}: cannot connect: {exc}") from exc
        self._answer_at_once()
        # Opening takes one round trip, or a few with TLS: an upper bound is what is needed here.
        self._round_trip_s = time.monotonic() - began_s
        self._answer_due_s = time.monotonic() + timing.connect_timeout_s

    def _answer_at_once(self) -> None:
        """Keep Nagle's algorithm and delayed receipts from waiting for each other (RFC 1122).

        A SUBSCRIBE is small and its answer begins small: on both sides each such step would
        otherwise wait some 40 ms for the other's TCP receipt. Measured on loopback: the first
        chunk came 150 ms after the plan, and comes after 20.
        """
        found = self.socket
        if found is not None:
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._receipt_at_once()

    def _receipt_at_once(self) -> None:
        found = self.socket
        if _QUICK_ACK is not None and found is not None:
            found.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    @property
    def socket(self) -> socket.socket | None:
        """The socket to wait on; None once the connection is gone."""
        found = self._packets
        return None if found is None else found.real

    @property
    def _packets(self) -> PacketSocket | None:
        found = self._client.socket()
        return found if isinstance(found, PacketSocket) else None

    @property
    def poll_events(self) -> int:
        """What to wait for on the socket, as `select.poll` has it."""
        found = self._packets
        reads = found is None or not found.is_choked
        return (select.POLLIN if reads else 0) | (select.POLLOUT if self.wants_write else 0)

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be sent."""
        found = self._packets
        return self._client.want_write() or (found is not None and found.has_unsent)

    def read(self) -> None:
        """Take what has come, packet by packet, up to a bound."""
        packets = self._packets
        before = 0 if packets is None else packets.received_bytes
        for _ in range(READS_MAX // RECEIPTS_TOGETHER):
            if not self._read_some():
                break
        if packets is not None and packets.received_bytes > before:
            self._client.note_bytes()
        self._receipt_at_once()  # Linux forgets it, tcp(7)

    def _read_some(self) -> bool:
        """Take a few packets, then send their receipts; False once nothing more has come."""
        found = self._packets
        if found is None:
            return False
        with found.gathering():
            for _ in range(RECEIPTS_TOGETHER):
                if not (found.fill() and self._take(found)):
                    break
        self._flush()
        return self.error is None and found.has_packet()

    def _take(self, packets: PacketSocket) -> bool:
        """Take the packet that came; the receipt of a message follows once it is dealt with."""
        came = packets.publication()
        if came is None:
            return self._ran(self._client.loop_read())
        self._on_message(came.topic, came.data)
        if came.packet_id is not None:
            packets.acknowledge(came.packet_id)
        return True

    def write(self) -> None:
        """Send what waits."""
        self._flush()
        self._ran(self._client.loop_write())

    def _flush(self) -> None:
        found = self._packets
        try:
            if found is not None:
                found.flush()
        except OSError as exc:
            if self.error is None:
                self.error = LinkDown(f"{self.broker.name}: connection lost ({exc})")

    def wait(self, timeout_s: float) -> None:
        """Serve the connection for a while; for callers without a loop of their own."""
        found = self.socket
        if found is None:
            return
        poll = select.poll()
        poll.register(found, self.poll_events)
        ready = dict(poll.poll(timeout_s * 1000)).get(found.fileno(), 0)
        if ready & ~select.POLLOUT or self.has_buffered():
            self.read()
        if ready & select.POLLOUT and self.socket is not None:
            self.write()

    def has_buffered(self) -> bool:
        """Whether bytes were read, by us or TLS, that the socket would not announce any more."""
        found = self._packets
        if found is None or found.is_choked:
            return False
        real = found.real
        return found.has_packet() or (isinstance(real, ssl.SSLSocket) and real.pending() > 0)

    @property
    def has_part(self) -> bool:
        """Whether a packet has begun to come, however slowly."""
        found = self._packets
        return found is not None and found.has_part

    def keep_alive(self) -> None:
        """Ping when due, and notice a broker that does not answer; call about every second.

        Brokers of MQTT 3.1.1 may answer a CONNECT of MQTT 5 with silence (amqtt 0.12 does).
        """
        self._ran(self._client.loop_misc())
        self._look_for_unanswered()
        if self.accepted is None and self.error is None and time.monotonic() > self._answer_due_s:
            self.error = LinkDown(
                f"{self.broker.name}: no answer to CONNECT (MQTT {self.version}) within"
                f" {self._config.values.timing.connect_timeout_s:g} s"
            )

    def _look_for_unanswered(self) -> None:
        """Say of a SUBSCRIBE that has no answer for long, once; then do not wait for it."""
        due_s = time.monotonic() - ANSWER_WAIT_S
        for mid, (filters, asked_s) in list(self._asked.items()):
            if asked_s < due_s and mid not in self._late and self._listener is not None:
                self._late.add(mid)
                self._listener.subscription_unanswered(filters)
                self._send_next()

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say goodbye and let go.

        The farewell is sent first, and only once the broker has it the DISCONNECT after which no
        last will is published; otherwise the connection just ends, and the will says the same.
        """
        self._on_message = _ignore
        self._listener = None
        if self.socket is None or self.accepted is None or farewell is None:
            self._disconnect()
            return
        self._is_careful = False
        told: list[bool] = []
        self.publish(farewell[0], farewell[1], retain=True, acked=lambda: told.append(True))
        due_s = time.monotonic() + GOODBYE_WAIT_S
        while not told and self.error is None and time.monotonic() < due_s:
            self.wait(due_s - time.monotonic())
        if told:
            self._disconnect()
        else:
            self.abandon()

    def _disconnect(self) -> None:
        if self.socket is not None:
            self._client.disconnect()
            self._ran(self._client.loop_write())

    def abandon(self) -> None:
        """Hang up without a goodbye: the broker publishes the last will, as for a lost link."""
        self._listener = None
        found = self._packets
        if found is not None:
            found.close()

    def _ran(self, code: MQTTErrorCode) -> bool:
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return True
        if self.error is None:
            self.error = LinkDown(f"{self.broker.name}: connection lost ({code.name})")
        return False

    # --- what goes out --------------------------------------------------------------------------

    @property
    def packet_max_bytes(self) -> int:
        """The largest packet that this broker takes, as far as is known."""
        said = UNBOUNDED if self.accepted is None else self.accepted.packet_max_bytes
        return min(said, self._packet_max_bytes)

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics at QoS 1."""
        self._one_by_one(lambda: self._subscribe(filters))

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
        self._one_by_one(lambda: self._unsubscribe(filters))

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
                f"{self.broker.name}: not sent, since the broker takes packets of at most"
                f" {self.packet_max_bytes} bytes: {topic} ({size_bytes} bytes)"
            )
            return True
        if topic in self._muted:
            return True
        if self._is_careful:
            self._one_by_one(lambda: self._publish_later(topic, data, retain, acked))
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

    def _one_by_one(self, send: Callable[[], None]) -> None:
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

    def ending(self) -> Ending:
        """Say how this connection ended, and what still waited for an answer then."""
        asked = max((filters for filters, _ in self._asked.values()), key=len, default=())
        unacked = max(self._unacked.values(), key=lambda sent: sent.size_bytes, default=None)
        return Ending(
            code=self._closed_code,
            filters=asked,
            topic="" if unacked is None else unacked.topic,
            size_bytes=0 if unacked is None else unacked.size_bytes,
            is_retained=unacked is not None and unacked.is_retained,
            is_single=self._is_careful and len(self._asked) + len(self._unacked) == 1,
        )

    # --- what comes in --------------------------------------------------------------------------

    def _connected(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, flags
        if reason.is_failure:
            self.refused_code = reason.value
            hint = _HINTS.get(reason.value, "check user, password, certificate and its rights")
            self.error = BrokerRefused(
                f"{self.broker.name}: the broker refused the connection: {reason}; {hint}"
            )
            return
        said = vars(properties) if properties is not None else {}
        self.retains = self.retains and said.get("RetainAvailable", 1) != 0
        self.accepted = Accepted(
            protocol=self.version,
            credit_chunks=self._config.values.policy.credit_max_chunks,
            packet_max_bytes=said.get("MaximumPacketSize", UNBOUNDED),
            retains=self.retains,
            has_wildcards=said.get("WildcardSubscriptionAvailable", 1) != 0,
        )

    def _disconnected(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        if flags.is_disconnect_packet_from_server:
            self._closed_code = reason.value
        if self.error is not None:
            return
        if self._closed_code == TAKEN_OVER:
            self.error = IdInUse(
                f"{self.broker.name}: another client connects with this device's id; give each"
                " device its own (`slotcast provision`), and run it once"
            )
        else:
            self.error = LinkDown(f"{self.broker.name}: connection lost ({reason})")

    def _published(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        sent = self._unacked.pop(mid, None)
        if sent is not None and reason.is_failure:
            text = f"may not publish {sent.topic}: {reason}"
            if len(self.publish_refusals) < _REFUSALS_MAX:
                self.publish_refusals[sent.topic] = text
            self._warn_once(f"{self.broker.name}: {text}")
        acked = self._on_acked.pop(mid, None)
        if acked is not None:
            acked()
        self._send_next()

    def _subscribed(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        filters, asked_s = self._asked.pop(mid, ((), 0.0))
        self._late.discard(mid)
        answers = list(zip(filters, reasons, strict=False))
        self.held.update(name for name, reason in answers if not reason.is_failure)
        failed = [(name, reason) for name, reason in answers if reason.is_failure]
        if filters and not failed:
            took_s = time.monotonic() - asked_s - self._round_trip_s
            if self._listener is not None:
                self._listener.subscription_answered(len(filters), max(0.0, took_s))
        again = tuple(name for name, reason in failed if self._may_ask_again(name, reason))
        if again:
            self.subscribe(again)
        for name, reason in failed:
            if name not in again and self._listener is not None:
                text = f"{self.broker.name}: the broker refused {name}: {reason}"
                self._listener.subscription_refused(Refusal(name, reason.value, text))
        self._send_next()

    def _may_ask_again(self, name: str, reason: ReasonCode) -> bool:
        """Whether a filter failed without a reason, and not too often yet."""
        self._refusals[name] = self._refusals.get(name, 0) + 1
        return bool(reason.value == FAILED) and self._refusals[name] < SUBSCRIBE_TRIES


def _ignore(_topic: str, _data: bytes) -> None:
    """What comes while we say goodbye; the next connection brings it again."""
