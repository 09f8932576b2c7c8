"""Topics: within what managed brokers take, and read back as what they were built from."""

from __future__ import annotations

import pytest

from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.topics import (
    ChunkTopic,
    DeviceTopic,
    MapTopic,
    NoticeTopic,
    Topics,
    WantTopic,
)
from tests.support.messages import sha

TOPICS = Topics()
PAYLOAD = sha("payload")
HEX = PAYLOAD.hex()
LONGEST_PREFIX = "a/b/c/" + "d" * 150


def every_topic(topics: Topics) -> list[str]:
    name = "x" * 64
    return [
        topics.notice(name),
        topics.map_part(PAYLOAD, limits.MAP_PARTS_MAX - 1),
        topics.chunk(PAYLOAD, limits.CHUNKS_MAX - 1),
        topics.want(PAYLOAD),
        *(topics.device(name, what) for what in ("status", "metrics", "presence")),
    ]


@pytest.mark.parametrize("prefix", ["slotcast/v1", "p", LONGEST_PREFIX])
def test_every_topic_fits_the_strictest_broker_and_is_read_back(prefix: str) -> None:
    topics = Topics(prefix)
    for topic in every_topic(topics):
        assert len(topic.encode()) <= limits.TOPIC_MAX_BYTES
        assert topic.count("/") <= limits.TOPIC_MAX_SLASHES
        assert topics.parse(topic) is not None


@pytest.mark.parametrize(
    ("topic", "meaning"),
    [
        ("slotcast/v1/models/detector/notice", NoticeTopic("detector")),
        (f"slotcast/v1/payloads/{HEX}/map/0", MapTopic(PAYLOAD, 0)),
        (f"slotcast/v1/payloads/{HEX}/0/7", ChunkTopic(PAYLOAD, 7)),
        (f"slotcast/v1/payloads/{HEX}/1/8", ChunkTopic(PAYLOAD, 8)),
        (f"slotcast/v1/payloads/{HEX}/want", WantTopic(PAYLOAD)),
        ("slotcast/v1/devices/cam-1/status", DeviceTopic("cam-1", "status")),
    ],
)
def test_topics_are_named_as_the_wire_document_says(topic: str, meaning: object) -> None:
    assert TOPICS.parse(topic) == meaning


def test_topics_are_built_as_they_are_read() -> None:
    assert TOPICS.parse(TOPICS.chunk(PAYLOAD, 1234)) == ChunkTopic(PAYLOAD, 1234)
    assert TOPICS.parse(TOPICS.map_part(PAYLOAD, 3)) == MapTopic(PAYLOAD, 3)
    assert TOPICS.parse(TOPICS.notice("m")) == NoticeTopic("m")
    assert TOPICS.parse(TOPICS.want(PAYLOAD)) == WantTopic(PAYLOAD)
    assert TOPICS.parse(TOPICS.device("d", "metrics")) == DeviceTopic("d", "metrics")
    assert TOPICS.block(PAYLOAD, 154) == f"slotcast/v1/payloads/{HEX}/154/+"
    assert TOPICS.wants() == "slotcast/v1/payloads/+/want"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "slotcast/v1",
        "slotcast/v1/",
        "x/slotcast/v1/models/m/notice",
        "slotcast/v1/models/m/notice/more",
        "slotcast/v1/models//notice",
        "slotcast/v1/models/Upper/notice",
        "slotcast/v1/models/m\n/notice",
        "slotcast/v1/devices//status",
        "slotcast/v1/devices/-d/status",
        "slotcast/v1/devices/d/commands",
        f"slotcast/v1/payloads/{HEX}/0/8",
        f"slotcast/v1/payloads/{HEX}/1/7",
        f"slotcast/v1/payloads/{HEX}/0/07",
        f"slotcast/v1/payloads/{HEX}/0/-1",
        f"slotcast/v1/payloads/{HEX}/0/+",
        f"slotcast/v1/payloads/{HEX}/0/\u0661",
        f"slotcast/v1/payloads/{HEX}/map/99999999",
        f"slotcast/v1/payloads/{HEX.upper()}/0/0",
        f"slotcast/v1/payloads/{HEX[:-1]}/0/0",
        f"slotcast/v1/payloads/{HEX}/0/7\n",
    ],
)
def test_a_topic_that_is_none_of_ours_is_said_to_be_none(topic: str) -> None:
    assert TOPICS.parse(topic) is None


@pytest.mark.parametrize(
    "prefix",
    ["", "/", "/a", "a/", "a//b", "a/+/b", "#", "$SYS", "a b", "ä", "a\n", "a/b/c/d/e", "x" * 157],
)
def test_a_prefix_that_a_broker_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(UsageError, match="topic prefix"):
        Topics(prefix)
