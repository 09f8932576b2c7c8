"""What each client may do under mosquitto/production.conf and its ACLs, at a real Mosquitto.

MQTT 5 says in each PUBACK whether a publish was allowed; a denied read is seen by what does not
come before a message that was sent later.
"""

from __future__ import annotations

import queue
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from slotcast_schemas.fields import DeviceId
from slotcast_schemas.topics import Topics
from tests.support import mqtt_client
from tests.support.brokers import Broker, mosquitto
from tests.support.certificates import PUBLISHER, Authority, Certificates, Identity
from tests.support.waiting import WAIT_S

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

TOPICS: Final = Topics()
PAYLOAD: Final = bytes(range(32))
CONNECT: Final = b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x0a\x00\x03raw"
"""MQTT 3.1.1, clean session, keep alive 10 s, client id "raw"."""
CONNACK: Final = b"\x20\x02"
FAILURE: Final = 0x80
"""MQTT 5: below are ways of success; 0x10 is "nobody is subscribed now"."""
NOT_AUTHORIZED: Final = ReasonCode(PacketTypes.PUBACK, "Not authorized").value

MESSAGES_MAX: Final = 100_000
"""Above all that the releases of other tests left at the broker: paho's thread waits for room."""


class Client:
    """A paho client that waits for what it asked for, and gives the broker's word on it."""

    def __init__(
        self, certificates: Certificates, identity: Identity | None, client_id: str = ""
    ) -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue(maxsize=MESSAGES_MAX)
        self.disconnects: queue.Queue[str] = queue.Queue(maxsize=100)
        self._answers: queue.Queue[int] = queue.Queue(maxsize=100)
        self._mqtt = mqtt_client.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"test-{uuid.uuid4().hex}",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
        )
        self._mqtt.tls_set_context(certificates.context(identity))
        self._mqtt.on_connect = lambda _c, _u, _f, code, _p: self._answers.put(code.value)
        self._mqtt.on_publish = lambda _c, _u, _m, code, _p: self._answers.put(code.value)
        self._mqtt.on_subscribe = lambda _c, _u, _m, codes, _p: self._answers.put(codes[0].value)
        self._mqtt.on_message = lambda _c, _u, m: self.messages.put((m.topic, bytes(m.payload)))
        self._mqtt.on_disconnect = lambda _c, _u, _f, code, _p: self.disconnects.put(str(code))

    def connect(self, port: int) -> None:
        """Connect, and be accepted."""
        self._mqtt.connect(Broker.host, port)
        self._mqtt.loop_start()
        assert self._answers.get(timeout=WAIT_S) == 0

    def may_publish(self, topic: str, data: bytes = b"x", *, retain: bool = False) -> bool:
        """Publish at QoS 1, and give what the PUBACK says; it must be yes or "not authorized"."""
        self._mqtt.publish(topic, data, qos=1, retain=retain)
        code = self._answers.get(timeout=WAIT_S)
        assert code < FAILURE or code == NOT_AUTHORIZED
        return code < FAILURE

    def publish_too_large(self, topic: str) -> None:
        """Publish more than the broker takes: paho leaves the CONNACK's limit to its user."""
        self._mqtt.publish(topic, bytes(140_000), qos=1)

    def subscribe(self, topic: str) -> None:
        """Subscribe at QoS 1. Mosquitto grants any; what it keeps back it does not deliver."""
        self._mqtt.subscribe(topic, qos=1)
        assert self._answers.get(timeout=WAIT_S) == 1

    def receive_until(self, topic: str) -> list[str]:
        """Give the topics of all that arrives up to and with the first message on `topic`."""
        seen: list[str] = []
        while topic not in seen:
            seen.append(self.messages.get(timeout=WAIT_S)[0])
        return seen

    def set_will(self, topic: str) -> None:
        """Have the broker publish something, retained, when this client is gone."""
        self._mqtt.will_set(topic, b"x", qos=1, retain=True)

    def vanish(self) -> None:
        """Go without a word."""
        sock = self._mqtt.socket()
        assert isinstance(sock, ssl.SSLSocket)
        sock.shutdown(socket.SHUT_RDWR)
        self._mqtt.loop_stop()
        sock.close()

    def close(self) -> None:
        """Disconnect, and wait for the thread's end."""
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


Connect = Callable[[Identity | None], Client]


def certificates_of(broker: Broker) -> Certificates:
    assert broker.certificates is not None
    return broker.certificates


@pytest.fixture
def connect(production_broker: Broker) -> Iterator[Connect]:
    """Connect an identity to the port that is its own."""
    clients: list[Client] = []
    certificates = certificates_of(production_broker)

    def connected(identity: Identity | None) -> Client:
        client = Client(certificates, identity)
        clients.append(client)
        is_publisher = identity is not None and identity.name == PUBLISHER
        broker = production_broker
        client.connect(broker.publisher_port if is_publisher else broker.port)
        return client

    yield connected
    for client in clients:
        client.close()


@pytest.fixture
def names() -> tuple[str, str]:
    """Two device ids that no other test uses."""
    unique = uuid.uuid4().hex[:8]
    return f"cam-{unique}-a", f"cam-{unique}-b"


@pytest.fixture
def device(connect: Connect, production_broker: Broker, names: tuple[str, str]) -> Client:
    return connect(certificates_of(production_broker).device(names[0]))


@pytest.fixture
def publisher(connect: Connect, production_broker: Broker) -> Client:
    return connect(certificates_of(production_broker).publisher())


@pytest.mark.parametrize("what", ["status", "metrics", "presence", "want", "renewal"])
def test_a_device_writes_its_own_topics(device: Client, names: tuple[str, str], what: str) -> None:
    assert device.may_publish(TOPICS.device(names[0], what))


@pytest.mark.parametrize("what", ["status", "metrics", "presence", "want", "renewal"])
def test_a_device_cannot_write_on_the_topics_of_another(
    device: Client, names: tuple[str, str], what: str
) -> None:
    assert not device.may_publish(TOPICS.device(names[1], what))


@pytest.mark.parametrize(
    "topic",
    [
        TOPICS.notice("detector"),
        TOPICS.map_part(PAYLOAD, 0),
        TOPICS.chunk(PAYLOAD, 9),
        f"{TOPICS.want(PAYLOAD)}/more",
        "slotcast/v1/elsewhere",
        "elsewhere",
        "$SYS/broker/version",
    ],
)
def test_a_device_cannot_write_what_publishers_write(device: Client, topic: str) -> None:
    assert not device.may_publish(topic, retain=True)


def test_a_devices_id_is_no_key_to_deeper_topics(device: Client, names: tuple[str, str]) -> None:
    assert not device.may_publish(f"{TOPICS.device(names[0], 'status')}/more")


def test_a_want_of_a_device_reaches_the_publisher(device: Client, publisher: Client) -> None:
    publisher.subscribe(TOPICS.wants())
    payload = uuid.uuid4().bytes * 2
    assert device.may_publish(TOPICS.want(payload))
    assert TOPICS.want(payload) in publisher.receive_until(TOPICS.want(payload))


def test_the_publisher_writes_notices_and_payloads_and_devices_read_them(
    device: Client, publisher: Client
) -> None:
    payload, model = uuid.uuid4().bytes * 2, f"m{uuid.uuid4().hex}"
    sent = [TOPICS.map_part(payload, 0), TOPICS.chunk(payload, 0), TOPICS.notice(model)]
    for topic in sent:
        assert publisher.may_publish(topic, retain=True)
    device.subscribe(TOPICS.map_part(payload, 0))
    device.subscribe(TOPICS.block(payload, 0))
    device.subscribe(TOPICS.notice(model))
    assert device.receive_until(sent[-1]) == sent


def test_the_publisher_reads_every_status(
    device: Client, publisher: Client, names: tuple[str, str]
) -> None:
    own = TOPICS.device(names[0], "status")
    assert device.may_publish(own, retain=True)
    publisher.subscribe(TOPICS.device("+", "status"))
    assert own in publisher.receive_until(own)


def test_a_device_reads_its_own_status_and_of_no_other(
    connect: Connect, device: Client, production_broker: Broker, names: tuple[str, str]
) -> None:
    mine, others = (TOPICS.device(name, "status") for name in names)
    other = connect(certificates_of(production_broker).device(names[1]))
    device.subscribe("slotcast/v1/devices/#")
    assert other.may_publish(others, retain=True)
    assert device.may_publish(mine)
    # The other's was delivered first, had it been allowed.
    assert device.receive_until(mine) == [mine]
    device.subscribe(others)
    assert device.may_publish(mine)
    assert device.receive_until(mine) == [mine]


def test_a_device_that_subscribes_to_everything_reads_only_what_is_meant_for_it(
    device: Client, publisher: Client
) -> None:
    model = f"m{uuid.uuid4().hex}"
    device.subscribe("#")
    assert publisher.may_publish("slotcast/v1/internal/note")
    assert publisher.may_publish(TOPICS.notice(model))
    seen = device.receive_until(TOPICS.notice(model))
    assert "slotcast/v1/internal/note" not in seen
    assert not [topic for topic in seen if topic.startswith("$SYS")]


def test_a_device_cannot_throw_another_out_by_its_client_id(production_broker: Broker) -> None:
    certificates = certificates_of(production_broker)
    victim = Client(certificates, certificates.device("victim"), client_id="victim")
    thief = Client(certificates, certificates.device("thief"), client_id="victim")
    for client in (victim, thief):
        client.connect(production_broker.port)
    assert victim.may_publish(TOPICS.device("victim", "status"))
    assert thief.may_publish(TOPICS.device("thief", "status"))
    assert victim.disconnects.empty()
    victim.close()
    thief.close()


def test_the_right_certificate_is_let_in_at_each_port(production_broker: Broker) -> None:
    certificates, broker = certificates_of(production_broker), production_broker
    assert greet(broker, certificates.device("cam-1"), broker.port) == CONNACK
    assert greet(broker, certificates.publisher(), broker.publisher_port) == CONNACK


def test_a_client_without_a_certificate_is_refused(production_broker: Broker) -> None:
    assert_refused(production_broker, None, production_broker.port)
    assert_refused(production_broker, None, production_broker.publisher_port)


def test_a_certificate_of_a_ca_that_nobody_trusts_is_refused(
    production_broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"), "stranger-ca").issue_client("cam-1")
    assert_refused(production_broker, stranger, production_broker.port)


def test_a_devices_certificate_does_not_open_the_publishers_port(
    production_broker: Broker,
) -> None:
    device = certificates_of(production_broker).device("cam-1")
    assert_refused(production_broker, device, production_broker.publisher_port)


def test_who_holds_the_devices_ca_is_no_publisher_by_naming_one(
    production_broker: Broker, publisher: Client, names: tuple[str, str]
) -> None:
    certificates = certificates_of(production_broker)
    thief = Client(certificates, certificates.device(PUBLISHER))
    thief.connect(production_broker.port)
    for topic in (TOPICS.notice("detector"), TOPICS.chunk(PAYLOAD, 0), "slotcast/v1/elsewhere"):
        assert not thief.may_publish(topic, retain=True)
    model = f"m{uuid.uuid4().hex}"
    thief.subscribe("#")
    assert publisher.may_publish(TOPICS.device(names[0], "status"))
    assert publisher.may_publish(TOPICS.notice(model))
    seen = thief.receive_until(TOPICS.notice(model))
    assert not [topic for topic in seen if topic.startswith("slotcast/v1/devices/")]
    thief.close()
    assert_refused(
        production_broker, certificates.device(PUBLISHER), production_broker.publisher_port
    )


def test_no_device_id_can_be_the_publishers_name() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(PUBLISHER, DeviceId)


def test_plain_anonymous_clients_are_refused(production_broker: Broker) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
    client.connect(Broker.host, production_broker.port)
    assert client.loop_forever() != paho.MQTT_ERR_SUCCESS  # plain MQTT spoken to a TLS port
    assert not client.is_connected()


def test_a_packet_over_the_limit_ends_the_connection_and_only_that(
    device: Client, publisher: Client, names: tuple[str, str]
) -> None:
    device.publish_too_large(TOPICS.device(names[0], "status"))
    device.disconnects.get(timeout=WAIT_S)
    assert publisher.may_publish(TOPICS.notice("detector"))


def test_what_is_retained_survives_a_restart_of_the_broker() -> None:
    with mosquitto("production") as broker:
        certificates = certificates_of(broker)
        publisher = Client(certificates, certificates.publisher())
        publisher.connect(broker.publisher_port)
        assert publisher.may_publish(TOPICS.notice("kept"), b"notice", retain=True)
        publisher.close()
        broker.restart()
        assert retained(broker, "kept") == b"notice"


def test_the_development_broker_starts_empty_again_when_told_to() -> None:
    with mosquitto("development", is_persistent=True) as broker:
        first = paho.Client(CallbackAPIVersion.VERSION2)
        first.connect(broker.host, broker.port)
        first.loop_start()
        first.publish("kept", b"1", qos=1, retain=True).wait_for_publish(WAIT_S)
        first.disconnect()
        first.loop_stop()
        broker.restart(keep_data=True)
        assert plain_retained(broker) == ["kept"]
        broker.restart(keep_data=False)
        assert plain_retained(broker) == []


def retained(broker: Broker, model: str) -> bytes:
    certificates = certificates_of(broker)
    device = Client(certificates, certificates.device("cam-1"))
    device.connect(broker.port)
    device.subscribe(TOPICS.notice(model))
    _, data = device.messages.get(timeout=WAIT_S)
    device.close()
    return data


def plain_retained(broker: Broker) -> list[str]:
    """Give what is retained; a message to ourselves, sent later, ends the wait."""
    topics: queue.Queue[str] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: topics.put(message.topic)
    client.on_subscribe = lambda c, _u, _m, _codes, _p: c.publish("end", qos=1)
    client.connect(broker.host, broker.port)
    client.subscribe("#", qos=1)
    client.loop_start()
    seen: list[str] = []
    while "end" not in seen:
        seen.append(topics.get(timeout=WAIT_S))
    client.disconnect()
    client.loop_stop()
    return seen[:-1]


def greet(broker: Broker, identity: Identity | None, port: int) -> bytes:
    """Open TLS, send a CONNECT by hand, and give the first bytes of the answer."""
    context = certificates_of(broker).context(identity)
    with (
        socket.create_connection((broker.host, port), timeout=WAIT_S) as plain,
        context.wrap_socket(plain, server_hostname=broker.host) as tls,
    ):
        tls.sendall(CONNECT)
        return tls.recv(2)


def assert_refused(broker: Broker, identity: Identity | None, port: int) -> None:
    """The broker must end it at TLS, before any MQTT.

    With TLS 1.3 a client learns of that when it first reads; the alert may be lost in the reset.
    """
    with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)) as refusal:
        greet(broker, identity, port)
    # It is the broker who refuses the client, not the client the broker.
    assert not isinstance(refusal.value, ssl.SSLCertVerificationError)


@pytest.mark.parametrize(
    "topic", [TOPICS.notice("not-mine"), TOPICS.device("someone-else", "presence")]
)
def test_a_last_will_is_no_way_around_the_rules(
    production_broker: Broker, publisher: Client, names: tuple[str, str], topic: str
) -> None:
    """It is published when its device is gone: nobody is there to be told that it may not."""
    certificates = certificates_of(production_broker)
    for where in (topic, TOPICS.device(names[0], "presence")):
        publisher.subscribe(where)
        thief = Client(certificates, certificates.device(names[0]))
        thief.set_will(where)
        thief.connect(production_broker.port)
        thief.vanish()
    assert publisher.receive_until(TOPICS.device(names[0], "presence")) == [
        TOPICS.device(names[0], "presence")
    ]


def test_a_shared_subscription_is_no_way_around_the_rules(
    device: Client, publisher: Client, names: tuple[str, str]
) -> None:
    device.subscribe("$share/all/#")
    device.subscribe(f"$share/all/{TOPICS.device('+', 'status')}")
    for other in ("someone-else", names[0]):
        assert publisher.may_publish(TOPICS.device(other, "certificate"))
    seen = device.receive_until(TOPICS.device(names[0], "certificate"))
    assert TOPICS.device("someone-else", "certificate") not in seen
