"""A broker fills up with nothing: what no offer uses goes after the grace, and no sooner."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.delivery import broker_delivery
from slotcast_publisher.delivery.broker_delivery import BrokerDelivery
from slotcast_publisher.delivery.publish import How, publish, withdraw
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.delivery.removal import Tidied
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_schemas import wire
from slotcast_schemas.messages import Notice, Presence, Status
from slotcast_schemas.messages.status import ModelStatus, Progress
from slotcast_schemas.states import State
from tests.support import models
from tests.support.cli_runner import CliRunner
from tests.support.limited_broker import LimitedBroker, LimitedLink

DAY_S = 86_400.0
WHOLE = 2
"""The number of payloads of the first release: one that is easy to unpack, and a smaller one."""
WAITS = ReadbackWaits(quiet_s=0, answer_s=0, patience_s=0.02, again_s=0.001)
HOW = How(brokers=["mqtt://one"], waits=WAITS)


class Clock:
    """A clock that can be moved on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> LimitedBroker:
    found = LimitedBroker()

    @contextlib.contextmanager
    def opened(broker: Broker, base: Path) -> Iterator[LimitedLink]:
        del broker, base
        with found.connect() as link:
            yield link

    monkeypatch.setattr(broker_delivery, "open_link", opened)
    return found


@pytest.fixture(scope="module")
def with_second(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a second release beside the first, made once."""
    folder = tmp_path_factory.mktemp("with-second")
    shutil.copytree(finished, folder / "repo")
    (folder / "two.onnx").write_bytes(models.classifier(5, hidden=500))
    request = ReleaseRequest(model="clf", version="2.0", files=(folder / "two.onnx",))
    Repository(folder / "repo").build_release(request)
    return folder / "repo"


@pytest.fixture
def two(with_second: Path, clock: Clock, broker: LimitedBroker, tmp_path: Path) -> Repository:
    """A repository whose first release was published, and then the second."""
    shutil.copytree(with_second, tmp_path / "repo")
    repo = Repository(tmp_path / "repo", now_s=clock)
    stock(repo, "1.0")
    assert stock(repo, "2.0").unused_payloads == WHOLE
    return repo


def stock(repo: Repository, version: str, how: How = HOW) -> Tidied:
    (done,) = publish(repo, "clf", version, how=how).all_done()
    return done.stock


def payloads(broker: LimitedBroker) -> set[str]:
    return {topic.split("/payloads/")[1][:64] for topic in broker.kept if "/payloads/" in topic}


def full_of(repo: Repository, version: str) -> str:
    records = repo.store.folder("clf", version).payloads()
    return next(r.payload.sha256.hex() for r in records if r.payload.base is None)


def test_what_lies_there_is_said_and_goes_after_the_grace(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    assert full_of(two, "1.0") in payloads(broker)
    before = stock(two, "2.0")
    assert (before.unused_payloads, before.removed_payloads) == (WHOLE, 0)
    assert before.kept_bytes > before.unused_bytes > 0
    clock.ahead_s = DAY_S + 60
    after = stock(two, "2.0")
    assert (after.unused_payloads, after.removed_payloads) == (0, WHOLE)
    assert after.removed_bytes == before.unused_bytes
    assert full_of(two, "1.0") not in payloads(broker)
    assert full_of(two, "2.0") in payloads(broker)


def test_without_a_grace_it_goes_at_once_and_with_a_long_one_never(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    with_grace(two, 3650)
    clock.ahead_s = 300 * DAY_S
    assert stock(Repository(two.path, now_s=clock), "2.0").removed_payloads == 0
    with_grace(two, 0)
    assert stock(Repository(two.path, now_s=clock), "2.0").removed_payloads == WHOLE


def with_grace(repo: Repository, days: int) -> None:
    file = repo.path / "slotcast.toml"
    lines = [line for line in file.read_text().splitlines() if "unused_grace_days" not in line]
    file.write_text("\n".join([f"unused_grace_days = {days}", *lines]))


def test_what_is_offered_of_another_model_or_again_stays(
    two: Repository, clock: Clock, broker: LimitedBroker, tmp_path: Path
) -> None:
    two.build_release(ReleaseRequest(model="clf", version="3.0", same_as="1.0"))
    stock(two, "3.0")
    clock.ahead_s = 2 * DAY_S
    stock(two, "3.0")
    clock.ahead_s = 4 * DAY_S
    assert full_of(two, "1.0") in payloads(broker)
    assert full_of(two, "2.0") not in payloads(broker)


@pytest.mark.parametrize("online", [True, False])
def test_what_a_device_says_it_fetches_stays(
    two: Repository, clock: Clock, broker: LimitedBroker, *, online: bool
) -> None:
    """One that refused the present offer goes on with the one before it."""
    clock.ahead_s = 3 * DAY_S
    said = clock() - (2 * DAY_S if online else 600)
    tell(two, broker, "cam-1", full_of(two, "1.0"), said, online=online)
    spared = stock(two, "2.0")
    assert (spared.removed_payloads, spared.fetched_payloads) == (WHOLE - 1, 1)
    tell(two, broker, "cam-1", full_of(two, "2.0"), said, online=online)
    assert stock(two, "2.0").removed_payloads == 1


def test_a_device_that_died_on_the_way_keeps_nothing_for_ever(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    tell(two, broker, "cam-1", full_of(two, "1.0"), clock(), online=False)
    clock.ahead_s = 3 * DAY_S
    assert stock(two, "2.0").removed_payloads == WHOLE


def tell(
    repo: Repository, broker: LimitedBroker, device: str, sha256: str, at_s: float, *, online: bool
) -> None:
    """What a device's status and presence say on the broker."""
    progress = Progress(
        payload=bytes.fromhex(sha256), codec="full+zstd", size_bytes=10, verified_bytes=5
    )
    model = ModelStatus(
        model="clf", state=State.DOWNLOADING, reason="downloading", progress=progress
    )
    status = Status(device=device, counter=1, time=int(at_s), models=(model,))
    presence = Presence(device=device, online=online, time=int(at_s))
    broker.kept[repo.topics.device(device, "status")] = wire.encode(status)
    broker.kept[repo.topics.device(device, "presence")] = wire.encode(presence)


def test_what_a_device_asked_for_lately_stays(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    clock.ahead_s = 2 * DAY_S
    wanted = {bytes.fromhex(full_of(two, "1.0")): clock() - 60}
    with BrokerDelivery(two, Broker(url="mqtt://one"), WAITS) as target:
        assert target.tidy(wanted=wanted).removed_payloads == WHOLE - 1
        assert target.tidy().removed_payloads == 0
    clock.ahead_s = 4 * DAY_S
    with BrokerDelivery(two, Broker(url="mqtt://one"), WAITS) as target:
        assert target.tidy().removed_payloads == 1


def test_a_notice_at_the_broker_that_names_it_keeps_it(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    """Another copy of the repository may have offered it again."""
    present = broker.kept[two.topics.notice("clf")]
    earlier = Repository(two.path, now_s=clock)
    broker.kept[two.topics.notice("clf")] = naming(earlier, full_of(two, "1.0"), present)
    clock.ahead_s = 2 * DAY_S
    with BrokerDelivery(two, Broker(url="mqtt://one"), WAITS) as target:
        assert target.tidy().removed_payloads == WHOLE - 1
        broker.kept[two.topics.notice("clf")] = present
        assert target.tidy().removed_payloads == 0  # it waits anew
        clock.ahead_s = 4 * DAY_S
        assert target.tidy().removed_payloads == 1


def naming(repo: Repository, sha256: str, notice: bytes) -> bytes:
    """A notice whose offer names another payload; who signed it does not matter here."""
    found = wire.decode(notice, Notice)
    key = "offers/clf.offer"
    offer = repo.present_offer("clf")
    assert offer is not None
    payload = msgspec.structs.replace(offer.payloads[0], sha256=bytes.fromhex(sha256))
    changed = wire.encode(msgspec.structs.replace(offer, payloads=(payload,)))
    return wire.encode(msgspec.structs.replace(found, targets={**found.targets, key: changed}))


def test_what_no_journal_speaks_of_is_found_by_its_map(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    """A backup was put back, or another machine published."""
    shutil.rmtree(two.path / "push")
    stranger = f"{7:064x}"
    broker.kept[two.topics.map_part(bytes.fromhex(stranger), 0)] = b"not ours"
    found = stock(two, "2.0")
    assert (found.unused_payloads, found.unknown_payloads) == (WHOLE, 1)
    clock.ahead_s = 2 * DAY_S
    assert stock(two, "2.0").removed_payloads == WHOLE
    assert full_of(two, "1.0") not in payloads(broker)
    assert stranger in payloads(broker)


def test_purging_waits_for_no_grace_but_for_a_device_that_fetches(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    purging = How(brokers=HOW.brokers, waits=WAITS, purge=True)
    tell(two, broker, "cam-1", full_of(two, "1.0"), clock(), online=True)
    assert stock(two, "2.0", purging).fetched_payloads == 1
    tell(two, broker, "cam-1", full_of(two, "1.0"), clock() - 60, online=False)
    assert stock(two, "2.0", purging).removed_payloads == 1


def test_a_withdrawn_release_goes_after_the_grace(
    two: Repository, clock: Clock, broker: LimitedBroker
) -> None:
    withdraw(two, "clf", HOW).all_done()
    assert payloads(broker)
    clock.ahead_s = 2 * DAY_S
    withdraw(two, "clf", HOW).all_done()
    assert payloads(broker) == set()


def test_list_says_when_and_to_whom(two: Repository, clock: Clock) -> None:
    clock.ahead_s = 3600
    publish(two, "clf", "2.0", OfferWanted(state="paused"), how=HOW).all_done()
    result = CliRunner().invoke(app, ["list", str(two.path), "--json"], catch_exceptions=False)
    (model,) = json.loads(result.stdout)["models"]
    first, second = model["releases"]
    assert [d["broker"] for d in first["published"]] == ["one:1883"]
    assert [(d["state"], d["groups"][0]["name"]) for d in second["published"]] == [
        ("active", "everyone"),
        ("paused", "everyone"),
    ]
    assert second["published"][0]["at"] < second["published"][1]["at"]
    shown = CliRunner().invoke(app, ["list", str(two.path)], catch_exceptions=False).stdout
    assert "one:1883" in shown
    assert "paused" in shown
