"""The connection to a broker: paho-mqtt, driven from the agent's own loop, no threads.

One object is one connection; the agent makes the next. A broker that does not speak MQTT 5 is
asked in 3.1.1 at the next try; the messages are the same either way. Reading stops while the
agent is busy, so the broker, not this process, holds what cannot be taken yet.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from slotcast_device.link.packet_socket import PacketSocket
from slotcast_device.link.paho_client import PACKET_MAX_BYTES, make_client
from slotcast_schemas.errors import BrokerRefused, LinkDown, TransferFailed

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig

RECEIVE_MAXIMUM: Final = 512
_QUICK_ACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)
READS_MAX: Final = 64
"""Packets taken before the loop looks at anything else."""
RECEIPTS_TOGETHER: Final = 8
"""Packets whose receipts leave in one send: well below the 20 that Mosquitto has under way."""
ASKED_MAX: Final = 256
"""Subscriptions whose answer is watched; a broker that answers none must not make this grow."""
SUBSCRIBE_TRIES: Final = 8
"""For one filter, where the broker says only that it failed. A NATS cluster with a node down fails
one in three, for it may place a consumer on the dead one (docs/brokers.md)."""
_FAILED: Final = 0x80
_RETAIN_NOT_SUPPORTED: Final = 0x9A


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the broker said in its CONNACK, as far as it bounds us."""

    protocol: str
    credit_chunks: int
    packet_max_bytes: int


class Link:
    """One connection, from connect to loss.

    Args:
        broker: where to.
        config: TLS paths and waits.
        client_id: unique on the broker.
        version: protocol to speak, `5` or `3.1.1`.
        will: topic and retained payload that the broker publishes if we vanish.
        on_message: called with topic and payload; returning is the receipt (PUBACK).
        on_taken: called when the broker took a subscription, with the number of its filters and
            the time that it took beyond the round trip.
        retains: False for a broker that is known to keep no retained messages: none are sent.
    """

    def __init__(
        self,
        broker: BrokerConfig,
        config: DeviceConfig,
        client_id: str,
        version: str,
        will: tuple[str, bytes] | None,
        on_message: Callable[[str, bytes], None],
        on_taken: Callable[[int, float], None] = lambda _filters, _took_s: None,
        *,
        retains: bool = True,
    ) -> None:
        self.broker = broker
        self.retains = retains
        self.version = version
        self.accepted: Accepted | None = None
        self.error: TransferFailed | None = None
        self._on_message = on_message
        self._on_taken = on_taken
        self._asked: dict[int, tuple[tuple[str, ...], float]] = {}
        self._refusals: dict[str, int] = {}
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
            self._client.will_set(will[0], will[1], qos=1, retain=retains)

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

    def keep_alive(self) -> None:
        """Ping when due, and notice a broker that does not answer; call about every second.

        Brokers of MQTT 3.1.1 may answer a CONNECT of MQTT 5 with silence (amqtt 0.12 does).
        """
        self._ran(self._client.loop_misc())
        if self.accepted is None and self.error is None and time.monotonic() > self._answer_due_s:
            self.error = LinkDown(
                f"{self.broker.name}: no answer to CONNECT (MQTT {self.version}) within"
                f" {self._config.values.timing.connect_timeout_s:g} s"
            )

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say goodbye, so that no last will is published, and let go."""
        if self.socket is not None:
            if farewell is not None and self.accepted is not None:
                self.publish(farewell[0], farewell[1], retain=True)
            self._client.disconnect()
            self._ran(self._client.loop_write())

    def _ran(self, code: MQTTErrorCode) -> bool:
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS:
            return True
        if self.error is None:
            self.error = LinkDown(f"{self.broker.name}: connection lost ({code.name})")
        return False

    # --- what goes out --------------------------------------------------------------------------

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics at QoS 1."""
        if self._is_v5:
            options = [(f, SubscribeOptions(qos=1)) for f in filters]
            _, mid = self._client.subscribe(options)
        else:
            _, mid = self._client.subscribe([(f, 1) for f in filters])
        if mid is not None and len(self._asked) < ASKED_MAX:
            self._asked[mid] = (filters, time.monotonic())

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Let go of topics."""
        self._client.unsubscribe(list(filters))

    def publish(
        self,
        topic: str,
        data: bytes,
        *,
        retain: bool = False,
        acked: Callable[[], None] | None = None,
    ) -> bool:
        """Send at QoS 1; False where too much waits already: say it again later.

        Args:
            topic: where to.
            data: the message.
            retain: whether the broker, if it can, keeps it for those who come later.
            acked: called once the broker has it.
        """
        info = self._client.publish(topic, data, qos=1, retain=retain and self.retains)
        if acked is not None:
            self._on_acked[info.mid] = acked
        return info.rc in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN}

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
            self.retains = self.retains and reason.value != _RETAIN_NOT_SUPPORTED
            self.error = BrokerRefused(
                f"{self.broker.name}: the broker refused the connection: {reason};"
                " check user, password, certificate and the broker's rights"
            )
            return
        self.retains = self.retains and getattr(properties, "RetainAvailable", 1) != 0
        packet = getattr(properties, "MaximumPacketSize", 0) if properties else 0
        self.accepted = Accepted(
            protocol=self.version,
            credit_chunks=self._config.values.policy.credit_max_chunks,
            packet_max_bytes=packet or 2**28,
        )

    def _disconnected(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, flags, properties
        if self.error is None:
            self.error = LinkDown(f"{self.broker.name}: connection lost ({reason})")

    def _published(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, reason, properties
        acked = self._on_acked.pop(mid, None)
        if acked is not None:
            acked()

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
        failed = [reason for reason in reasons if reason.is_failure]
        if filters and not failed:
            took_s = time.monotonic() - asked_s - self._round_trip_s
            self._on_taken(len(filters), max(0.0, took_s))
        elif failed and not self._asks_again(filters, reasons):
            self.error = BrokerRefused(
                f"{self.broker.name}: the broker refused a subscription"
                f" ({', '.join(map(str, failed))}); check its access rules"
            )

    def _asks_again(self, filters: tuple[str, ...], reasons: list[ReasonCode]) -> bool:
        """Ask again for what failed without a reason, a few times; False where that is no use."""
        if len(filters) != len(reasons):
            return False
        failed = [f for f, reason in zip(filters, reasons, strict=True) if reason.is_failure]
        for name in failed:
            self._refusals[name] = self._refusals.get(name, 0) + 1
        is_reason = any(r.is_failure and r.value != _FAILED for r in reasons)
        if is_reason or max(self._refusals[name] for name in failed) >= SUBSCRIBE_TRIES:
            return False
        self.subscribe(tuple(failed))
        return True
