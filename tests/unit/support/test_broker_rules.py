"""The proxy of brokers with limits: its rules do what their names say, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.broker_rules import HangsUp, Rules, Session
from tests.support.mqtt_packets import Packet, remaining_length

CONNACK_5 = bytes.fromhex("200e00000b22000a2100142700400000")
"""Mosquitto's, with three properties."""


def connect(version: int, flags: int = 0x02) -> Packet:
    properties = b"\0" if version == 5 else b""
    body = b"\0\4MQTT" + bytes([version, flags, 0, 30]) + properties + b"\0\1x"
    return Packet(b"\x10" + remaining_length(len(body)) + body)


def subscribe(*filters: str, version: int = 5, packet_id: int = 9) -> Packet:
    body = packet_id.to_bytes(2) + (b"\0" if version == 5 else b"")
    body += b"".join(len(f).to_bytes(2) + f.encode() + b"\1" for f in filters)
    return Packet(b"\x82" + remaining_length(len(body)) + body)


def suback(*codes: int, packet_id: int = 9) -> Packet:
    body = packet_id.to_bytes(2) + b"\0" + bytes(codes)
    return Packet(b"\x90" + remaining_length(len(body)) + body)


def retained(topic: str, size: int = 10) -> Packet:
    body = len(topic).to_bytes(2) + topic.encode() + b"\0\7\0" + bytes(size)
    return Packet(b"\x33" + remaining_length(len(body)) + body)


def session(rules: Rules, version: int = 5) -> Session:
    made = Session(rules, Counter())
    made.from_device(connect(version))
    return made


def test_without_rules_every_packet_passes_as_it_is() -> None:
    here = session(Rules())
    for packet in (subscribe("a/+", "b"), retained("a/1"), Packet(b"\xc0\0")):
        assert here.from_device(packet) == (packet.raw, None)
    for packet in (suback(1, 1), retained("a/1"), Packet(CONNACK_5)):
        held, receipt = here.from_broker(packet, 0.0)
        assert held is not None
        assert (held.data, held.due_s, receipt) == (packet.raw, 0.0, None)


def test_of_several_filters_only_those_that_pass_reach_the_broker_and_all_are_answered() -> None:
    here = session(Rules(wildcards="refused"))
    forward, answer = here.from_device(subscribe("a/+", "b", "c/#"))
    assert (forward, answer) == (subscribe("b").raw, None)
    held, _ = here.from_broker(suback(1), 0.0)
    assert held is not None
    assert held.data == suback(0xA2, 1, 0xA2).raw
    assert here.from_device(subscribe("a/+")) == (None, suback(0xA2).raw)


def test_a_limit_is_announced_beside_what_the_broker_says() -> None:
    held, _ = session(Rules(packet_max_bytes=5000)).from_broker(Packet(CONNACK_5), 0.0)
    assert held is not None
    assert held.data == CONNACK_5[:-4] + (5000).to_bytes(4)
    silent = session(Rules(packet_max_bytes=5000, says_nothing=True))
    held, _ = silent.from_broker(Packet(CONNACK_5), 0.0)
    assert held is not None
    assert held.data == CONNACK_5


def test_a_filter_brings_so_many_retained_messages_and_as_many_again_when_asked_again() -> None:
    here = session(Rules(retained_per_filter=2))
    for _ in range(2):
        here.from_device(subscribe("a/+"))
        passed = [here.from_broker(retained(f"a/{n}"), 0.0)[0] is not None for n in range(4)]
        assert passed == [True, True, False, False]
    assert here.counts["lost: past the cap"] == 4


def test_what_is_lost_has_its_receipt_so_that_the_broker_goes_on() -> None:
    here = session(Rules(wildcards="ignored"))
    here.from_device(subscribe("a/+"))
    assert here.from_broker(retained("a/1"), 0.0) == (None, b"\x40\x02\0\7")
    here.from_device(subscribe("a/2"))
    held, _ = here.from_broker(retained("a/2"), 0.0)
    assert held is not None


def test_a_rate_makes_messages_wait_or_loses_them() -> None:
    waits = session(Rules(retained_per_s=10))
    due = [waits.from_broker(retained("a"), 5.0)[0] for _ in range(3)]
    assert [held.due_s if held else None for held in due] == pytest.approx([5.1, 5.2, 5.3])
    loses = session(Rules(retained_per_s=2, loses=True))
    passed = [loses.from_broker(retained("a"), 5.0)[0] is not None for _ in range(4)]
    assert passed == [True, True, False, False]
    assert loses.from_broker(retained("a"), 5.5)[0] is not None


@pytest.mark.parametrize(
    ("rules", "packet"),
    [
        (Rules(filters_max=2), subscribe("a", "b", "c")),
        (Rules(packet_max_bytes=50), retained("a", 100)),
        (Rules(retain="closes"), retained("a")),
        (Rules(refused="^a", refusal_closes=True), subscribe("a/b")),
        (Rules(publishing_closes="status"), retained("x/status")),
    ],
)
def test_what_closes_the_connection_says_a_code_to_mqtt_5_and_nothing_to_311(
    rules: Rules, packet: Packet
) -> None:
    here = session(rules)
    with pytest.raises(HangsUp) as caught:
        here.from_device(packet)
    assert caught.value.last[:2] == b"\xe0\x02"
    old = Session(rules, Counter(), version=4)
    if packet.is_publish:
        with pytest.raises(HangsUp) as caught:
            old.from_device(packet)
        assert caught.value.last == b""


def test_mqtt_5_is_turned_away_as_the_rule_says() -> None:
    for how, last in (("refused", b"\x20\x03\0\x84\0"), ("hangs_up", b""), ("silent", b"")):
        made = Session(Rules(version=how), Counter())  # type: ignore[arg-type] # from a table
        with pytest.raises(HangsUp) as caught:
            made.from_device(connect(5))
        assert caught.value.last == last
        assert made.from_device(connect(4))[0] is not None


def test_a_quota_counts_filters_and_gives_room_again() -> None:
    here = session(Rules(subscriptions_max=1))
    assert here.from_device(subscribe("a"))[0] is not None
    assert here.from_device(subscribe("b")) == (None, suback(0x97).raw)
    assert here.from_device(subscribe("a"))[0] is not None, "the same filter again is none more"
    body = (3).to_bytes(2) + b"\0" + b"\0\1a"
    here.from_device(Packet(b"\xa2" + remaining_length(len(body)) + body))
    assert here.from_device(subscribe("b"))[0] is not None
