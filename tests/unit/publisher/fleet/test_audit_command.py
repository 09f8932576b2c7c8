"""`slotcast audit`: who changed what, beside the page's own screen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.repository import Repository
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = Repository.init(tmp_path / "repo").path
    with open_database(path / FILE_NAME) as database, database.transaction() as connection:
        olga = Actor("olga", "session", "203.0.113.7")
        write_entry(connection, olga, "user.role", "anna", at_s=1, after={"role": "admin"})
        write_entry(connection, olga, "username.x", "anna", at_s=2)
        write_entry(connection, Actor("", "nobody"), "session.refused", "\x1b[2J%", at_s=3)
    return path


def slotcast(*words: object) -> str:
    done = CliRunner().invoke(app, ["audit", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_entries_are_shown_the_newest_first_and_by_what_is_asked(repo: Path) -> None:
    every = json.loads(slotcast(repo, "--json"))
    assert every.keys() == documented("audit")
    assert [e["action"] for e in every["entries"]] == ["session.refused", "username.x", "user.role"]

    def asked(*words: str) -> list[str]:
        return [e["action"] for e in json.loads(slotcast(repo, *words, "--json"))["entries"]]

    assert asked("--action", "user") == ["user.role"]  # and not all that begins alike
    assert asked("--action", "user.role") == ["user.role"]
    assert asked("--who", "olga", "--limit", "1") == ["username.x"]
    assert asked("--before", str(every["entries"][0]["id"])) == ["username.x", "user.role"]
    assert asked("--action", "%") == []


def test_lines_for_people_have_no_control_characters(repo: Path) -> None:
    text = slotcast(repo)
    assert "\x1b" not in text
    assert "olga (session, 203.0.113.7)" in text
    assert '{"role":"admin"}' in text
    assert slotcast(repo, "--who", "eve") == "no entry fits that\n"
