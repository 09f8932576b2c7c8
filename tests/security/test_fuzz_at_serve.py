"""Whatever comes below a device's name, `serve` takes it as a message or says a word for it.

A broker may send what nobody subscribed to: each kind of message comes on each topic here, whole,
damaged and with odd values, into the intake with its database. Seeded.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgpack
import pytest

from slotcast_publisher.fleet.intake.messages import Drop, read
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas.messages import ALL, Metrics, Presence, Status
from slotcast_schemas.topics import DeviceTopic
from slotcast_schemas.wire import encode
from tests.support import messages as given
from tests.support.damaged_bytes import damaged
from tests.support.messages import EXAMPLES
from tests.support.signing_devices import NOW_S, TOPICS, enrol, hearing_fleet, new_key

WORDS = ("status", "metrics", "presence", "want", "renewal", "certificate")
REPORTS = (Status, Metrics, Presence)
ROUNDS = 200


def heard(topic: str, data: bytes) -> Heard:
    return Heard(topic, data, False, NOW_S, "broker")


@pytest.mark.parametrize("word", WORDS)
def test_each_kind_of_message_on_each_topic_of_a_device_is_one_or_a_word(word: str) -> None:
    topic = TOPICS.device("cam-1", word)
    assert TOPICS.parse(topic) == DeviceTopic("cam-1", word)
    rng = random.Random(word)
    for kind in ALL:
        raw = encode(EXAMPLES[kind])
        for data in (b"", raw, *(damaged(raw, rng) for _ in range(ROUNDS))):
            found = read(heard(topic, data), TOPICS)
            assert isinstance(found, (*REPORTS, Drop)), data.hex()
            assert isinstance(found, Drop) or word == found.KIND
            if word not in {"status", "metrics", "presence"}:
                assert found is Drop.OTHER_TOPIC


def test_what_a_broker_sends_on_topics_that_nobody_heard_on_does_not_end_the_intake(
    tmp_path: Path,
) -> None:
    key = new_key()
    enrol(tmp_path / "repo", "cam-1", key)
    with hearing_fleet(tmp_path / "repo") as fleet:
        for word in ("want", "renewal", "certificate"):
            for kind in ALL:
                topic = TOPICS.device("cam-1", word)
                assert fleet.hear(topic, encode(EXAMPLES[kind])) == Drop.OTHER_TOPIC
        status = given.status(counter=10, time=int(NOW_S), device="cam-1")
        assert fleet.says(status, key) is None


@pytest.mark.parametrize("kind", REPORTS, ids=lambda kind: kind.KIND)
def test_damaged_reports_are_written_or_dropped_and_the_next_good_one_counts(
    kind: type[Status | Metrics | Presence], tmp_path: Path
) -> None:
    """By devices that nobody enrolled, so that what is odd gets as far as the database."""
    rng = random.Random(kind.KIND)
    fields: dict[str, Any] = msgpack.unpackb(encode(EXAMPLES[kind]), raw=False)
    device = str(fields["device"])
    topic = TOPICS.device(device, kind.KIND)
    raw = encode(EXAMPLES[kind])
    words: set[str | None] = set()
    with hearing_fleet(tmp_path / "repo") as fleet:
        for _ in range(ROUNDS):
            fleet.now_s += 1
            words.add(fleet.hear(topic, damaged(raw, rng)))
        assert {None, Drop.MALFORMED} <= words
        fresh = given.status(counter=2**31, time=int(fleet.now_s) + 1, device="cam-9")
        assert fleet.says(fresh) is None
