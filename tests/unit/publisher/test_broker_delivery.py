"""Done is said only of what comes back; a newer notice is never replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.cli import app, exit_code
from slotcast_publisher.delivery import broker_delivery
from slotcast_publisher.delivery.publish import How, PublishOutcome, publish, refresh, withdraw
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.errors import PublisherBehind
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner
from tests.support.limited_broker import LimitedBroker, LimitedLink
from tests.support.role_sets import signed_files

AT_ONCE = ReadbackWaits(
    quiet_s=0, answer_s=0, patience_s=0.02, again_s=0.001, reconnect_s=(0.0, 0.0)
)
HOW = How(brokers=["mqtt://one"], waits=AT_ONCE)


class Brokers(dict[str, LimitedBroker]):
    """Brokers by host name; one that is not there does not answer."""

    @contextlib.contextmanager
    def open(self, broker: Broker, base: Path) -> Iterator[LimitedLink]:
        del base
        name = broker.address.name.partition(":")[0]
        if name not in self:
            raise LinkDown(f"{name}: no answer")
        with self[name].connect() as link:
            yield link


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    found = Brokers(one=LimitedBroker())
    monkeypatch.setattr(broker_delivery, "open_link", found.open)
    return found


def done(outcome: PublishOutcome) -> broker_delivery.Pushed:
    (pushed,) = outcome.all_done()
    return pushed


def chunks(broker: LimitedBroker) -> list[str]:
    return sorted(t for t in broker.kept if "/payloads/" in t and "/map/" not in t)


def test_what_was_lost_is_sent_again_and_counted(repo: Repository, brokers: Brokers) -> None:
    first = done(publish(repo, "clf", "1.0", how=HOW))
    whole = dict(brokers["one"].kept)
    for topic in [*chunks(brokers["one"])[1:4], next(t for t in whole if "/map/" in t)]:
        del brokers["one"].kept[topic]
    again = done(publish(repo, "clf", "1.0", how=HOW))
    assert brokers["one"].kept == whole
    assert (again.messages_lost, again.messages_sent) == (4, 5)
    assert again.messages_sent + again.messages_skipped == first.messages_sent
    assert done(publish(repo, "clf", "1.0", how=HOW)).messages_lost == 0


def test_only_the_ends_are_looked_at_if_that_is_asked(repo: Repository, brokers: Brokers) -> None:
    publish(repo, "clf", "1.0", how=HOW)
    kept = brokers["one"].kept
    middle = chunks(brokers["one"])[3]
    del kept[middle]
    ends = How(brokers=HOW.brokers, waits=HOW.waits, read_back="ends")
    assert done(publish(repo, "clf", "1.0", how=ends)).messages_lost == 0
    assert middle not in kept
    done(publish(repo, "clf", "1.0", how=HOW))
    assert middle in kept


def test_a_broker_that_keeps_nothing_is_found_out_at_the_first_chunk(
    repo: Repository, brokers: Brokers
) -> None:
    seen: list[str] = []

    def keeps(topic: str, data: bytes) -> bool:
        del data
        seen.append(topic)
        return False

    brokers["one"].keeps = keeps
    with pytest.raises(BrokerRefused, match="does not give it back") as refused:
        publish(repo, "clf", "1.0", how=HOW).all_done()
    assert exit_code(refused.value) == 3
    assert "slotcast serve" in str(refused.value)
    assert len(seen) == 1
    assert repo.present_offer("clf") is not None  # `serve` can do the rest


@pytest.mark.parametrize("dropped", ["/map/", "/notice", "last chunk"])
def test_what_is_acknowledged_and_dropped_is_not_called_done(
    repo: Repository, brokers: Brokers, dropped: str
) -> None:
    payload = repo.store.folder("clf", "1.0").payloads()[-1].payload
    last = repo.topics.chunk(payload.sha256, payload.chunk_count - 1)
    brokers["one"].keeps = lambda topic, _data: topic != last and dropped not in topic
    if dropped != "last chunk":
        brokers["one"].keeps = lambda topic, _data: dropped not in topic
    with pytest.raises(BrokerRefused, match="does not give it back"):
        publish(repo, "clf", "1.0", how=HOW).all_done()
    notice = repo.topics.notice("clf")
    assert notice not in brokers["one"].kept
    brokers["one"].keeps = lambda _topic, _data: True
    done(publish(repo, "clf", "1.0", how=HOW))  # nothing that was dropped is believed to be there
    assert {last, notice} <= set(brokers["one"].kept)


def test_a_user_who_may_only_write_says_so(repo: Repository, brokers: Brokers) -> None:
    brokers["one"].may_read = False
    with pytest.raises(BrokerRefused, match="--read-back none"):
        publish(repo, "clf", "1.0", how=HOW).all_done()
    believed = How(brokers=HOW.brokers, read_back="none")
    assert done(publish(repo, "clf", "1.0", how=believed)).messages_read_back == 0
    assert repo.topics.notice("clf") in brokers["one"].kept


@pytest.fixture
def behind(repo: Repository, brokers: Brokers, tmp_path: Path) -> Repository:
    """A copy from before 2.0, which was published since."""
    publish(repo, "clf", "1.0", how=HOW)
    shutil.copytree(repo.path, tmp_path / "behind")
    repo.build_release(ReleaseRequest(model="clf", version="2.0", same_as="1.0", is_probed=False))
    done(publish(repo, "clf", "2.0", how=HOW))
    return Repository(tmp_path / "behind")


@pytest.mark.parametrize(
    ("releases", "said"),
    [
        (False, "release-clf 2 .here 1.*publish from the newer copy"),
        (True, r"sequence 2 is 2\.0 there and 1\.1 here.*two publishers"),
    ],
)
def test_a_copy_that_is_behind_signs_and_replaces_nothing(
    behind: Repository, brokers: Brokers, *, releases: bool, said: str
) -> None:
    if releases:
        behind.build_release(
            ReleaseRequest(model="clf", version="1.1", same_as="1.0", is_probed=False)
        )
    kept = dict(brokers["one"].kept)
    signed = signed_files(behind)
    for command in (
        lambda: publish(behind, "clf", "1.1" if releases else "1.0", how=HOW),
        lambda: withdraw(behind, "clf", HOW),
        lambda: refresh(behind, HOW),
    ):
        with pytest.raises(PublisherBehind, match=said) as refused:
            command()
        assert exit_code(refused.value) == 1
    assert brokers["one"].kept == kept
    assert signed_files(behind) == signed


def test_a_backup_whose_newer_copy_is_lost_takes_over_what_is_at_the_broker(
    behind: Repository, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_publisher.cli.publishing.How", lambda **_options: HOW)
    result = CliRunner().invoke(app, ["adopt", str(behind.path), "--json"], catch_exceptions=False)
    fields = json.loads(result.stdout)
    assert set(fields) == documented("adopt")
    assert [(item["version"], item["has_files"]) for item in fields["adopted"]] == [("2.0", False)]
    again = Repository(behind.path)
    done(refresh(again, HOW)["clf"])
    again.build_release(ReleaseRequest(model="clf", version="3.0", same_as="1.0", is_probed=False))
    done(publish(again, "clf", "3.0", how=HOW))
    assert again.store.folder("clf", "3.0").load().sequence == 3


def test_a_newer_notice_that_comes_while_the_chunks_are_sent_is_not_replaced(
    repo: Repository, behind: Repository, brokers: Brokers
) -> None:
    """It was not there when the copy that is behind looked first: its broker had lost it."""
    notice = brokers["one"].kept.pop(repo.topics.notice("clf"))
    for topic in chunks(brokers["one"]):
        del brokers["one"].kept[topic]

    def keeps(topic: str, data: bytes) -> bool:
        del topic, data
        brokers["one"].kept[repo.topics.notice("clf")] = notice
        return True

    brokers["one"].keeps = keeps
    with pytest.raises(PublisherBehind):
        publish(behind, "clf", "1.0", how=HOW).all_done()
    assert brokers["one"].kept[repo.topics.notice("clf")] == notice


def test_a_foreign_notice_is_replaced_and_that_is_said(repo: Repository, brokers: Brokers) -> None:
    brokers["one"].kept[repo.topics.notice("clf")] = b"junk"
    assert done(publish(repo, "clf", "1.0", how=HOW)).replaced_foreign
    assert not done(publish(repo, "clf", "1.0", how=HOW)).replaced_foreign


def test_one_broker_that_fails_keeps_no_other_from_being_served(
    repo: Repository, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = dataclasses.replace(HOW, brokers=["mqtt://gone", "mqtt://one"])
    monkeypatch.setattr("slotcast_publisher.cli.publishing.How", lambda **_options: how)
    both = ["--broker", "mqtt://gone", "--broker", "mqtt://one"]
    result = CliRunner().invoke(app, ["publish", str(repo.path), "clf", "1.0", *both, "--json"])
    assert isinstance(result.exception, LinkDown)
    fields = json.loads(result.stdout)
    assert [item["broker"] for item in fields["brokers"]] == ["one:1883"]
    assert [(item["broker"], item["reason"]) for item in fields["failed"]] == [
        ("gone:1883", "link_down")
    ]
    assert repo.topics.notice("clf") in brokers["one"].kept
