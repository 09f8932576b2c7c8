"""`slotcast rollout`: what a person asks for is durable, carried out once, and answered."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.cli import EXIT_REFUSED, EXIT_USAGE, main
from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.fleet.database import lease
from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.database.rollouts import log_of
from slotcast_publisher.fleet.rollout.plan import read_plan
from slotcast_publisher.fleet.rollout.state_table import GroupEvent, RolloutEvent, RolloutState
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.fleet_database import LEASE
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.way_back import post_version
from slotcast_publisher.repository import Repository
from tests.support.cli_docs import documented


@pytest.fixture
def repo(released: Path, tmp_path: Path) -> Path:
    shutil.copytree(released, tmp_path / "repo")
    return tmp_path / "repo"


class Command:
    """Runs `slotcast rollout` in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str | Path, code: int = 0) -> str:
        """Run it; gives what it printed, or, where it failed, the error."""
        self._monkeypatch.setattr("sys.argv", ["slotcast", "rollout", *map(str, arguments)])
        try:
            found = main()
        except SystemExit as exc:
            found = int(exc.code or 0)
        output = self._capsys.readouterr()
        assert found == code, output
        return output.out if code == 0 else output.err

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        """Run it with --json."""
        found: dict[str, Any] = json.loads(self(*arguments, "--json"))
        return found


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture
def plan(repo: Path, rollout: Command, tmp_path: Path) -> Path:
    file = tmp_path / "plan.toml"
    rollout("plan", repo, "clf", "2", "--out", file)
    return file


def test_the_plan_that_is_written_is_one_that_can_be_checked_and_started(
    repo: Path, plan: Path, rollout: Command
) -> None:
    assert read_plan(plan.read_text(), "plan").name == "clf-2"
    assert set(rollout.json("check", repo, plan)) == documented("rollout check")
    assert set(rollout.json("start", repo, plan)) == documented("rollout start")
    assert rollout.json("start", repo, plan)["new"] is False
    assert "another file with --out" in rollout("plan", repo, "clf", "2", "--out", plan, code=2)


def test_a_request_is_carried_out_by_the_command_where_nobody_drives(
    repo: Path, plan: Path, rollout: Command
) -> None:
    rollout("start", repo, plan, "--who", "ada")
    assert "ada" not in rollout("status", repo, "clf-2").splitlines(), "a name alone says nothing"
    assert "pause: done" in rollout("pause", repo, "clf-2", "--why", "lunch", "--who", "ada")
    status = rollout.json("status", repo, "clf-2")
    assert set(status) == documented("rollout status")
    assert (status["state"], status["pause"]["who"]) == ("PAUSED", "ada")
    assert "paused by person (ada): lunch" in rollout("status", repo, "clf-2")
    assert "clf-2: clf 2 PAUSED" in rollout("status", repo)
    rollout("resume", repo, "clf-2")
    rollout("cancel", repo, "clf-2", "--why", "no need")
    assert rollout.json("status", repo, "clf-2")["state"] == "STOPPED"
    assert ": no need" in rollout("status", repo, "clf-2").splitlines()[1]

    log = rollout.json("log", repo, "clf-2")
    assert set(log) == documented("rollout log")
    words = [line["word"] for line in log["lines"] if line["word"].startswith("asked_to")]
    assert words == ["asked_to_start", "asked_to_pause", "asked_to_resume", "asked_to_cancel"]
    assert "asked_to_pause by ada: lunch" in rollout("log", repo, "clf-2")


def test_what_cannot_be_done_ends_with_1_and_says_why(
    repo: Path, plan: Path, rollout: Command
) -> None:
    assert "no rollout 'clf-2'" in rollout("pause", repo, "clf-2", code=EXIT_REFUSED)
    rollout("start", repo, plan)
    assert "only a paused rollout" in rollout("resume", repo, "clf-2", code=EXIT_REFUSED)
    assert "no group 'x'" in rollout("open-gate", repo, "clf-2", "x", code=EXIT_REFUSED)
    assert "no release '9'" in rollout("plan", repo, "clf", "9", code=EXIT_REFUSED)
    wrong = plan.with_name("wrong.toml")
    wrong.write_text(plan.read_text() + 'nonsense = "1"\n')
    assert "nonsense" in rollout("check", repo, wrong, code=EXIT_USAGE)
    assert "could not read" in rollout("check", repo, plan.with_name("none.toml"), code=EXIT_USAGE)


def test_while_somebody_drives_the_request_waits_for_them(
    repo: Path, plan: Path, rollout: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slotcast_publisher.fleet.commands.rollout.ANSWER_MAX_S", 0.3)
    rollout("start", repo, plan)
    with open_database(repo / FILE_NAME) as database, database.transaction() as connection:
        lease.hold(connection, LEASE, "a serve that was killed", time.time(), 3600.0)
    assert rollout.json("pause", repo, "clf-2")["outcome"] == "waiting"
    assert "1 request waits" in rollout("status", repo, "clf-2")
    assert RolloutFiles(repo).load("clf-2").record.state is RolloutState.PREPARING


def test_the_log_of_a_refusal_names_who_asked(repo: Path, plan: Path, rollout: Command) -> None:
    rollout("start", repo, plan)
    rollout("resume", repo, "clf-2", "--who", "eve", code=EXIT_REFUSED)
    with open_database(repo / FILE_NAME) as database, database.reading() as connection:
        line = log_of(connection, "clf-2", 1)[0]
    assert (line.who, line.word) == ("eve", "asked_to_resume")
    assert line.text.startswith("refused: ")


def test_going_back_releases_the_old_content_anew_where_nothing_is_prepared(
    repo: Path, plan: Path, rollout: Command
) -> None:
    rollout("start", repo, plan)
    files, repository = RolloutFiles(repo), Repository(repo)
    record = files.load("clf-2").record
    opened = [record.groups[0].moved(GroupEvent.OPENED, percent=100.0), *record.groups[1:]]
    running = record.moved(RolloutEvent.PREPARED).moved(RolloutEvent.OPENED).with_groups(opened)
    files.save_record(running)
    assert "go-back to 1.post1: done" in rollout("go-back", repo, "clf-2", "--why", "too slow")
    offer = repository.present_offer("clf")
    assert offer is not None
    assert (offer.version, offer.sequence, offer.deployment) == ("1.post1", 3, "clf-2.back")
    old, new = (repository.store.folder("clf", v).load() for v in ("1", "1.post1"))
    assert old.image_sha256 == new.image_sha256


def test_going_back_without_the_release_key_says_what_to_run_elsewhere(
    repo: Path, plan: Path, rollout: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout("start", repo, plan)

    def no_key(*_: object, **__: object) -> None:
        raise KeyUnavailable("the release key of clf is not here")

    monkeypatch.setattr(Repository, "build_release", no_key)
    assert "release key" in rollout("go-back", repo, "clf-2", code=EXIT_USAGE)
    assert RolloutFiles(repo).requests("clf-2") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.0", "1.0.post1"),
        ("1.0.post1", "1.0.post2"),
        ("2.0rc1", "2.0rc1.post1"),
        ("1!3.2+gpu.7", "1!3.2.post1"),
        ("1.0.dev4", "1.0.post1"),
    ],
)
def test_old_content_gets_a_version_of_its_own(old: str, new: str) -> None:
    assert post_version({old}, old) == new
    assert post_version({old, new}, old) != new


def test_who_asks_is_named_though_the_user_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert requests.this_person().startswith("unknown@")
