"""One connection to one broker: what was acknowledged, what arrived, what was lost.

A thin shell around paho: its callbacks become events in one queue, so that everything else is
plain code in one thread. MQTT 5 where the broker has it, 3.1.1 where it does not.
"""

from __future__ import annotations

import queue
import secrets
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from slotcast_publisher.delivery.arrived_room import ArrivedRoom
from slotcast_publisher.delivery.link_events import (
    Acked,
    Arrived,
    Event,
    Lost,
    Subscribed,
    Unsubscribed,
)
from slotcast_publisher.delivery.packet_ids import PacketIds
from slotcast_publisher.delivery.paho_client import Client, Take
from slotcast_publisher.settings import Broker
from slotcast_schemas.broker import BrokerAddress, describe_hang_up, explain_unopened, tls_context
from slotcast_schemas.errors import BrokerRefused, LinkDown, UsageError

WINDOW_MAX: Final = 20
"""The most messages on their way at once: Mosquitto's default, 640 KB of chunks."""

KEEPALIVE_S: Final = 30
"""The seconds of silence after which a ping goes to the broker (MQTT's keep alive)."""

_HEADER_BYTES: Final = 16
"""What a PUBLISH has beside topic and data: fixed header, topic length, packet id and an empty
property list, with room to spare."""

_VERSIONS: Final = {"5": paho.MQTTv5, "3.1.1": paho.MQTTv311}
_CALLBACKS: Final = (
    *("on_connect", "on_disconnect", "on_publish", "on_subscribe", "on_unsubscribe"),
    "on_message",
)
"""What paho's client holds of us; and `take`."""
_FAILURE: Final = 0x80
"""The least reason code that says no (MQTT 5, 2.4)."""

_UNSUPPORTED_VERSION: Final = 0x84
"""The reason code of a CONNACK (MQTT 5, 3.2.2.2); paho gives it for 3.1.1's return code 1 too."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """Where messages go that are many.

    Attributes:
        take: takes each in paho's thread, in place of an `Arrived`.
        in_flight_max: messages that the broker may send before the first is acknowledged (MQTT 5's
            receive maximum).
    """

    take: Take
    in_flight_max: int


@dataclass(frozen=True, slots=True)
class ConnectWaits:
    """How long a connection is waited for.

    Attributes:
        answer_s: the seconds for a connection, and for the answer to CONNECT.
        other_protocol_s: the seconds after which a broker that says nothing to MQTT 5 is asked in
            MQTT 3.1.1.
    """

    answer_s: float = 20.0
    other_protocol_s: float = 10.0


USUAL_WAITS: Final = ConnectWaits()


class PacketTooLarge(BrokerRefused):
    """The broker said how large a packet may be, and this one is larger."""


class OtherProtocol(BrokerRefused):
    """The broker may speak an older protocol than the one that it was asked in."""


@dataclass(frozen=True, slots=True)
class _Connected:
    reason: ReasonCode
    properties: Properties | None


@dataclass(frozen=True, slots=True)
class _Broken:
    """What was not expected of who takes messages; it ends paho's thread."""

    error: BaseException


class BrokerLink:
    """An open connection.

    Attributes:
        name: the broker, for messages.
        protocol: `5` or `3.1.1`.
        window: messages that may be on their way at once.
        packet_max_bytes: what the broker takes, or None if it does not say.
        retains: False where the broker says that it keeps no retained messages.
        wildcards: False where the broker says that it serves no wildcard subscriptions.
        shares: False where subscriptions cannot be shared: before MQTT 5, or by the broker's word.
        dropped: messages that came faster than they were looked at.
    """

    def __init__(
        self,
        broker: Broker,
        base: Path,
        protocol: str,
        *,
        needs_retained: bool = True,
        inbound: Inbound | None = None,
        room: ArrivedRoom | None = None,
        is_last: bool = True,
        waits: ConnectWaits = USUAL_WAITS,
    ) -> None:
        """Connect.

        Args:
            broker: the broker's settings.
            base: the folder that the paths of certificates are relative to.
            protocol: `5` or `3.1.1`.
            needs_retained: whether a broker that keeps no retained messages is refused.
            inbound: where messages go that are many; they become events unless given.
            room: how many of those events may wait; the same for all senders unless given.
            is_last: whether no other protocol is tried where the broker says nothing, or hangs up.
            waits: how long a connection is waited for.

        Raises:
            LinkDown: no answer, and no other protocol is left to try.
            OtherProtocol: no answer, or one that speaks for an older protocol.
            BrokerRefused: the broker answered, and refused.
            UsageError: certificates that cannot be read.
        """
        where = broker.address
        self.name = where.name
        self.protocol = protocol
        self.window = WINDOW_MAX
        self.packet_max_bytes: int | None = None
        self.retains = True
        self.wildcards = True
        self.shares = protocol == "5"
        self.dropped = 0
        self._inbound = inbound
        self._room = room or ArrivedRoom()
        self._waits = waits
        self._needs_retained = needs_retained
        self._events: queue.SimpleQueue[Event | _Broken] = queue.SimpleQueue()
        self._connected: queue.SimpleQueue[_Connected | Lost] = queue.SimpleQueue()
        self._is_up = threading.Event()
        self._ids = PacketIds()
        self._client = self._make_client(where, broker, base)
        try:
            self._connect(where, is_last=is_last)
        except BaseException:
            self.close()
            raise

    @property
    def missing(self) -> int:
        """How many messages the broker numbered for this connection and never sent."""
        return self._ids.missing

    def publish(self, topic: str, data: bytes, *, retain: bool = True) -> int:
        """Send a message at QoS 1; an `Acked` with the number that this gives will follow.

        Args:
            topic: the topic.
            data: the message's bytes; empty ones take a retained message off.
            retain: whether the broker is to keep it.

        Raises:
            PacketTooLarge: the broker said that it does not take packets of this size.
            LinkDown: the connection is gone.
        """
        size_bytes = len(topic.encode()) + len(data) + _HEADER_BYTES
        if self.packet_max_bytes is not None and size_bytes > self.packet_max_bytes:
            raise PacketTooLarge(
                f"{self.name} takes packets of at most {self.packet_max_bytes} bytes, this one has"
                f" {size_bytes}"
            )
        info = self._client.publish(topic, data, qos=1, retain=retain)
        if info.rc not in {MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN}:
            raise LinkDown(f"{self.name}: {paho.error_string(info.rc)}")
        return info.mid

    def subscribe(self, *filters: str, shows_retained: bool = False) -> int:
        """Ask for messages; a `Subscribed` with the number that this gives will follow.

        Args:
            filters: topic filters.
            shows_retained: of messages that are published from now on, too, the broker shall say
                which it keeps (MQTT 5, 3.8.3.1: Retain As Published); brokers of before do not.

        Raises:
            LinkDown: the connection is gone.
        """
        code, mid = self._client.subscribe(self._wanted_of(filters, shows_retained=shows_retained))
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise LinkDown(f"{self.name}: {paho.error_string(code)}")
        return mid

    def _wanted_of(self, filters: Sequence[str], *, shows_retained: bool) -> list[Any]:
        if not shows_retained or self.protocol != "5":
            return [(name, 1) for name in filters]
        options = SubscribeOptions(qos=1, retainAsPublished=True)
        return [(name, options) for name in filters]

    def unsubscribe(self, *filters: str) -> int:
        """Ask for no more of these; an `Unsubscribed` with the number that this gives will follow.

        Raises:
            LinkDown: the connection is gone.
        """
        code, mid = self._client.unsubscribe(list(filters))
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise LinkDown(f"{self.name}: {paho.error_string(code)}")
        return mid

    def next_event(self, timeout_s: float) -> Event | None:
        """Give what happened next, or None if nothing did in time.

        Raises:
            BaseException: what was not expected of who takes messages (`Inbound`).
        """
        try:
            event = self._events.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None
        if isinstance(event, _Broken):
            raise event.error
        if isinstance(event, Arrived):
            self._room.leave(event.topic)
        return event

    def close(self) -> None:
        """Say goodbye; what was not acknowledged is not waited for."""
        self._client.disconnect()
        self._client.loop_stop()
        left_open = self._client.socket()
        if left_open is not None:  # paho leaves it open where the broker refused
            left_open.close()
        for callback in _CALLBACKS:  # else all waits for the garbage collector
            setattr(self._client, callback, None)
        self._client.take = _ignore

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(self, where: BrokerAddress, *, is_last: bool) -> None:
        try:
            clean = True if self.protocol == "5" else paho.MQTT_CLEAN_START_FIRST_ONLY
            self._client.connect(
                where.host,
                where.port,
                KEEPALIVE_S,
                clean_start=clean,
                properties=self._wishes(),
            )
        except OSError as exc:
            raise explain_unopened(self.name, exc, is_tls=where.is_tls) from exc
        self._client.loop_start()
        answer = self._wait_for_answer(where, is_last=is_last)
        if answer.reason.value == _UNSUPPORTED_VERSION:
            raise OtherProtocol(f"{self.name}: {answer.reason}")
        if answer.reason.is_failure:
            raise BrokerRefused(f"{self.name}: {answer.reason}")
        self._obey(answer.properties)

    def _wait_for_answer(self, where: BrokerAddress, *, is_last: bool) -> _Connected:
        kind = LinkDown if is_last else OtherProtocol
        patience_s = self._waits.answer_s if is_last else self._waits.other_protocol_s
        try:
            answer = self._connected.get(timeout=patience_s)
        except queue.Empty as exc:
            raise kind(f"{self.name}: no answer in {patience_s:.0f} s") from exc
        if isinstance(answer, _Connected):
            return answer
        opened = self._client.opened
        if opened is not None and opened.tls_failure:  # TLS 1.3 refuses certificates only now
            raise BrokerRefused(f"{self.name}: TLS failed: {opened.tls_failure}")
        raise kind(f"{self.name}: {describe_hang_up(is_tls=where.is_tls)}")

    def _wishes(self) -> Properties | None:
        """What the broker is asked for when connecting (MQTT 5, 3.1.2.11)."""
        if self.protocol != "5" or self._inbound is None:
            return None
        wishes = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has none
        wishes.ReceiveMaximum = self._inbound.in_flight_max
        return wishes

    def _obey(self, properties: Properties | None) -> None:
        """Take over what the broker says about itself (MQTT 5, 3.2.2.3)."""
        said = vars(properties) if properties is not None else {}
        if said.get("MaximumQoS", 1) == 0:
            raise BrokerRefused(f"{self.name}: offers no QoS 1, which devices need")
        self.retains = said.get("RetainAvailable", 1) != 0
        if not self.retains and self._needs_retained:
            raise BrokerRefused(
                f"{self.name}: keeps no retained messages; devices there are served by"
                " `slotcast serve`, which answers what they ask for"
            )
        self.wildcards = said.get("WildcardSubscriptionAvailable", 1) != 0
        self.shares = self.shares and said.get("SharedSubscriptionAvailable", 1) != 0
        self.window = min(self.window, said.get("ReceiveMaximum", self.window))
        self.packet_max_bytes = said.get("MaximumPacketSize")

    def _make_client(self, where: BrokerAddress, broker: Broker, base: Path) -> Client:
        options: dict[str, Any] = {"clean_session": True} if self.protocol != "5" else {}
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"slotcast-publish-{secrets.token_hex(6)}",
            protocol=_VERSIONS[self.protocol],
            reconnect_on_failure=False,
            **options,
        )
        client.connect_timeout = self._waits.answer_s
        client.max_inflight_messages_set(WINDOW_MAX)
        if where.username is not None:
            client.username_pw_set(where.username, where.password)
        if where.is_tls:
            client.tls_set_context(_tls(broker, base))
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_message
        client.take = self._arrived if self._inbound is None else self._hand_over
        client.packet_ids = self._ids
        return client

    # Callbacks run in paho's thread; they only hand over.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, flags
        if not reason.is_failure:
            self._is_up.set()
        self._connected.put(_Connected(reason, properties))

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, flags, properties
        lost = Lost(str(reason))
        self._events.put(lost)
        if not self._is_up.is_set():
            self._connected.put(lost)

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        self._events.put(Acked(mid, str(reason) if reason.value >= _FAILURE else None))

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        failed = [str(reason) for reason in reasons if reason.value >= _FAILURE]
        granted = tuple(reason.value < _FAILURE for reason in reasons)
        self._events.put(Subscribed(failed[0] if failed else None, mid, granted))

    def _on_unsubscribe(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        del client, userdata, reasons, properties
        self._events.put(Unsubscribed(mid))

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        """Take what paho has read itself: a message of QoS 2, which nobody asked for."""
        del userdata
        if isinstance(client, Client):
            client.take(message.topic, bytes(message.payload), bool(message.retain))

    def _arrived(self, topic: str, data: bytes, retained: bool) -> None:  # noqa: FBT001 - as `Take`
        kept = self._room.enter(topic, data)
        if kept is None:
            self.dropped += 1
            return
        self._events.put(Arrived(topic, kept, retained))

    def _hand_over(self, topic: str, data: bytes, retained: bool) -> None:  # noqa: FBT001
        if self._inbound is None:
            return
        try:
            self._inbound.take(topic, data, retained)
        except BaseException as exc:
            self._events.put(_Broken(exc))
            raise


def _ignore(topic: str, data: bytes, retained: bool) -> None:  # noqa: FBT001 - as `Take`
    """Take what comes to a connection that is closed."""


def _tls(broker: Broker, base: Path) -> ssl.SSLContext:
    ca, certificate, key = (
        None if name is None else base / name
        for name in (broker.ca, broker.certificate, broker.key)
    )
    try:
        return tls_context(ca, certificate, key)
    except UsageError as exc:
        raise UsageError(f"{broker.address.name}: {exc}") from exc
