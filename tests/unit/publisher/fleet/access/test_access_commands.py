"""`slotcast users` and `slotcast tokens`, as an administrator types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slotcast_publisher.cli import app
from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
from slotcast_publisher.fleet.web.listening import open_socket
from slotcast_publisher.fleet.web.running import open_page
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Settings
from slotcast_schemas.errors import SlotcastError
from tests.support.cli_runner import CliRunner
from tests.support.page import running_page


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return Repository.init(tmp_path / "repo", Settings()).path


def run(*arguments: object, given: str = "") -> dict[str, Any]:
    words = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, [*words, "--json"], input=given)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def test_a_person_forgets_a_password_and_comes_in_by_the_link_of_a_command(repo: Path) -> None:
    added = run("users", "add", repo, "Anna", "--role", "operator")
    assert added["user"]["name"] == "anna"
    run("users", "password", repo, "anna", "--stdin", given="the first password\n")
    with running_page(repo) as page:
        browser = page.stranger()
        assert browser.sign_in("anna", "the first password").status_code == 303

        link = run("users", "password", repo, "anna", "--page", page.url)["link"]
        path = link.removeprefix(page.url)
        fields = {"password": "the second password", "again": "the second password"}
        assert page.stranger().send_form(path, fields, page=path).status_code == 303
        assert browser.get("/sign-in").status_code == 200  # signed out everywhere
        assert browser.sign_in("anna", "the second password").status_code == 303
        who = {entry.who.partition("@")[0]: entry.how for entry in page.audit()}
        assert "command" in who.values()


def test_a_link_leads_to_where_the_page_was_started(repo: Path) -> None:
    def begin_of_link() -> str:
        link: str = run("users", "password", repo, "anna")["link"]
        return link.partition("/link/")[0]

    run("users", "add", repo, "anna")
    assert begin_of_link() == "http://127.0.0.1:8470"  # the default, before the first start
    with open_database(repo / FILE_NAME) as fleet, open_socket("127.0.0.1", 0) as opened:
        page = open_page(Repository(repo), fleet, opened)
    assert begin_of_link() == page.url != "http://127.0.0.1:8470"
    run("config", "set", repo, "page.url", "https://fleet.example.org")
    assert begin_of_link() == "https://fleet.example.org"


def test_users_are_listed_changed_and_removed(repo: Path) -> None:
    run("users", "add", repo, "ada", "--role", "admin")
    run("users", "add", repo, "bob")
    run("users", "role", repo, "bob", "operator")
    assert [(u["name"], u["role"]) for u in run("users", "list", repo)["users"]] == [
        ("ada", "admin"),
        ("bob", "operator"),
    ]
    run("users", "remove", repo, "bob")
    with pytest.raises(SlotcastError, match="no user 'bob'"):
        run("users", "role", repo, "bob", "viewer")
    with pytest.raises(SlotcastError, match="expected one of viewer, operator, admin"):
        run("users", "add", repo, "eve", "--role", "root")
    with pytest.raises(SlotcastError, match="12 to 200 characters, got 5"):
        run("users", "add", repo, "eve", "--stdin", given="short\n")
    assert [u["name"] for u in run("users", "list", repo)["users"]] == ["ada"]


def test_a_token_is_shown_once_and_ended(repo: Path) -> None:
    made = run("tokens", "create", repo, "ci", "--scope", "see", "--scope", "steer", "--days", "2")
    secret = made["secret"]
    listed = run("tokens", "list", repo)
    assert secret[-43:] not in json.dumps(listed)
    assert [sorted(t["scope"]) for t in listed["tokens"]] == [["see", "steer"]]
    revoked = run("tokens", "revoke", repo, made["token"]["id"])
    assert revoked["token"]["revoked_s"] is not None
    for wrong in (["--scope", "all"], ["--days", "0"], ["--days", "400"]):
        with pytest.raises(SlotcastError, match="expected"):
            run("tokens", "create", repo, "ci", *wrong)
    with pytest.raises(SlotcastError, match="no token"):
        run("tokens", "revoke", repo, "0" * 12)
