"""Which wants `serve` counts, by the topic that they come on, and what it takes off the broker."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from slotcast_publisher.delivery.link_events import Arrived
from slotcast_publisher.serve.catalog import Catalog, Stored
from slotcast_publisher.serve.heard_wants import (
    CLAIMED_ARRIVED_MAX,
    DEVICE_ARRIVED_MAX,
    LOOK_EVERY_S,
    HeardWants,
)
from slotcast_publisher.serve.wants import Answers, WantBounds
from slotcast_publisher.serve_settings import WantTopics
from slotcast_schemas import wire
from slotcast_schemas.limits import WANT_MAX_BYTES
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.topics import Topics

TOPICS = Topics("t")
PAYLOAD = Payload(
    codec="full+none",
    sha256=bytes([1]) * 32,
    size_bytes=8 * 1024,
    chunk_size_bytes=1024,
    map_parts=(bytes(32),),
)
CATALOG = Catalog({}, {PAYLOAD.sha256: Stored("m", PAYLOAD, Path("none"), ())})
ON_PAYLOAD = TOPICS.want(PAYLOAD.sha256)


def on(device: str) -> str:
    return TOPICS.device(device, "want")


def said(device: str, payload: bytes = PAYLOAD.sha256) -> bytes:
    blocks = (WantedBlock(block=0, missing=0xFF),)
    return wire.encode(Want(device=device, payload=payload, blocks=blocks))


class Desk:
    """What `serve` hears, and what came of it."""

    def __init__(self, heard: WantTopics = "both") -> None:
        self.answers = Answers(WantBounds(), random.Random(1))
        self.wants = HeardWants(TOPICS, self.answers, heard)

    def hears(self, topic: str, data: bytes, *, retained: bool = False) -> int:
        """Let a message come; give how many pieces it was the first to ask for."""
        before = self.answers.waiting
        self.wants.take(Arrived(topic, data, retained), CATALOG, 0.0)
        return self.answers.waiting - before


def test_a_want_counts_below_its_devices_name_and_below_its_payload() -> None:
    assert Desk().hears(on("cam-1"), said("cam-1")) == 8
    assert Desk().hears(ON_PAYLOAD, said("cam-1")) == 8


@pytest.mark.parametrize(
    ("topic", "data"),
    [
        (on("thief"), said("cam-1")),
        (TOPICS.want(bytes(32)), said("cam-1")),
        (on("cam-1"), said("cam-1", bytes(32))),
        (on("cam-1"), said("cam-1")[:-1]),
        (on("cam-1"), bytes(WANT_MAX_BYTES + 1)),
        (on("@publisher"), said("cam-1")),
        ("t/payloads/no-digest/want", said("cam-1")),
    ],
    ids=["another's name", "another payload", "not offered", "cut", "too large", "no name", "none"],
)
def test_a_want_that_does_not_say_what_its_topic_says_is_refused(topic: str, data: bytes) -> None:
    desk = Desk()
    assert desk.hears(topic, data) == 0
    assert desk.answers.counts.refused_wants == 1


def test_the_name_below_which_it_is_said_is_proven_and_the_other_is_not() -> None:
    desk = Desk()
    desk.hears(on("cam-1"), said("cam-1"))
    desk.hears(ON_PAYLOAD, said("cam-1"))
    assert (desk.answers.counts.wants, desk.answers.counts.claimed_wants) == (2, 1)
    assert desk.answers.budgets.devices == 1


def test_a_topic_that_is_closed_is_not_heard() -> None:
    assert Desk("device").hears(ON_PAYLOAD, said("cam-1")) == 0
    assert Desk("payload").hears(on("cam-1"), said("cam-1")) == 0
    assert Desk("device").wants.filters() == ["t/devices/+/want"]
    assert Desk("payload").wants.filters() == ["t/payloads/+/want"]
    assert Desk("both").wants.filters() == ["t/payloads/+/want", "t/devices/+/want"]
    assert Desk("device").wants.exact_topics([PAYLOAD.sha256]) == []
    assert Desk("both").wants.exact_topics([PAYLOAD.sha256]) == [ON_PAYLOAD]


@pytest.mark.parametrize("topic", [on("cam-1"), ON_PAYLOAD, "t/payloads/any thing/want"])
def test_a_want_that_is_kept_counts_for_nothing_and_is_to_be_taken_off(topic: str) -> None:
    desk = Desk()
    assert desk.hears(topic, said("cam-1"), retained=True) == 0
    assert list(desk.wants.unfit) == [topic]


def test_what_takes_a_kept_want_off_is_not_taken_off_again() -> None:
    desk = Desk()
    desk.hears(ON_PAYLOAD, b"", retained=True)
    assert not desk.wants.unfit


def test_a_look_for_kept_wants_is_due_now_and_then_and_soon_after_one_was_found() -> None:
    wants = Desk().wants
    wants.connected(0.0)
    assert not wants.is_look_due(LOOK_EVERY_S - 1)
    assert wants.is_look_due(LOOK_EVERY_S)
    assert not wants.is_look_due(LOOK_EVERY_S + 100)
    wants.took_off(LOOK_EVERY_S + 100)
    assert wants.is_look_due(LOOK_EVERY_S + 102)


def test_each_device_has_room_of_its_own_and_claimed_names_have_theirs_together() -> None:
    wants = Desk().wants
    for device in ("cam-1", "cam-2"):
        lane = wants.lane_of(on(device))
        assert lane is not None
        assert (lane.name, lane.messages_max) == (device, DEVICE_ARRIVED_MAX)
    for topic in (ON_PAYLOAD, TOPICS.want(bytes(32)), "t/payloads/x/want", on("@x")):
        lane = wants.lane_of(topic)
        assert lane is not None
        assert (lane.name, lane.messages_max) == ("", CLAIMED_ARRIVED_MAX)
    assert wants.lane_of(TOPICS.notice("clf")) is None
