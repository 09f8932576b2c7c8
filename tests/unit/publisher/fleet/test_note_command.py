"""`slotcast note`: what a person writes stands beside the device, and in the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.access.audit import entries
from slotcast_publisher.fleet.database import notes, retention, tables
from slotcast_publisher.fleet.database.database import FILE_NAME, Database, open_database
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas.errors import UsageError
from tests.support import device_story as story
from tests.support.cli_docs import documented
from tests.support.cli_runner import CliRunner


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = Repository.init(tmp_path / "repo").path
    with open_database(path / FILE_NAME) as database:
        story.tell_story(database)
    return path


def slotcast(*words: object) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["note", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_note_is_written_listed_and_taken_away(repo: Path) -> None:
    about = ("--device", story.DEVICE)
    slotcast(repo, *about, "Moved to gate 4.")
    found = slotcast(repo, *about, "Lens was cleaned.\nAnd the housing.")
    assert found.keys() == documented("note")
    texts = [note["text"] for note in found["notes"]]
    assert texts == ["Lens was cleaned.\nAnd the housing.", "Moved to gate 4."]
    left = slotcast(repo, *about, "--remove", found["notes"][0]["id"])
    assert [note["text"] for note in left["notes"]] == ["Moved to gate 4."]
    with open_database(repo / FILE_NAME) as database, database.reading() as connection:
        log = entries(connection, before_id=None, limit=10)
    assert [entry.action for entry in log] == ["note.remove", "note.add", "note.add"]
    assert "Lens was cleaned." in log[0].before


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        (("text",), UsageError, "what is it about"),
        (("text", "--device", "nobody"), NotFound, "no device 'nobody'"),
        (("text", "--model", "clf", "--version", "1.0"), NotFound, "clf"),
        (("  ", "--device", story.DEVICE), UsageError, "1 to 2,000 characters, got 0"),
        (("n" * 2001, "--device", story.DEVICE), UsageError, "got 2,001"),
        (("--remove", "7", "--device", story.DEVICE), NotFound, "has no note 7"),
        (("text", "--remove", "7", "--device", story.DEVICE), UsageError, "got both"),
    ],
)
def test_what_cannot_be_noted_is_said(
    repo: Path, words: tuple[str, ...], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        CliRunner().invoke(
            app, ["note", str(repo), *words], catch_exceptions=False, standalone_mode=False
        )


def test_notes_beside_one_thing_are_bounded(tmp_path: Path) -> None:
    with open_database(tmp_path / "fleet.db") as database:
        for n in range(notes.NOTES_MAX):
            write(database, f"note {n}")
        with pytest.raises(Conflict, match="has 200 notes"):
            write(database, "one more")


def write(database: Database, text: str) -> None:
    with database.transaction() as connection:
        notes.add_note(connection, "device", "cam-1", who="olga", text=text, at_s=0)


def test_the_oldest_notes_go_when_there_are_too_many_of_all_things(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = next(i for i, row in enumerate(retention._LONGEST) if row[0] is tables.notes)
    few = (*retention._LONGEST[index][:3], 3)
    monkeypatch.setattr(retention, "_LONGEST", (few,))
    with open_database(tmp_path / "fleet.db") as database:
        for n in range(5):
            write(database, f"note {n}")
        retention.forget_old(database, FleetSettings(), now_s=0.0)
        with database.reading() as connection:
            left = [note.text for note in notes.notes_of(connection, "device", "cam-1")]
    assert left == ["note 4", "note 3", "note 2"]
