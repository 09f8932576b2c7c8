"""Done is said only of what is so: brokers that drop, copies that are behind, old stock."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.publish import How, publish
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker as Address
from slotcast_publisher.settings import Settings, save
from slotcast_publisher.trust.precedence import Standing, compare
from slotcast_schemas.errors import BrokerRefused
from tests.support import models
from tests.support.brokers import Broker, mosquitto
from tests.support.retained import retained
from tests.support.serving import serving

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
NUMBERS = iter(range(10_000))
SOON = How(waits=ReadbackWaits(quiet_s=0.25))  # the broker is on this machine


@pytest.fixture
def repo(broker: Broker, tmp_path: Path) -> Repository:
    return make(tmp_path / "repo", Address(url=broker.url))


def make(path: Path, address: Address) -> Repository:
    """A repository with one release of some ten chunks, and topics of its own."""
    settings = Settings(prefix=f"truth{next(NUMBERS)}", chunk_size_bytes=4096, brokers=(address,))
    made = Repository.init(path, settings)
    file = path.parent / "model.onnx"
    file.write_bytes(models.classifier(hidden=256))
    made.build_release(ReleaseRequest(model="clf", version="1.0", files=(file,)))
    return made


def notice_at(broker: Broker, repo: Repository) -> bytes | None:
    return retained(broker, repo).get(repo.topics.notice("clf"))


def again(repo: Repository, version: str) -> None:
    repo.build_release(ReleaseRequest(model="clf", version=version, same_as="1.0"))


def test_a_broker_that_acknowledges_and_drops_what_is_large_is_not_called_done(
    tmp_path: Path,
) -> None:
    """Mosquitto does so to MQTT 3.1.1, which has no words for it."""
    with mosquitto("development", extra=("message_size_limit 2000",)) as small:
        repo = make(tmp_path / "repo", Address(url=small.url, protocol="3.1.1"))
        soon = How(waits=ReadbackWaits(quiet_s=0.25, patience_s=1.0))
        with pytest.raises(BrokerRefused, match="does not give it back"):
            publish(repo, "clf", "1.0", how=soon).all_done()
        assert notice_at(small, repo) is None


def test_a_service_between_release_and_publish_announces_the_present_offer(
    repo: Repository, broker: Broker
) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    again(repo, "2.0")
    with open_link(Address(url=broker.url), Path()) as link:
        link.publish(repo.topics.notice("clf"), b"")  # the broker loses it
        link.next_event(10.0)
    with serving(repo.path) as served:
        served.wait_for("announced", model="clf")
    assert served.of("error") == []
    found = compare(notice_at(broker, repo) or b"", "clf", repo.roles)
    assert found.offer is not None
    assert found.offer.version == "1.0"


def test_a_service_of_a_copy_that_is_behind_leaves_the_newer_notice(
    repo: Repository, broker: Broker, tmp_path: Path
) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    shutil.copytree(repo.path, tmp_path / "behind")
    again(repo, "2.0")
    publish(repo, "clf", "2.0", how=SOON).all_done()
    behind = Repository(tmp_path / "behind")
    for _ in range(4):  # its signatures are renewed on and on, so its numbers are the higher ones
        behind.refresh()
    assert behind.roles.of("clf").version("timestamp") > repo.roles.of("clf").version("timestamp")
    with serving(behind.path) as served:
        served.wait_for("newer_notice", model="clf")
        served.wait_for("error", model="clf", reason="publisher_behind")
    assert served.of("announced") == []
    present = notice_at(broker, repo)
    assert present is not None
    assert compare(present, "clf", repo.roles).standing is Standing.OURS


def test_a_service_takes_off_what_no_offer_uses(
    repo: Repository, broker: Broker, tmp_path: Path
) -> None:
    publish(repo, "clf", "1.0", how=SOON).all_done()
    (tmp_path / "two.onnx").write_bytes(models.classifier(7, hidden=256))
    repo.build_release(ReleaseRequest(model="clf", version="2.0", files=(tmp_path / "two.onnx",)))
    (done,) = publish(repo, "clf", "2.0", how=SOON).all_done()
    old = [record.payload for record in repo.store.folder("clf", "1.0").payloads()]
    assert done.stock.unused_payloads == len(old)
    save(repo.path, msgspec.structs.replace(repo.settings, unused_grace_days=0.0))
    with serving(repo.path, tidy_every_s=0.2) as served:
        line = served.wait_for("tidied", removed_payloads=len(old))
    assert line["unused_payloads"] == 0
    kept = retained(broker, repo)
    assert not {repo.topics.chunk(payload.sha256, 0) for payload in old} & set(kept)
    again_done = publish(Repository(repo.path), "clf", "2.0", how=SOON).all_done()
    assert again_done[0].messages_lost == 0
