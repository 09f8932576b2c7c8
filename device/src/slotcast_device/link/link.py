"""The connection to a broker: paho-mqtt, driven from the agent's own loop, no threads.

One object is one connection; `connection` makes the next, and decides what to make of what this one
reports: which filters were refused, what waited for an answer when it ended.

What comes through the socket is taken in `packet_flow`; what is sent, and what of it still waits
for an answer, is in `outbox`.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from slotcast_device.core.transfer.broker_limits import (
    TAKEN_OVER,
    UNBOUNDED,
    BrokerLimits,
    Ending,
)
from slotcast_device.core.waits import USUAL, Waits
from slotcast_device.link.connack import Accepted, refusal_of
from slotcast_device.link.lean_paho import paho
from slotcast_device.link.outbox import Outbox
from slotcast_device.link.packet_flow import PacketFlow
from slotcast_device.link.paho_client import make_client
from slotcast_device.link.presence import id_in_use
from slotcast_schemas.broker import HungUp, describe_hang_up
from slotcast_schemas.errors import (
    BrokerRefused,
    LinkDown,
    TransferFailed,
)
from slotcast_schemas.packet_socket import PacketSocket

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.link.listeners import LinkListener
    from slotcast_device.link.paho_client import Client


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
        client: paho's client, not connected yet; by default one of our own.
        waits: for a farewell, and for a packet that has begun to come.

    Attributes:
        refused_code: the reason code of a CONNACK that refused; None without one.
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
        client: Client | None = None,
        waits: Waits = USUAL,
    ) -> None:
        self.broker = broker
        self.version = version
        self.refused_code: int | None = None
        self._closed_code: int | None = None
        self._answer_due_s = 0.0
        self._opened: PacketSocket | None = None  # counts on when paho has let go of it
        self._is_v5 = version == "5"
        self._config = config
        self._client = client or make_client(broker, config, client_id, is_v5=self._is_v5)
        self._goodbye_s = waits.goodbye_s
        self._flow = PacketFlow(broker.name, self._client, listener.message, waits.part_max_s)
        self._outbox = Outbox(
            broker.name,
            self._client,
            listener,
            is_v5=self._is_v5,
            limits=limits or BrokerLimits(),
            muted=muted,
            is_careful=is_careful,
        )
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_publish = self._published
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=self.retains)

    @property
    def error(self) -> TransferFailed | None:
        """Why the connection is over; None while it is not."""
        return self._flow.error

    @error.setter
    def error(self, error: TransferFailed) -> None:
        self._flow.error = error

    @property
    def accepted(self) -> Accepted | None:
        """What the broker said when it took the connection; None before."""
        return self._flow.accepted

    @accepted.setter
    def accepted(self, accepted: Accepted) -> None:
        self._flow.accepted = accepted

    # --- the life of a connection -------------------------------------------------------------

    def connect(self) -> None:
        """Open the connection and send CONNECT; the answer comes to `accepted` or `error`.

        Raises:
            LinkDown: nobody answers there.
            BrokerRefused: somebody does, and TLS fails.
        """
        timing = self._config.values.timing
        began_s = time.monotonic()
        self._client.open(self.broker, timing.keepalive_s)
        self._opened = self._flow.packets
        if self._opened is not None:
            self._opened.send_at_once()
        # Opening takes one round trip, or a few with TLS: an upper bound is what is needed here.
        self._outbox.round_trip_s = time.monotonic() - began_s
        self._answer_due_s = time.monotonic() + timing.connect_timeout_s

    @property
    def socket(self) -> socket.socket | None:
        """The socket to wait on; None once the connection is gone."""
        found = self._flow.packets
        return None if found is None else found.real

    @property
    def received_bytes(self) -> int:
        """All that came over this connection, MQTT's own bytes included."""
        return 0 if self._opened is None else self._opened.received_bytes

    @property
    def sent_bytes(self) -> int:
        """All that left over this connection, MQTT's own bytes included."""
        return 0 if self._opened is None else self._opened.sent_bytes

    @property
    def packets(self) -> int:
        """How many packets came over this connection."""
        return 0 if self._opened is None else self._opened.packets

    def drop_at_most(self, size_bytes: int) -> None:
        """Read no more than this of a message above the bound, where MQTT has no word for it."""
        found = self._flow.packets
        if found is not None:
            found.dropped_max_bytes = size_bytes

    @property
    def poll_events(self) -> int:
        """What to wait for on the socket, as `select.poll` has it."""
        return self._flow.poll_events

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be sent."""
        return self._flow.wants_write

    def read(self) -> None:
        """Take what has come, packet by packet, up to a bound."""
        self._flow.read()

    def write(self) -> None:
        """Send what waits."""
        self._flow.write()

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
        return self._flow.has_buffered()

    @property
    def has_part(self) -> bool:
        """Whether a packet has begun to come, however slowly."""
        return self._flow.has_part

    def keep_alive(self) -> None:
        """Ping when due, and notice a broker that does not answer; call about every second.

        Brokers of MQTT 3.1.1 may answer a CONNECT of MQTT 5 with silence (amqtt 0.12 does).
        """
        self._flow.note_result(self._client.loop_misc())
        self._outbox.look_for_unanswered()
        self._flow.watch_part(time.monotonic())
        if self.accepted is None and time.monotonic() > self._answer_due_s:
            self._flow.fail(
                LinkDown(
                    f"{self.broker.name}: no answer to CONNECT (MQTT {self.version}) within"
                    f" {self._config.values.timing.connect_timeout_s:g} s"
                )
            )

    def close(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say goodbye and let go.

        The farewell is sent first, and only once the broker has it the DISCONNECT after which no
        last will is published; otherwise the connection just ends, and the will says the same.
        """
        self._flow.on_message = _ignore_message
        self._outbox.hurry()
        if self.socket is None or self.accepted is None or farewell is None:
            self._disconnect()
            return
        told: list[bool] = []
        self.publish(farewell[0], farewell[1], retain=True, acked=lambda: told.append(True))
        due_s = time.monotonic() + self._goodbye_s
        while not told and self.error is None and time.monotonic() < due_s:
            self.wait(due_s - time.monotonic())
        if told:
            self._disconnect()
        else:
            self.abandon()

    def _disconnect(self) -> None:
        if self.socket is not None:
            self._client.disconnect()
            self._flow.note_result(self._client.loop_write())

    def abandon(self) -> None:
        """Hang up without a goodbye: the broker publishes the last will, as for a lost link."""
        self._outbox.let_go()
        found = self._flow.packets
        if found is not None:
            found.close()

    # --- what goes out --------------------------------------------------------------------------

    @property
    def retains(self) -> bool:
        """Whether the broker keeps retained messages, as far as is known."""
        return self._outbox.retains

    @property
    def packet_max_bytes(self) -> int:
        """The largest packet that this broker takes, as far as is known."""
        return self._outbox.packet_max_bytes

    @property
    def held(self) -> set[str]:
        """The filters that the broker took."""
        return self._outbox.held

    @property
    def publish_refusals(self) -> dict[str, str]:
        """The topics that the broker refuses messages on, with what it said."""
        return self._outbox.publish_refusals

    def subscribe(self, filters: tuple[str, ...]) -> None:
        """Ask for topics at QoS 1."""
        self._outbox.subscribe(filters)

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Let go of topics."""
        self._outbox.unsubscribe(filters)

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
        return self._outbox.publish(topic, data, retain=retain, acked=acked)

    def ending(self) -> Ending:
        """Say how this connection ended, and what still waited for an answer then."""
        return self._outbox.ending(self._closed_code)

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
        if self.accepted is not None:
            self._flow.note_violation("expected one CONNACK, got another")
            return
        if reason.is_failure:
            self.refused_code = reason.value
            self.error = refusal_of(self.broker.name, reason)
            return
        said = vars(properties) if properties is not None else {}
        self._outbox.accepted(
            said.get("MaximumPacketSize", UNBOUNDED), retains=said.get("RetainAvailable", 1) != 0
        )
        self.accepted = Accepted(
            protocol=self.version,
            credit_chunks=self._config.values.policy.credit_max_chunks,
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
        if self._closed_code == TAKEN_OVER:
            self._flow.fail(id_in_use(self.broker.name))
        elif self.accepted is None:
            self._flow.fail(self._unanswered())
        else:
            self._flow.fail(LinkDown(f"{self.broker.name}: connection lost ({reason})"))

    def _unanswered(self) -> TransferFailed:
        """Say why the connection ended before the broker answered, as far as that was said."""
        if self._opened is not None and self._opened.tls_failure:  # TLS 1.3: of our certificate
            return BrokerRefused(f"{self.broker.name}: TLS failed: {self._opened.tls_failure}")
        return HungUp(f"{self.broker.name}: {describe_hang_up(is_tls=self.broker.is_tls)}")

    def _published(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        self._outbox.published(mid, reason)

    def _subscribed(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        del client, userdata, properties
        self._outbox.subscribed(mid, reasons)


def _ignore_message(_topic: str, _data: bytes) -> None:
    """What comes while we say goodbye; the next connection brings it again."""
