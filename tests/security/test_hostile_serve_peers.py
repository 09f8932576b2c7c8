"""What strangers send to a `slotcast serve` that runs, with its fleet, at a real Mosquitto.

tests/security/test_hostile_certificates.py and test_fuzz_at_serve.py try the same and far more at
the functions; here nothing stands between the line and the threads that an error would end.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.serve import renewal_budgets
from slotcast_schemas import wire
from slotcast_schemas.messages import ALL, Renewal
from slotcast_schemas.topics import Topics
from slotcast_schemas.wire import encode
from tests.support import messages as given
from tests.support.broker_front import BrokerFront
from tests.support.brokers import Broker
from tests.support.damaged_bytes import damaged
from tests.support.damaged_certificates import CRAFTED
from tests.support.fleet import Publisher
from tests.support.fleet_fixtures import new_prefix
from tests.support.hostile_broker import HostileBroker
from tests.support.messages import EXAMPLES
from tests.support.renewing import DEVICE, RenewingDesk
from tests.support.serving import serving
from tests.support.waiting import WAIT_S, wait_until
from tests.support.watching import Crowd, Watched, crowd, watching

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

ROUNDS = 40
WORDS = ("want", "renewal", "certificate", "status", "metrics", "presence", "odd")


class Peers:
    """A publisher that renews certificates, and who talks to its `serve`."""

    def __init__(
        self, topics: Topics, desk: RenewingDesk, devices: Crowd, watched: Watched
    ) -> None:
        self.topics = topics
        self.desk = desk
        self.devices = devices
        self.watched = watched
        self.answered = 0

    def ask(self, data: bytes, reason: str) -> None:
        """Ask for the next certificate; the answer must say this."""
        self.put(data)
        self.answered += 1
        line = self.watched.served.wait_for("certificate_answered", count=self.answered)
        assert line["reason"] == reason

    def put(self, data: bytes) -> None:
        """Say something below the device's name, where it asks for certificates."""
        self.devices.put(self.topics.device(DEVICE, "renewal"), data)

    def is_renewed(self) -> bool:
        """Ask as a device does that was not heard: in its room there may still be much."""
        self.put(self.desk.asked())
        answers = self.watched.served.of("certificate_answered")
        return "ok" in {line["reason"] for line in answers}

    def check_all_is_well(self) -> None:
        """See that a device is renewed, and that what it says gets as far as the database."""
        wait_until(self.is_renewed, "its device is renewed")
        status = given.status(counter=2**31, time=int(time.time()), device="cam-9")
        self.devices.say(self.topics, status)
        wait_until(
            lambda: any(row["id"] == "cam-9" for row in self.watched.rows(tables.devices)),
            "what a device says is written down",
        )
        assert not self.watched.served.of("error")


@contextlib.contextmanager
def serving_to(folder: Path, topics: Topics, url: str, devices_url: str) -> Iterator[Peers]:
    """Serve, with the fleet and renewals, at one address; devices talk at another."""
    publisher = Publisher.make(folder, url, prefix=topics.prefix)
    desk = RenewingDesk(publisher.path, datetime.now(UTC))
    with crowd(devices_url) as devices, watching(publisher.path) as watched:
        watched.served.wait_for("hears_renewals")
        yield Peers(topics, desk, devices, watched)


@pytest.fixture
def topics() -> Topics:
    return Topics(new_prefix())


@pytest.fixture
def endless_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers a device more often than any asks."""
    monkeypatch.setattr(renewal_budgets, "DAY_ANSWERS", 1_000_000)


def test_a_device_that_asks_without_end_is_answered_so_often_a_day_and_others_go_on(
    topics: Topics, broker: Broker, tmp_path: Path
) -> None:
    with serving_to(tmp_path / "repo", topics, broker.url, broker.url) as peers:
        served, asked = peers.watched.served, peers.desk.asked()

        def is_spent() -> bool:
            peers.put(asked)
            return bool(served.of("renewals_over_budget"))

        wait_until(is_spent, "its answers of a day are spent")
        for _ in range(ROUNDS):
            peers.put(asked)
        other = msgspec.structs.replace(wire.decode(asked, Renewal), device="cam-2")
        peers.devices.put(topics.device("cam-2", "renewal"), encode(other))
        served.wait_for("certificate_answered", device="cam-2")
        answered = [line["device"] for line in served.of("certificate_answered")]
        assert answered.count(DEVICE) == renewal_budgets.DAY_ANSWERS
        assert len(served.of("renewals_over_budget")) == 1


@pytest.mark.usefixtures("endless_budget")
def test_no_renewal_ends_a_serve_that_runs_and_the_next_good_one_is_answered(
    topics: Topics, broker: Broker, tmp_path: Path
) -> None:
    rng = random.Random(1)
    with serving_to(tmp_path / "repo", topics, broker.url, broker.url) as peers:
        desk = peers.desk
        for craft in CRAFTED:
            peers.ask(desk.asked(request=craft(desk.request)), "usage")
        for craft in CRAFTED[:2]:
            peers.ask(desk.asked(held=craft(desk.held)), "inconsistent")
        for _ in range(ROUNDS):
            peers.put(damaged(desk.asked(), rng))
        peers.check_all_is_well()


@pytest.mark.usefixtures("endless_budget")
def test_what_a_broker_sends_on_topics_that_nobody_heard_on_ends_nothing_of_a_serve_that_runs(
    topics: Topics, broker: Broker, tmp_path: Path
) -> None:
    """Each connection gets each kind of message, on each topic of a device and elsewhere."""
    rng = random.Random(2)
    places = [topics.device("cam-1", word) for word in WORDS]
    places += [
        topics.notice("m"),
        topics.map_part(bytes(32), 0),
        "$SYS/x",
        "x",
        f"{topics.prefix}x",
    ]
    added = [(place, encode(EXAMPLES[kind])) for place in places for kind in ALL]
    added += [(place, damaged(data, rng)) for place, data in added]
    with (
        BrokerFront(hang_ups=0, target=("127.0.0.1", broker.port), added=added) as front,
        serving_to(tmp_path / "repo", topics, front.url, broker.url) as peers,
    ):
        wait_until(lambda: front.additions >= front.connections >= 3, "each connection has them")
        peers.check_all_is_well()
        dropped = peers.watched.fleet.intake.dropped
        wait_until(lambda: dropped["other_topic"] >= len(ALL), "the fleet's connection had them")


@pytest.mark.parametrize(
    "lie",
    [
        "connack_odd",
        "publish_odd_names",
        "publish_odd_properties",
        "answer_odd_properties",
        "garbage",
    ],
)
def test_a_broker_that_lies_ends_no_serve_and_keeps_it_from_no_other_broker(
    topics: Topics, broker: Broker, tmp_path: Path, lie: str
) -> None:
    with HostileBroker({}, (lie,), lies_for_s=WAIT_S) as hostile:
        publisher = Publisher.make(tmp_path / "repo", hostile.url, broker.url, prefix=topics.prefix)
        with serving(publisher.path) as served:
            wait_until(lambda: hostile.was_left >= 3, "it was lied to, again and again")
            served.wait_for("connected", broker=broker.url.removeprefix("mqtt://"))
            assert not served.of("error")
