"""What a person asks of a rollout, and what the audit log says of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.access.roles import Permission
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.steering.request_files import REQUESTS_MAX
from slotcast_publisher.fleet.steering.requests import new_request
from slotcast_publisher.fleet.web.asking import ask_rollout, start_rollout
from slotcast_publisher.fleet.web.guards import Who
from slotcast_schemas.errors import StorageFailed
from tests.support.page import running_page

PLAN = 'model = "clf"\nversion = "2"\nname = "spring"\n[[groups]]\nname = "everyone"\n'
OPERATOR = Who(name="op", how="token", permissions=frozenset(Permission), address="")


def test_the_audit_log_has_what_was_asked_for_and_not_what_was_refused(
    released: Path, tmp_path: Path
) -> None:
    shutil.copytree(released, tmp_path / "repo")
    with running_page(tmp_path / "repo") as page:
        start_rollout(page.context, OPERATOR, PLAN)
        ask_rollout(page.context, OPERATOR, "spring", Wish.PAUSE, why="to look")
        for _ in range(REQUESTS_MAX - len(page.context.files.requests("spring"))):
            page.context.files.ask("spring", new_request(Wish.PAUSE, "somebody"))
        with pytest.raises(Conflict, match="wait already"):
            ask_rollout(page.context, OPERATOR, "spring", Wish.RESUME)
        asked = [entry.action for entry in page.audit() if entry.subject == "spring"]
    assert asked == ["rollout.pause", "rollout.start"]


def test_nothing_is_asked_for_that_the_audit_log_could_not_take(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(released, tmp_path / "repo")
    whole = Database.transaction

    @contextmanager
    def failing(self: Database) -> Iterator[Connection]:
        with whole(self) as connection:
            yield connection
            raise StorageFailed("no room to commit")

    with running_page(tmp_path / "repo") as page:
        files = page.context.files
        with monkeypatch.context() as patched:
            patched.setattr(Database, "transaction", failing)
            with pytest.raises(StorageFailed):
                start_rollout(page.context, OPERATOR, PLAN)
        assert files.names() == []
        start_rollout(page.context, OPERATOR, PLAN)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "transaction", failing)
            with pytest.raises(StorageFailed):
                ask_rollout(page.context, OPERATOR, "spring", Wish.PAUSE)
        assert [asked.request.wish for asked in files.requests("spring")] == [Wish.START]
        assert [entry.action for entry in page.audit()] == ["rollout.start"]
    assert not list((tmp_path / "repo" / "rollouts").rglob("*.staged"))
