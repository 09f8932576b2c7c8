"""Publishing, checking and serving through limits: done where it can be, said where not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slotcast_publisher.delivery.broker_check import check_broker
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.link_events import Arrived
from slotcast_publisher.delivery.publish import How, publish
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker as Address
from slotcast_publisher.settings import Settings
from slotcast_schemas import wire
from slotcast_schemas.errors import BrokerRefused
from slotcast_schemas.messages import Want
from slotcast_schemas.messages.want import WantedBlock
from tests.support import models
from tests.support.broker_rules import Rules
from tests.support.brokers import Broker
from tests.support.limiting_proxy import LimitingProxy
from tests.support.serving import serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
NUMBERS = itertools.count()
CHUNK_BYTES = 4096
QUIET_S = 0.5  # the broker is on this machine; above the delay of answers that come late
HOW = How(waits=ReadbackWaits(quiet_s=QUIET_S))


@contextmanager
def behind(broker: Broker, rules: Rules, folder: Path) -> Iterator[Repository]:
    """A repository with one release, whose broker has these limits."""
    with LimitingProxy((broker.host, broker.port), rules) as proxy:
        settings = Settings(
            prefix=f"limits{next(NUMBERS)}",
            chunk_size_bytes=CHUNK_BYTES,
            brokers=(Address(url=proxy.url),),
        )
        repo = Repository.init(folder / "repo", settings)
        (folder / "model.onnx").write_bytes(models.classifier(hidden=1024))
        repo.build_release(
            ReleaseRequest(model="clf", version="1.0", files=(folder / "model.onnx",))
        )
        yield repo


WORKS = {
    "wildcards refused": Rules(wildcards="refused", says_nothing=True),
    "wildcards bring nothing retained": Rules(wildcards="ignored"),
    "wildcards announced as missing": Rules(wildcards="announced"),
    "one retained message a filter": Rules(retained_per_filter=1),
    "one filter a SUBSCRIBE": Rules(filters_max=1),
    "three subscriptions": Rules(subscriptions_max=3),
    "only MQTT 3.1.1": Rules(version="refused"),
    "a link that lasts two seconds": Rules(close_every_s=2.0),
    "answers that come late": Rules(suback_delay_s=0.3),
}


@pytest.mark.parametrize("limit", WORKS)
def test_a_release_is_published_and_what_is_lost_of_it_is_found(
    broker: Broker, tmp_path: Path, limit: str
) -> None:
    with behind(broker, WORKS[limit], tmp_path) as repo:
        (first,) = publish(repo, "clf", "1.0", how=HOW).all_done()
        payload = repo.store.folder("clf", "1.0").payloads()[0].payload
        lost = [repo.topics.chunk(payload.sha256, n) for n in (2, 3, 11, payload.chunk_count - 1)]
        remove(broker, lost)
        (again,) = publish(repo, "clf", "1.0", how=HOW).all_done()
        assert again.messages_lost == len(lost)
        assert again.messages_sent + again.messages_skipped == first.messages_sent
        (third,) = publish(repo, "clf", "1.0", how=HOW).all_done()
        assert (third.messages_lost, third.messages_sent) == (0, 1)


def remove(broker: Broker, topics: list[str]) -> None:
    """A power cut of the broker, as far as these are concerned."""
    with open_link(Address(url=broker.url), Path()) as link:
        for topic in topics:
            link.publish(topic, b"")
            assert link.next_event(30.0) is not None


REFUSED = {
    "takes the retain flag away": (Rules(retain="stripped"), "does not give it back"),
    "closes at what is retained": (Rules(retain="closes", says_nothing=True), "no retained"),
    "says that it keeps nothing": (Rules(retain="announced"), "keeps no retained messages"),
    "packets are too large": (Rules(packet_max_bytes=2000), "smaller chunk_size_bytes"),
    "packets are too large, which it does not say": (
        Rules(packet_max_bytes=2000, says_nothing=True),
        "smaller chunk_size_bytes",
    ),
    "packets are too large, of MQTT 3.1.1": (
        Rules(packet_max_bytes=2000, version="refused"),
        "smaller chunk_size_bytes",
    ),
    "may not read": (Rules(refused="limits.*"), "--read-back none"),
}


@pytest.mark.parametrize("limit", REFUSED)
def test_what_cannot_be_done_is_said_with_what_to_do(
    broker: Broker, tmp_path: Path, limit: str
) -> None:
    rules, said = REFUSED[limit]
    waits = ReadbackWaits(quiet_s=QUIET_S, patience_s=2.0, reconnect_s=(0.0, 0.0))
    with behind(broker, rules, tmp_path) as repo:
        with pytest.raises(BrokerRefused, match=said):
            publish(repo, "clf", "1.0", how=How(waits=waits)).all_done()
        assert repo.present_offer("clf") is not None  # signed, for `serve` to do the rest
        (address,) = repo.settings.brokers
        found = check_broker(
            "broker",
            lambda: open_link(address, Path(), needs_retained=False),
            repo.topics,
            chunk_size_bytes=CHUNK_BYTES,
            waits=ReadbackWaits(quiet_s=QUIET_S, patience_s=2.0),
        )
    assert found.verdict == "unfit"


@pytest.mark.parametrize("limit", [name for name in WORKS if "wildcards" in name])
def test_a_service_answers_wants_without_wildcards(
    broker: Broker, tmp_path: Path, limit: str
) -> None:
    with behind(broker, WORKS[limit], tmp_path) as repo:
        repo.offer("clf", "1.0")
        payload = repo.store.folder("clf", "1.0").payloads()[0].payload
        want = Want(
            device="cam-1",
            payload=payload.sha256,
            blocks=(WantedBlock(block=1, missing=0b101),),
        )
        with serving(repo.path) as served, open_link(Address(url=broker.url), Path()) as device:
            served.wait_for("announced", model="clf")
            topics = [repo.topics.chunk(payload.sha256, number) for number in (8, 10)]
            device.subscribe(*topics)
            device.publish(repo.topics.want(payload.sha256), wire.encode(want), retain=False)
            assert came(device, len(topics)) == set(topics)


def came(link: BrokerLink, count: int) -> set[str]:
    """Wait for so many messages."""
    found: set[str] = set()
    while len(found) < count:
        event = link.next_event(60.0)
        assert event is not None, found
        if isinstance(event, Arrived):
            found.add(event.topic)
    return found
