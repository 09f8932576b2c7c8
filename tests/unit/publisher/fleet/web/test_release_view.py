"""The screen of a release says whether it is better than the last, and until when it counts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.web.screens.release_data import ReleaseScreenData, release_facts
from slotcast_publisher.fleet.web.screens.release_view import ReleaseScreen, release_screen
from slotcast_publisher.fleet.web.words import Clock
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import Statement
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.status import ModelStatus, Target
from slotcast_schemas.states import State
from tests.support import device_story as story
from tests.support import models

CLOCK = Clock(float(story.NOW_S))
DAY_S = 86_400


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the story's two releases; the new one is offered."""
    path = tmp_path_factory.mktemp("story") / "repo"
    repo = Repository.init(path)
    said = Statement(
        advisory="Finds people in low light.", changes=("mends_fault",),
        supported_until=story.NOW_S + 800 * DAY_S,
    )  # fmt: skip
    ends_soon = Statement(supported_until=story.NOW_S + 21 * DAY_S)
    for hidden, (version, sequence), statement in (
        (8, story.OLD, ends_soon),
        (12, story.NEW, said),
    ):
        file = path.parent / "detector.onnx"
        file.write_bytes(models.classifier(hidden=hidden))
        request = ReleaseRequest(
            model=story.MODEL, version=version, sequence=sequence, files=(file,),
            is_probed=False, statement=statement,
        )  # fmt: skip
        repo.build_release(request, builders=(FullBuilder(),))
    repo.offer(story.MODEL, story.NEW[0])
    return path


@pytest.fixture
def repo(made: Path, tmp_path: Path) -> Repository:
    shutil.copytree(made, tmp_path / "repo")
    return Repository(tmp_path / "repo")


def facts_of(repo: Repository, database: Database, version: str = "3.3.0") -> ReleaseScreenData:
    with database.reading() as connection:
        return release_facts(
            connection, repo, RolloutFiles(repo.path), story.MODEL, version, "board"
        )


def screen_of(repo: Repository, database: Database, version: str = "3.3.0") -> ReleaseScreen:
    return release_screen(facts_of(repo, database, version), CLOCK, "repo")


def fleet(database: Database) -> None:
    """One device that went back, and four that took the release."""
    took = ModelStatus(
        model=story.MODEL,
        state=State.COMMITTED,
        reason="committed",
        active=story.slot("b", *story.NEW),
        target=Target(version="3.3.0", sequence=1046, group="everyone"),
    )
    story.tell_story(database)
    for n in range(4):
        tags = {"board": "rev-c" if n else "rev-b"}
        story.tell_story(database, f"cam-{n}", status=took, tags=tags)


def test_a_release_that_is_slower_on_the_same_devices_says_so_first(
    repo: Repository, database: Database
) -> None:
    fleet(database)
    screen = screen_of(repo, database)
    assert screen.answer.tone == "warn"
    assert "that of 3.2.1 on the same 5 devices" in screen.answer.sentence
    assert screen.answer.sentence.endswith("4 of 5 devices run it.")
    assert "1 device did not take it." in screen.answer.notes
    rows = {row.version: row for row in screen.behaviour}
    assert rows["3.3.0"].ever == "5"
    assert rows["3.3.0"].bad == "1 of 5"
    assert "<svg" in rows["3.3.0"].range
    assert rows["3.2.1"].p95.endswith("ms")


def test_who_runs_it_by_group_and_by_tag(repo: Repository, database: Database) -> None:
    fleet(database)
    screen = screen_of(repo, database)
    assert [(p.name, p.runs, p.of) for p in screen.groups] == [
        ("canary", "0", "1"),
        ("everyone", "4", "4"),
    ]
    assert [(p.name, p.runs, p.of) for p in screen.tags] == [
        ("rev-c", "3", "3"),
        ("rev-b", "1", "2"),
    ]
    assert "tag=board%3Drev-c" in screen.tags[0].href


def test_where_no_tag_is_asked_for_it_is_the_most_common_one(
    repo: Repository, database: Database
) -> None:
    fleet(database)
    with database.reading() as connection:
        files = RolloutFiles(repo.path)
        for asked in ("", "no such tag"):
            facts = release_facts(connection, repo, files, story.MODEL, "3.3.0", asked)
            assert facts.key == "board"
            assert list(facts.keys) == ["board", "ring", "site"]
            assert len(facts.tags) == 2


def test_payloads_say_what_each_saves_for_devices_that_hold_its_base(
    repo: Repository, database: Database
) -> None:
    fleet(database)
    screen = screen_of(repo, database)
    assert [row.base for row in screen.payloads] == [""]
    assert screen.payloads[0].devices == "1", "of five, one still runs another release"
    assert screen.total_devices == "1"


def test_what_it_says_to_people_and_whose_support_ends(
    repo: Repository, database: Database
) -> None:
    fleet(database)
    screen = screen_of(repo, database)
    assert screen.changes == ("mends fault",)
    assert [(row.version, row.words, row.is_soon) for row in screen.support] == [
        ("3.3.0", "2 years 2 months left", False),
        ("3.2.1", "ends in 21 days", True),
    ]
    assert "Support of 3.2.1 ends in 21 days; it runs on 1 device." in screen.answer.notes


def test_who_signed_and_that_devices_would_believe_it(repo: Repository, database: Database) -> None:
    screen = screen_of(repo, database)
    assert screen.verified == "verified"
    names = [role.name for role in screen.roles]
    assert names == ["release-detector", "offers", "snapshot", "timestamp", "targets", "root"]
    assert all(role.count == "1 signed, 1 needed" for role in screen.roles)
    assert screen_of(repo, database, "3.2.1").verified == "", "it is not what is offered"


def test_a_notice_that_devices_would_refuse_is_the_first_thing_said(
    repo: Repository, database: Database
) -> None:
    target = next(repo.path.rglob("release.msgpack"))
    for path in repo.path.rglob("release.msgpack"):
        if "3.3.0" in str(path):
            target = path
    data = bytearray(target.read_bytes())
    data[data.index(b"low light")] ^= 1
    target.chmod(0o644)
    target.write_bytes(bytes(data))
    answer = screen_of(repo, database).answer
    assert answer.tone == "bad"
    assert answer.sentence.startswith("A device would refuse its notice")


def test_empty_states_say_what_to_do_next(repo: Repository, database: Database) -> None:
    screen = screen_of(repo, database)
    assert "No device has this model yet." in screen.answer.sentence
    assert screen.groups == screen.tags == ()
    assert screen.note.startswith("No device has reported a call yet")
    with pytest.raises(NotFound, match=r"no release '9\.9' of 'detector'"):
        facts_of(repo, database, "9.9")
    with pytest.raises(NotFound):
        facts_of(repo, database, "../3.3.0")
