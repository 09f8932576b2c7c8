"""What is done for one model costs the same alone and beside 1,999 others; notices stay small."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.delivery import broker_delivery
from slotcast_publisher.delivery.publish import How, publish
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve import changes
from slotcast_publisher.serve.changes import Changes
from slotcast_publisher.serve.kept_catalog import RENEWED_AT_ONCE, KeptCatalog
from slotcast_publisher.settings import Broker
from slotcast_publisher.trust.notice_proof import verify_notice
from tests.support.limited_broker import LimitedBroker, LimitedLink
from tests.support.many_models import FileCount, add_like, lay_beside, not_durable

NOTICE_MAX_BYTES = 10_000
MODELS = 2_000
AT_ONCE = ReadbackWaits(
    quiet_s=0, answer_s=0, patience_s=0.02, again_s=0.001, reconnect_s=(0.0, 0.0)
)
HOW = How(brokers=["mqtt://one"], waits=AT_ONCE)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> LimitedBroker:
    found = LimitedBroker()

    @contextlib.contextmanager
    def open_link(_broker: Broker, _base: Path) -> Iterator[LimitedLink]:
        with found.connect() as link:
            yield link

    monkeypatch.setattr(broker_delivery, "open_link", open_link)
    return found


@pytest.fixture
def many(repo: Repository, broker: LimitedBroker, tmp_path: Path) -> Repository:
    """The repository of `repo`, published, with 1,999 models beside it."""
    del broker
    publish(repo, "clf", "1.0", how=HOW).all_done()
    shutil.copytree(repo.path, tmp_path / "many")
    found = Repository(tmp_path / "many")
    lay_beside(found, "clf", MODELS - 1)
    assert len(found.store.models()) == len(found.roles.models()) == MODELS
    return found


def request(version: str) -> ReleaseRequest:
    return ReleaseRequest(model="clf", version=version, same_as="1.0", is_probed=False)


def test_release_and_publish_open_as_many_files_beside_2000_models_as_alone(
    repo: Repository, many: Repository, broker: LimitedBroker
) -> None:
    counts, kept = [], dict(broker.kept)
    for path in (repo.path, many.path):
        broker.kept.clear()
        broker.kept.update(kept)
        files = FileCount(path)
        with files.counting():
            fresh = Repository(path)  # as each command does
            fresh.build_release(request("2.0"))
            publish(fresh, "clf", "2.0", how=HOW).all_done()
            publish(fresh, "clf", "2.0", how=HOW).all_done()
        counts.append(files.count)
    assert counts[0] == counts[1] > 0


def test_a_look_at_2000_models_in_which_nothing_changed_asks_for_two_dates(
    many: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Changes(many.roles)
    assert len(found.take()) == MODELS
    asked: list[Path] = []
    stamp = changes._stamp

    def counted(path: Path) -> changes.Stamp:
        asked.append(path)
        return stamp(path)

    monkeypatch.setattr(changes, "_stamp", counted)
    files = FileCount(many.path)
    with files.counting():
        assert found.take() == set()
    assert (len(asked), files.count) == (2, 0)
    many.build_release(request("2.0"))
    many.offer("clf", "2.0")
    assert found.take() == {"clf"}
    assert found.take() == set()


def test_a_signature_whose_stamp_was_lost_is_seen_after_a_while(repo: Repository) -> None:
    """Whoever signed was killed between the timestamp and the file that all have in common."""
    repo.offer("clf", "1.0")
    found = Changes(repo.roles)
    found.take()
    stamp = repo.roles.signed_at_file
    before = stamp.stat()
    timestamp = repo.roles.of("clf").timestamp_file
    timestamp.write_bytes(timestamp.read_bytes() + b" ")
    assert stamp.stat() == before
    looks = [found.take() for _ in range(changes.LOOKS_PER_SCAN + 1)]
    assert looks[-1] == {"clf"}
    assert not any(looks[:-1])


def test_a_look_reads_what_was_signed_and_a_root_that_changed_is_in_every_notice(
    repo: Repository,
) -> None:
    with not_durable():
        repo.offer("clf", "1.0")
        add_like(repo, "clf", "1.0", (f"m-{n}" for n in range(5)))
        kept = KeptCatalog(repo)
        assert len(kept.look()) == 6
        before = dict(kept.catalog.announcements)
        assert kept.look() == set()
        repo.build_release(request("2.0"))
        assert kept.look() == set()  # it is signed, and in no notice yet
        repo.offer("clf", "2.0")
        assert kept.look() == {"clf"}
        repo.withdraw("m-1")
        assert kept.look() == {"m-1"}
        assert kept.catalog.announcements["m-2"] is before["m-2"]
        repo.roles.shared.renew_root()
        assert len(kept.look()) == 6
        assert all(b"2.root.json" in a.notice for a in kept.catalog.announcements.values())
        assert not kept.problems


def test_what_was_dated_on_one_day_is_renewed_a_bounded_number_at_a_time(
    repo: Repository,
) -> None:
    with not_durable():
        repo.offer("clf", "1.0")
        add_like(repo, "clf", "1.0", (f"m-{n}" for n in range(RENEWED_AT_ONCE + 9)))
        later_s = repo.now_s() + 31 * 86_400
        later = Repository(repo.path, now_s=lambda: later_s)
        kept = KeptCatalog(later)
        kept.look()
        renewed = []
        while kept.are_due():
            kept.renew()
            renewed.append(len(kept.look()))
    assert renewed == [RENEWED_AT_ONCE, 10]


def test_a_notice_past_its_date_is_announced_no_more(repo: Repository) -> None:
    repo.offer("clf", "1.0")
    now_s = repo.now_s()
    clock = [now_s]
    served = Repository(repo.path, now_s=lambda: clock[0])
    kept = KeptCatalog(served)
    kept.look()
    end_s = kept.catalog.announcements["clf"].expires_s
    assert 59 * 86_400 < end_s - now_s < 61 * 86_400
    clock[0] = end_s + 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuf.ngclient._internal.trusted_metadata_set.Timestamp.is_expired", is_over)
        assert kept.look() == {"clf"}
    assert kept.catalog.announcements == {}
    assert [error.reason for error in kept.problems.values()] == ["expired"]


def is_over(*_arguments: object) -> bool:
    return True


def test_a_notice_is_below_10_kb_after_many_releases_beside_many_models(
    many: Repository,
) -> None:
    with not_durable():
        for number in range(2, 40):
            many.build_release(request(f"{number}.0"))
            many.offer("clf", f"{number}.0")
    notice = many.build_notice("clf")
    assert len(notice) < NOTICE_MAX_BYTES
    verified = verify_notice(notice, many.roles.root_bytes(1))
    assert verified.release.version == "39.0"
    assert many.roles.of("clf").signed_release("clf", "24.0") is not None
    assert many.roles.of("clf").signed_release("clf", "23.0") is None
