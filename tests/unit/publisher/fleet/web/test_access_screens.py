"""Users, tokens and the audit log on the page: for admins, each choice with its command."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.fleet.access.audit import write_entry
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.access.tokens import Token
from slotcast_publisher.fleet.access.users import User
from slotcast_publisher.fleet.web.screens.access_view import (
    token_rows,
    tokens_sentence,
    user_rows,
    users_sentence,
)
from tests.support.page import PASSWORD, TESTER, Browser, RunningPage, running_page

NOW_S = 1_800_000_000


def user(name: str, role: Role, **changes: int | None) -> User:
    fields: dict[str, int | None] = {"password_s": 1, "signed_in_s": None}
    return User(name=name, role=role, made_s=1, **fields | changes)


def token(name: str, *, ends_s: int = NOW_S + 60, revoked_s: int | None = None) -> Token:
    return Token(
        id=f"id-{name}", name=name, scope=frozenset({Permission.SEE}), made_by="olga", made_s=1,
        ends_s=ends_s, used_s=None, revoked_s=revoked_s,
    )  # fmt: skip


# --- what the screens say -------------------------------------------------------------------------


def test_the_only_admin_is_neither_removed_nor_made_something_else() -> None:
    alone = [user("olga", Role.ADMIN), user("anna", Role.VIEWER)]
    olga, anna = user_rows(alone, alone, [], "repo")
    assert "only admin" in olga.give_role.refusal
    assert [bool(action.refusal) for action in olga.others] == [False, True]
    assert not anna.give_role.refusal

    both = [user("olga", Role.ADMIN), user("anna", Role.ADMIN)]
    assert not any(row.give_role.refusal for row in user_rows(both, both, [], "repo"))


def test_each_choice_names_its_command_and_its_effect() -> None:
    users = [user("o'neil", Role.ADMIN), user("anna", Role.ADMIN)]
    row = user_rows(users[:1], users, [token("a"), token("b", revoked_s=5)], "my repo")[0]
    commands = [action.command for action in (row.give_role, *row.others)]
    assert commands == [
        """slotcast users role 'my repo' 'o'"'"'neil' ROLE""",
        """slotcast users password 'my repo' 'o'"'"'neil'""",
        """slotcast users remove 'my repo' 'o'"'"'neil'""",
    ]
    made = user_rows([user("olga", Role.VIEWER)], users, [token("a"), token("b")], "repo")[0]
    assert "2 tokens that they made go on." in made.others[1].effect


def test_a_token_says_whether_it_counts() -> None:
    tokens = [token("a"), token("b", ends_s=NOW_S - 1), token("c", revoked_s=NOW_S - 5)]
    rows = token_rows(tokens, NOW_S, "repo")
    assert [row.state for row in rows] == ["counts", "ended", "revoked"]
    assert [row.revoke is not None for row in rows] == [True, False, False]
    assert rows[0].revoke is not None
    assert rows[0].revoke.command == "slotcast tokens revoke repo id-a"
    assert tokens_sentence(tokens, NOW_S) == "1 token counts, 2 more did."
    assert tokens_sentence([], NOW_S) == "There is no token yet: no program may ask."
    people = [user("a", Role.ADMIN), user("b", Role.VIEWER), user("c", Role.VIEWER)]
    assert users_sentence(people) == "3 users: 1 admin, 2 viewers."


# --- as a browser sees them -----------------------------------------------------------------------


@pytest.fixture
def page(tmp_path: Path) -> Iterator[RunningPage]:
    with running_page(tmp_path) as running:
        yield running


@pytest.fixture
def admin(page: RunningPage) -> Browser:
    return page.browser("olga", Role.ADMIN)


def test_a_user_is_added_with_a_link_that_is_shown_once_and_works(
    page: RunningPage, admin: Browser
) -> None:
    made = admin.send_form("/users", {"user": "Anna", "role": "operator"}, page="/users")
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    link = re.search(rf"{re.escape(page.url)}(/link/[\w-]+)", made.text)
    assert link is not None
    assert link[1] not in admin.open("/users")
    assert link[1] not in admin.open("/audit")

    anna = page.stranger()
    fields = {"password": PASSWORD, "again": PASSWORD}
    assert anna.send_form(link[1], fields, page=link[1]).status_code == 303
    assert "Anna" not in anna.open("/")
    assert 'href="/users"' not in anna.open("/")  # an operator finds no way there
    assert anna.get("/users").status_code == 403


def test_roles_are_given_links_made_and_users_removed(page: RunningPage, admin: Browser) -> None:
    kept = dict(page.browser("anna", Role.VIEWER).cookies)
    done = admin.send_form("/users/anna/role", {"role": "operator", "was": "viewer"}, page="/users")
    assert done.headers["location"] == "/users"
    assert page.context.users.known("anna").role is Role.OPERATOR
    late = admin.send_form("/users/anna/role", {"role": "admin", "was": "viewer"}, page="/users")
    assert late.status_code == 409
    assert "somebody else made anna operator meanwhile" in late.text
    last = admin.send_form("/users/olga/role", {"role": "viewer", "was": "admin"}, page="/users")
    assert last.status_code == 409

    assert "/link/" in admin.send_form("/users/anna/link", page="/users").text
    assert admin.send_form("/users/anna/remove", page="/users").status_code == 303
    assert page.context.users.find("anna") is None
    assert page.stranger(cookies=kept).get("/").status_code == 303
    actions = [entry.action for entry in page.audit() if entry.who == "olga"]
    assert actions == ["user.remove", "user.link", "user.role", "session.begin"]


def test_a_token_is_made_shown_once_and_revoked(page: RunningPage, admin: Browser) -> None:
    assert "There is no token yet" in admin.open("/tokens")
    fields = {"name": "ci", "days": "7", "scope-see": "on", "scope-steer": "on"}
    made = admin.send_form("/tokens", fields, page="/tokens")
    text = re.search(r"slotcast_[0-9a-f]+_[\w-]+", made.text)
    assert made.status_code == 201
    assert text is not None
    found = page.context.tokens.check(text[0])
    assert found is not None
    assert found.scope == {Permission.SEE, Permission.STEER}
    listed = admin.open("/tokens")
    assert found.id in listed
    assert text[0].split("_", 2)[2] not in listed + admin.open("/audit")

    assert admin.send_form(f"/tokens/{found.id}/revoke", page="/tokens").status_code == 303
    assert page.context.tokens.check(text[0]) is None
    for wrong in ({"name": "x", "days": "7"}, {"name": "x", "days": "no", "scope-see": "on"}):
        assert admin.send_form("/tokens", wrong, page="/tokens").status_code == 422


def test_a_program_gives_no_token_more_than_it_has(page: RunningPage) -> None:
    narrow = page.program(Permission.ADMINISTER)
    fields = {"name": "wide", "scope-roll_out": "on"}
    assert narrow.post("/tokens", data=fields).status_code == 422
    assert page.context.tokens.all()[0].name == "test"


def test_the_audit_log_is_filtered_paged_and_given_as_a_file(
    page: RunningPage, admin: Browser
) -> None:
    with page.database.transaction() as connection:
        for n in range(120):
            write_entry(connection, TESTER, "note.add", f"device cam-{n}", at_s=NOW_S)
        evil = "=HYPERLINK(1)<script>"
        write_entry(connection, TESTER, "session.refused", evil, at_s=NOW_S)
    first = admin.open("/audit")
    assert "&lt;script&gt;" in first
    assert "<script>" not in first.replace('<script src="', "")
    assert "cam-119" in first
    assert "cam-20<" not in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    assert "cam-69" in admin.open(older[1].replace("&amp;", "&"))

    some = admin.open("/audit?action=session&who=tester")
    assert "session.refused" in some
    assert "cam-119" not in some
    assert "slotcast audit" in some
    assert "--who tester --action session" in some
    assert "No entry fits that." in admin.open("/audit?subject=nothing")

    rows = list(csv.DictReader(io.StringIO(admin.get("/audit.csv?action=session").text)))
    assert {row["action"] for row in rows} == {"session.refused", "session.begin"}
    assert f"'{evil}" in {row["subject"] for row in rows}
    assert "No filter is named user: it filters" in admin.open("/audit?user=tester")
    assert admin.get("/audit.csv?user=tester").status_code == 400
    program = page.program(Permission.ADMINISTER)
    found = program.get("/api/v1/audit", params={"who": "tester", "action": "note"}).json()
    assert {entry["action"] for entry in found["entries"]} == {"note.add"}
    assert program.get("/api/v1/audit", params={"subject": "device cam-7"}).json()["entries"]


def test_users_and_tokens_are_files_without_secrets(page: RunningPage, admin: Browser) -> None:
    page.person("anna", Role.VIEWER)
    page.program(Permission.SEE)
    users, tokens = admin.get("/users.csv"), admin.get("/tokens.csv")
    assert "attachment" in users.headers["content-disposition"]
    assert [row["name"] for row in csv.DictReader(io.StringIO(users.text))] == ["anna", "olga"]
    assert "argon2" not in users.text
    assert next(csv.DictReader(io.StringIO(tokens.text)))["scope"] == "see"
    assert "secret" not in tokens.text


def test_many_users_are_pages(page: RunningPage, admin: Browser) -> None:
    for n in range(60):
        page.context.users.add(f"user-{n:02}", Role.VIEWER, TESTER)
    first = admin.open("/users")
    assert "61 users: 1 admin, 60 viewers." in first
    assert 'id="user-user-48"' in first
    assert 'id="user-user-50"' not in first
    assert 'id="user-user-50"' in admin.open("/users?from=50")
