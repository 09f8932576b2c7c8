"""Publishing to a real Mosquitto: what is on the broker, what is sent twice, what is refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.delivery.broker_connect import fetch_retained, open_link
from slotcast_publisher.delivery.broker_link import WINDOW_MAX
from slotcast_publisher.delivery.publish import How, publish, refresh, withdraw
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.notice import OfferWanted
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker as Address
from slotcast_publisher.settings import Settings, save
from slotcast_publisher.trust.notice_proof import verify_notice
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.topics import DEFAULT_PREFIX
from tests.support import models
from tests.support.broker_front import BrokerFront
from tests.support.brokers import Broker, mosquitto
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner
from tests.support.proxy import Packet, Plan, Proxy
from tests.support.retained import retained
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.broker
NUMBERS = iter(range(10_000))
SOON = How(waits=ReadbackWaits(quiet_s=0.25))  # the broker is on this machine


@pytest.fixture
def repo(broker: Broker, tmp_path: Path) -> Repository:
    return make(tmp_path / "repo", Address(url=broker.url))


def make(path: Path, address: Address, *, hidden: int = 1024) -> Repository:
    """A repository with topics of its own, one release, and some 40 chunks."""
    settings = Settings(prefix=f"pub{next(NUMBERS)}", chunk_size_bytes=4096, brokers=(address,))
    repo = Repository.init(path, settings)
    file = path.parent / "model.onnx"
    file.write_bytes(models.classifier(hidden=hidden))
    repo.build_release(ReleaseRequest(model="clf", version="1.0", files=(file,)))
    return repo


def expected(repo: Repository) -> dict[str, bytes]:
    """What must be on the broker, from the release's files."""
    folder = repo.offered_folder("clf")
    found = {repo.topics.notice("clf"): repo.build_notice("clf")}
    for record in folder.payloads():
        payload = record.payload
        data = folder.payload_file(payload).read_bytes()
        for index in range(payload.chunk_count):
            start = index * payload.chunk_size_bytes
            chunk = data[start : start + payload.chunk_size_bytes]
            found[repo.topics.chunk(payload.sha256, index)] = chunk
        for part in range(len(payload.map_parts)):
            topic = repo.topics.map_part(payload.sha256, part)
            found[topic] = folder.map_file(payload, part).read_bytes()
    return found


def through(repo: Repository, proxy: Proxy) -> Repository:
    """The same repository, its broker behind a proxy."""
    address = Address(url=f"mqtt://127.0.0.1:{proxy.port}")
    save(repo.path, msgspec.structs.replace(repo.settings, brokers=(address,)))
    return Repository(repo.path)


def test_the_broker_keeps_exactly_what_was_signed(broker: Broker, repo: Repository) -> None:
    done = publish(repo, "clf", "1.0", how=SOON).all_done()
    assert retained(broker, repo) == expected(repo)
    assert (done[0].protocol, done[0].messages_skipped) == ("5", 0)
    verify_notice(expected(repo)[repo.topics.notice("clf")], repo.roles.root_bytes())


def test_a_second_publish_sends_the_notice_alone(broker: Broker, repo: Repository) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    done = publish(repo, "clf", "1.0", OfferWanted(state="paused"), how=SOON).all_done()
    assert done[0].messages_sent == 1
    assert retained(broker, repo) == expected(repo)
    assert (
        publish(repo, "clf", "1.0", how=How(send_all=True, waits=SOON.waits))
        .all_done()[0]
        .messages_skipped
        == 0
    )


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 130), (signal.SIGINT, 130)]
)
def test_a_publish_that_is_stopped_goes_on_where_it_was(
    broker: Broker, repo: Repository, how: signal.Signals, code: int
) -> None:
    """Stopped in the middle; both runs together send each chunk once, but for the window."""
    total, is_halfway = len(expected_after_offer(repo)), threading.Event()

    def stall(way: str, packet: Packet) -> None:
        if proxy.counters.up_packets["PUBLISH"] > WINDOW_MAX + 5 and not is_halfway.is_set():
            proxy.flow.clear()  # however late it is stopped, it has not ended by then
            is_halfway.set()

    with Proxy((broker.host, broker.port), Plan(tap=stall)) as proxy:
        command = ["publish", str(through(repo, proxy).path), "clf", "1.0", "--json"]
        first = subprocess.Popen(
            [sys.executable, "-m", "slotcast_publisher", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert is_halfway.wait(WAIT_S)
        os.kill(first.pid, how)
        said = first.communicate()[1]
        proxy.sever()
        proxy.resume()
        assert first.returncode == code
        assert (b"run the same command again" in said) == (how != signal.SIGKILL)
        assert repo.topics.notice("clf") not in retained(broker, repo)
        again = subprocess.run(
            [sys.executable, "-m", "slotcast_publisher", *command],
            stdout=subprocess.PIPE,
            check=True,
        )
        published = proxy.counters.up_packets["PUBLISH"]
    told = json.loads(again.stdout)["brokers"][0]
    assert 0 < told["messages_skipped"] < total
    assert told["messages_sent"] + told["messages_skipped"] == total
    assert total <= published <= total + WINDOW_MAX
    assert retained(broker, repo) == expected(repo)


def expected_after_offer(repo: Repository) -> dict[str, bytes]:
    repo.offer("clf", "1.0")
    return expected(repo)


def test_a_link_that_is_cut_on_the_way_is_taken_up_again(broker: Broker, repo: Repository) -> None:
    with Proxy((broker.host, broker.port), Plan(cut_up_at_bytes=(30_000, 90_000))) as proxy:
        done = publish(through(repo, proxy), "clf", "1.0", how=SOON).all_done()
        assert proxy.counters.cuts == 2
    assert done[0].reconnects == 2
    assert retained(broker, repo) == expected(repo)


def test_a_broker_that_still_starts_behind_a_proxy_is_asked_again(
    broker: Broker, repo: Repository
) -> None:
    """What stands before it takes connections sooner than it does, and hangs up on them."""
    with BrokerFront(hang_ups=7, target=(broker.host, broker.port)) as front:
        save(repo.path, msgspec.structs.replace(repo.settings, brokers=(Address(url=front.url),)))
        publish(Repository(repo.path), "clf", "1.0", how=SOON).all_done()
    assert front.connections > 7
    assert retained(broker, repo) == expected(repo)


def test_a_broker_that_forgot_everything_gets_everything_again(tmp_path: Path) -> None:
    with mosquitto("development") as own:
        repo = make(tmp_path / "repo", Address(url=own.url), hidden=128)
        publish(repo, "clf", "1.0", how=SOON).all_done()
        own.restart(keep_data=False)
        done = publish(repo, "clf", "1.0", how=SOON).all_done()
        assert done[0].messages_skipped == 0
        assert retained(own, repo) == expected(repo)


def test_a_broker_of_mqtt_3_1_1_gets_the_same(broker: Broker, repo: Repository) -> None:
    old = Address(url=broker.url, protocol="3.1.1")
    save(repo.path, msgspec.structs.replace(repo.settings, brokers=(old,)))
    assert publish(Repository(repo.path), "clf", "1.0", how=SOON).all_done()[0].protocol == "3.1.1"
    assert retained(broker, repo) == expected(repo)


def test_a_withdrawn_release_leaves_only_the_notice_that_cancels_it(
    broker: Broker, repo: Repository
) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    done = withdraw(repo, "clf", How(purge=True, waits=SOON.waits)).all_done()
    assert done[0].purged == len(repo.store.folder("clf", "1.0").payloads())
    kept = retained(broker, repo)
    assert set(kept) == {repo.topics.notice("clf")}
    notice = kept[repo.topics.notice("clf")]
    assert verify_notice(notice, repo.roles.root_bytes()).offer.state == "canceled"
    assert publish(repo, "clf", "1.0", how=SOON).all_done()[0].messages_skipped == 0
    assert retained(broker, repo) == expected(repo)


def test_purging_keeps_what_another_offer_uses(broker: Broker, repo: Repository) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    repo.build_release(ReleaseRequest(model="clf", version="1.0.post1", same_as="1.0"))
    done = publish(repo, "clf", "1.0.post1", how=How(purge=True, waits=SOON.waits)).all_done()
    assert (done[0].purged, done[0].messages_sent) == (0, 1)
    assert retained(broker, repo) == expected(repo)


def test_refreshing_sends_every_notice_anew(broker: Broker, repo: Repository) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    before = repo.roles.of("clf").version("timestamp")
    assert refresh(repo, SOON)["clf"].all_done()[0].messages_sent == 1
    assert repo.roles.of("clf").version("timestamp") == before + 1
    assert retained(broker, repo) == expected(repo)


def test_the_commands_give_the_keys_that_are_documented(repo: Repository) -> None:
    for arguments in (
        ["publish", str(repo.path), "clf", "1.0"],
        ["withdraw", str(repo.path), "clf"],
        ["refresh", str(repo.path)],
    ):
        result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
        assert set(json.loads(result.stdout)) == documented(arguments[0])


def test_what_the_broker_keeps_can_be_inspected(repo: Repository, broker: Broker) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    arguments = ["inspect", str(repo.path), "clf", "--broker", broker.url, "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(result.stdout)["verdict"] == "verified"


def test_a_broker_without_us_in_its_list_says_so(production_broker: Broker, tmp_path: Path) -> None:
    certificates = production_broker.certificates
    assert certificates is not None
    device = certificates.device("cam-1")
    address = Address(
        url=production_broker.url,
        ca=str(certificates.broker_ca.certificate),
        certificate=str(device.certificate),
        key=str(device.key),
    )
    repo = make(tmp_path / "repo", address, hidden=64)
    with pytest.raises(BrokerRefused, match="refused pub"):
        publish(repo, "clf", "1.0", how=SOON).all_done()


def test_the_production_broker_takes_what_the_publisher_sends(
    production_broker: Broker, tmp_path: Path
) -> None:
    certificates = production_broker.certificates
    assert certificates is not None
    address = certificates.publisher_settings(production_broker.publisher_url)
    repo = make(tmp_path / "repo", address, hidden=64)
    save(repo.path, msgspec.structs.replace(repo.settings, prefix=DEFAULT_PREFIX))
    repo = Repository(repo.path)
    publish(repo, "clf", "1.0", how=SOON).all_done()
    with open_link(address, Path()) as link:
        notice = fetch_retained(link, repo.topics.notice("clf"), 30.0)
    assert notice == repo.build_notice("clf")


def test_a_broker_that_is_not_there_is_named(tmp_path: Path) -> None:
    repo = make(tmp_path / "repo", Address(url="mqtt://127.0.0.1:1"), hidden=64)
    with pytest.raises(LinkDown, match=r"127\.0\.0\.1:1: "):
        publish(repo, "clf", "1.0", how=SOON).all_done()
