"""Notes by the API: written once, listed, taken away, each change in the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from tests.support import device_story as story
from tests.support import models
from tests.support.page import RunningPage, running_page

DEVICE = f"/api/v1/devices/{story.DEVICE}/notes"
RELEASE = "/api/v1/models/detector/releases/3.3.0/notes"
KEY = {"idempotency-key": "one"}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[RunningPage]:
    repo = Repository.init(tmp_path / "repo")
    file = tmp_path / "detector.onnx"
    file.write_bytes(models.classifier(hidden=8))
    request = ReleaseRequest(
        model="detector", version="3.3.0", sequence=3, files=(file,), is_probed=False
    )
    repo.build_release(request, builders=(FullBuilder(),))
    with running_page(repo.path) as running:
        story.tell_story(running.database)
        yield running


@pytest.fixture
def writer(page: RunningPage) -> httpx.Client:
    return page.program(Permission.SEE, Permission.NOTE)


@pytest.mark.parametrize(("path", "subject"), [
    (DEVICE, f"device {story.DEVICE}"), (RELEASE, "release detector 3.3.0"),
])  # fmt: skip
def test_a_note_is_written_once_listed_and_taken_away(
    page: RunningPage, writer: httpx.Client, path: str, subject: str
) -> None:
    assert writer.get(path).json() == {"notes": []}
    made = writer.post(path, json={"text": " Lens was cleaned. "}, headers=KEY)
    assert made.status_code == 201, made.text
    note = made.json()
    assert note["text"] == "Lens was cleaned."
    assert note["who"] == "token test"

    again = writer.post(path, json={"text": " Lens was cleaned. "}, headers=KEY)
    assert again.json() == note
    assert again.headers["idempotency-replayed"] == "true"
    assert writer.get(path).json() == {"notes": [note]}

    assert writer.delete(f"{path}/{note['id']}").status_code == 204
    assert writer.get(path).json() == {"notes": []}
    assert writer.delete(f"{path}/{note['id']}").status_code == 404
    log = [(entry.action, entry.subject, entry.how) for entry in page.audit()]
    assert log[:2] == [("note.remove", subject, "token"), ("note.add", subject, "token")]
    assert [action for action, _, _ in log].count("note.add") == 1


def test_what_is_written_by_the_api_stands_on_the_screen_at_once(
    page: RunningPage, writer: httpx.Client
) -> None:
    viewer = page.browser("olga")
    assert "Moved to gate 4." not in viewer.open(f"/devices/{story.DEVICE}")
    writer.post(DEVICE, json={"text": "Moved to gate 4."}, headers=KEY)
    assert "Moved to gate 4." in viewer.open(f"/devices/{story.DEVICE}")


def test_a_note_beside_nothing_or_of_nothing_is_refused(writer: httpx.Client) -> None:
    def status(path: str, text: str = "x", key: str = "k") -> int:
        return writer.post(path, json={"text": text}, headers={"idempotency-key": key}).status_code

    assert status("/api/v1/devices/nobody/notes", key="1") == 404
    assert status("/api/v1/models/detector/releases/9.9.9/notes", key="2") == 404
    assert status("/api/v1/models/detector/releases/%2e%2e/notes", key="3") == 404
    assert status("/api/v1/models/%2e%2e/releases/detector/notes", key="4") == 404
    assert status(DEVICE, "   ", key="5") == 422
    assert status(DEVICE, "x" * 2001, key="6") == 400
    assert writer.post(DEVICE, json={"text": "x"}).status_code == 400  # without a key


def test_who_may_only_look_reads_notes_and_writes_none(page: RunningPage) -> None:
    viewer = page.program(Permission.SEE)
    assert viewer.get(DEVICE).status_code == 200
    assert viewer.post(DEVICE, json={"text": "x"}, headers=KEY).status_code == 403
    assert viewer.delete(f"{DEVICE}/1").status_code == 403
    assert page.program(Permission.NOTE).get(DEVICE).status_code == 403


def test_a_note_of_another_device_is_not_taken_away(
    page: RunningPage, writer: httpx.Client
) -> None:
    note = writer.post(DEVICE, json={"text": "x"}, headers=KEY).json()["id"]
    assert writer.delete(f"{RELEASE}/{note}").status_code == 404
    assert len(writer.get(DEVICE).json()["notes"]) == 1
