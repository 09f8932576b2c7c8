"""Signing in and out, and becoming the owner, as a browser does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.fleet.access.roles import Role
from tests.support.page import PASSWORD, TESTER, RunningPage, running_page


@pytest.fixture
def page(tmp_path: Path) -> Iterator[RunningPage]:
    with running_page(tmp_path) as running:
        yield running


def test_the_first_person_becomes_the_owner_by_a_link_that_works_once(page: RunningPage) -> None:
    secret = page.context.users.make_owners_link(TESTER)
    link, browser = f"/link/{secret}", page.stranger()
    assert "Welcome" in browser.open(link)
    fields = {"user": "Olga", "password": PASSWORD, "again": PASSWORD}

    differs = browser.send_form(link, {**fields, "again": "x"}, page=link)
    assert differs.status_code == 422
    assert "the two passwords differ" in differs.text
    assert browser.send_form(link, fields, page=link).status_code == 303

    assert page.context.users.find("olga").role is Role.ADMIN  # type: ignore[union-attr]
    assert page.stranger().get(link).status_code == 404
    assert page.context.users.make_owners_link(TESTER) is None


def test_a_wrong_password_says_how_many_tries_are_left(page: RunningPage) -> None:
    page.person("olga")
    stranger = page.stranger()
    refused = stranger.sign_in("olga", "not the password")
    assert refused.status_code == 403
    assert "4 tries left" in refused.text
    assert next(e.action for e in page.audit()) == "session.refused"
    assert stranger.sign_in("olga").status_code == 303


def test_signing_out_ends_the_session_here_and_not_only_in_the_browser(page: RunningPage) -> None:
    browser = page.browser("olga")
    kept = dict(browser.cookies)
    assert browser.send_form("/sign-out").headers["location"] == "/sign-in"
    assert browser.get("/sign-in").status_code == 200
    thief = page.stranger(cookies=kept)
    assert thief.get("/sign-in").status_code == 200  # nobody is signed in with it any more
