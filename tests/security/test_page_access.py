"""Who gets in, and what they may: stolen, fixed and guessed secrets, scopes, and a proxy's word."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from litestar.routes import HTTPRoute

from slotcast_publisher import settings as settings_file
from slotcast_publisher.fleet.access import sign_in_tries
from slotcast_publisher.fleet.access.roles import PERMISSIONS, Permission, Role
from slotcast_publisher.fleet.access.sign_in_tries import PER_NAME_MAX
from slotcast_publisher.fleet.web.app import make_app
from slotcast_publisher.fleet.web.cookies import cookie_name
from slotcast_publisher.fleet.web.guards import NEEDS
from slotcast_publisher.page_settings import PageSettings
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError
from tests.support.page import HTML, PASSWORD, TESTER, RunningPage, running_page
from tests.support.waiting import WAIT_S

SEEN = "/api/v1/devices"
"""What everybody may look at who is known."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("page")) as running:
        running.person("olga", Role.ADMIN)
        yield running


def is_known(client: httpx.Client) -> bool:
    status = client.get(SEEN).status_code
    assert status in {200, 401, 303}
    return status == 200


# --- sessions -------------------------------------------------------------------------------------


def test_a_secret_that_an_attacker_chose_is_nobodys_session(page: RunningPage) -> None:
    name = cookie_name("session", page.database.id, is_secure=False)
    victim = page.stranger(cookies={name: "chosen-by-the-attacker"})
    assert victim.sign_in("olga").status_code == 303
    assert victim.cookies[name] != "chosen-by-the-attacker"
    assert is_known(victim)
    assert not is_known(page.stranger(cookies={name: "chosen-by-the-attacker"}))


def test_signing_in_again_ends_the_session_before(page: RunningPage) -> None:
    browser = page.browser("olga")
    before = dict(browser.cookies)
    fields = {"user": "olga", "password": "a password for tests"}
    assert browser.send_form("/sign-in", fields).status_code == 303
    assert dict(browser.cookies) != before
    assert not is_known(page.stranger(cookies=before))
    assert is_known(browser)


def test_the_cookie_is_for_this_page_alone(page: RunningPage) -> None:
    answer = page.stranger().sign_in("olga")
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "session" in c)
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= {part.strip() for part in cookie.split(";")}
    assert "domain" not in cookie.lower(), "no other host of the domain gets it"
    visit = page.stranger().get("/sign-in").headers["set-cookie"]
    assert {"HttpOnly", "Path=/", "SameSite=strict"} <= {p.strip() for p in visit.split(";")}


# --- passwords ------------------------------------------------------------------------------------


def test_guessing_is_stopped_even_for_who_guesses_right_at_last(page: RunningPage) -> None:
    page.person("guessed")
    stranger = page.stranger()
    for _ in range(PER_NAME_MAX):
        assert stranger.sign_in("guessed", "not the password").status_code == 403
    late = stranger.sign_in("guessed")
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 60
    assert not is_known(stranger)
    assert page.stranger().sign_in("olga").status_code == 303  # others are not kept out


def test_guessing_one_password_with_many_names_is_stopped_and_nobody_else_is(
    behind_proxy: RunningPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that the proxy saw: what a browser invents before it changes nothing."""
    monkeypatch.setattr(sign_in_tries, "PER_ADDRESS_MAX", 3)
    attacker, other = behind_proxy.stranger(), behind_proxy.stranger()
    for browser in (attacker, other):
        browser.headers["x-forwarded-proto"] = "http"
    other.headers["x-forwarded-for"] = "203.0.113.8"
    for n in range(3):
        attacker.headers["x-forwarded-for"] = f"6.6.6.{n}, 203.0.113.7"
        assert attacker.sign_in(f"name-{n}", "a password of many").status_code == 403
    attacker.headers["x-forwarded-for"] = "6.6.6.99, 203.0.113.7"
    assert attacker.sign_in("anna", "a password of many").status_code == 429
    assert other.sign_in("anna", "a password of many").status_code == 403


def test_a_name_that_nobody_has_is_answered_like_one_that_somebody_has(page: RunningPage) -> None:
    page.person("somebody")
    one = page.stranger().sign_in("somebody", "wrong")
    other = page.stranger().sign_in("nobody-of-this-name", "wrong")
    assert one.status_code == other.status_code == 403
    assert "4 tries left" in one.text
    assert "4 tries left" in other.text


# --- tokens ---------------------------------------------------------------------------------------


def test_a_token_counts_until_it_is_revoked_and_in_the_header_alone(page: RunningPage) -> None:
    token, text = page.context.tokens.make("ci", frozenset({Permission.SEE}), 1, TESTER)
    name = cookie_name("session", page.database.id, is_secure=False)
    with httpx.Client(base_url=page.url, timeout=WAIT_S) as program:
        bearer = {"authorization": f"Bearer {text}"}
        assert program.get(SEEN, headers=bearer).status_code == 200
        assert program.get(SEEN, params={"token": text, "access_token": text}).status_code != 200
        assert program.get(SEEN, headers={"cookie": f"{name}={text}"}).status_code == 401
        for wrong in (text[:-1], text + "x", text.replace(token.id, "0" * 12), "slotcast__", "x"):
            headers = {"authorization": f"Bearer {wrong}"}
            assert program.get(SEEN, headers=headers).status_code == 401
        page.context.tokens.revoke(token.id, TESTER)
        assert program.get(SEEN, headers=bearer).status_code == 401


def test_a_token_that_does_not_count_is_not_made_up_for_by_a_session(page: RunningPage) -> None:
    browser = page.browser("olga")
    answer = browser.get(SEEN, headers={"authorization": "Bearer slotcast_none"})
    assert answer.status_code == 401


def routes(page: RunningPage) -> Iterator[tuple[str, str, Permission]]:
    """Give each route that needs a permission: its method, an address, and what it needs."""
    for route in make_app(page.context).routes:
        if isinstance(route, HTTPRoute):
            address = "/".join(
                part if isinstance(part, str) else "1" for part in route.path_components
            )
            for handler in route.route_handlers:
                needed = handler.opt.get(NEEDS)
                if isinstance(needed, Permission):
                    for method in sorted(handler.http_methods - {"OPTIONS", "HEAD"}):
                        yield method, f"/{address}", needed


def test_no_route_does_anything_for_who_may_not(page: RunningPage) -> None:
    """Each route of the page, asked by programs and persons that have everything but its need."""
    given = list(routes(page))
    assert len({needed for _, _, needed in given}) == len(Permission)
    viewer = page.browser("viewer", Role.VIEWER)
    programs = {p: page.program(*(set(Permission) - {p})) for p in Permission}
    csrf = {"x-csrf-token": viewer.csrf()}
    before = len(page.audit())
    for method, address, needed in given:
        asked = f"{method} {address}"
        stranger = httpx.request(method, page.url + address, timeout=WAIT_S)
        assert stranger.status_code in ({401} if method == "GET" else {401, 403}), asked
        assert programs[needed].request(method, address).status_code == 403, asked
        if needed not in PERMISSIONS[Role.VIEWER]:
            assert viewer.request(method, address, headers=csrf).status_code == 403, asked
    assert len(page.audit()) == before


# --- a proxy's word -------------------------------------------------------------------------------


@contextlib.contextmanager
def page_behind(folder: Path, proxy: str) -> Iterator[RunningPage]:
    """Run a page that believes a proxy at this address; Anna is known there."""
    page = PageSettings(
        url="https://fleet.example.org", proxies=(proxy,), user_header="X-Forwarded-User"
    )
    path = folder / "repo"
    repo = Repository.init(path)
    settings_file.save(path, msgspec.structs.replace(repo.settings, page=page))
    with running_page(path) as running:
        running.context.users.add("anna", Role.VIEWER, TESTER)
        yield running


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Iterator[RunningPage]:
    with page_behind(tmp_path, "127.0.0.0/8") as running:
        yield running


def test_the_headers_of_who_is_not_the_proxy_are_not_looked_at(tmp_path: Path) -> None:
    with page_behind(tmp_path, "192.0.2.1") as page:
        claimed = {
            "x-forwarded-user": "anna",
            "x-forwarded-for": "203.0.113.7",
            "x-forwarded-proto": "https",
        }
        browser = page.stranger()
        assert browser.get(SEEN, headers=claimed).status_code == 401
        assert "Secure" not in browser.get("/sign-in", headers=claimed).headers["set-cookie"]
        fields = {"csrf": browser.csrf("/sign-in"), "user": "anna", "password": "wrong"}
        assert browser.post("/sign-in", data=fields, headers=claimed).status_code == 403
        assert page.audit()[0].address == "127.0.0.1"


def test_a_believed_proxy_names_the_user_and_no_other_does(
    behind_proxy: RunningPage, page: RunningPage
) -> None:
    named = {"x-forwarded-user": "Anna"}
    assert behind_proxy.stranger().get(SEEN, headers=named).status_code == 200
    unknown = {"x-forwarded-user": "eve"}
    assert behind_proxy.stranger().get(SEEN, headers=unknown).status_code == 401
    page.browser("anna", Role.ADMIN)
    assert page.stranger().get(SEEN, headers=named).status_code == 401  # not configured there
    twice = [("x-forwarded-user", "anna"), ("x-forwarded-user", "ada"), *HTML.items()]
    assert behind_proxy.stranger().get(SEEN, headers=twice).status_code == 400


def test_whom_a_proxy_names_is_protected_against_forged_changes(behind_proxy: RunningPage) -> None:
    named = {"x-forwarded-user": "anna", "x-forwarded-proto": "https"}
    browser = behind_proxy.stranger()
    assert browser.post("/sign-out", headers=named).status_code == 403


def test_over_https_by_a_proxy_cookies_are_for_https_alone(behind_proxy: RunningPage) -> None:
    answer = behind_proxy.stranger().get("/sign-in", headers={"x-forwarded-proto": "https"})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-slotcast_visit_")
    assert "Secure" in cookie
    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_session_over_https_is_nobodys_without_and_no_sister_host_plants_one(
    behind_proxy: RunningPage,
) -> None:
    https = {"x-forwarded-proto": "https", **HTML}

    def ask(cookie: str, headers: dict[str, str] = https) -> int:
        with httpx.Client(base_url=behind_proxy.url, timeout=WAIT_S) as browser:
            return browser.get(SEEN, headers={**headers, "cookie": cookie}).status_code

    behind_proxy.person("berta", Role.VIEWER)
    with httpx.Client(base_url=behind_proxy.url, timeout=WAIT_S) as browser:
        form = browser.get("/sign-in", headers=https)
        token = re.search(r'name="csrf" value="([^"]+)"', form.text)
        assert token is not None
        visit = form.headers["set-cookie"].partition(";")[0]
        fields = {"csrf": token[1], "user": "berta", "password": PASSWORD}
        answer = browser.post("/sign-in", data=fields, headers={**https, "cookie": visit})
    assert answer.status_code == 303
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "session" in c)
    given, *parts = [part.strip() for part in cookie.split(";")]
    assert given.startswith("__Host-slotcast_session_")
    assert {"Secure", "HttpOnly", "Path=/"} <= set(parts)
    assert ask(given) == 200
    assert ask(given.removeprefix("__Host-")) == 401
    assert ask(given, {"x-forwarded-proto": "http", **HTML}) == 401


def test_a_proxy_that_names_no_scheme_is_taken_at_the_word_of_the_settings(
    behind_proxy: RunningPage,
) -> None:
    assert "Secure" in behind_proxy.stranger().get("/sign-in").headers["set-cookie"]


def test_forms_behind_a_proxy_come_from_its_public_address_alone(
    behind_proxy: RunningPage,
) -> None:
    def signs_out(**headers: str) -> int:
        browser = behind_proxy.browser("otto")
        browser.headers["x-forwarded-proto"] = "http"  # the cookie jar keeps no other over HTTP
        return browser.post("/sign-out", data={"csrf": browser.csrf()}, headers=headers).status_code

    assert signs_out(origin="https://fleet.example.org") == 303
    for origin in (
        "https://evil.example",
        "https://fleet.example.org.evil.example",
        "https://evil.fleet.example.org",
        "https://fleet.example.org:8443",
        "null",
    ):
        assert signs_out(origin=origin) == 403, origin
    assert signs_out(origin="https://fleet.example.org", **{"sec-fetch-site": "cross-site"}) == 403


def test_the_audit_log_has_the_browsers_address_and_not_an_invented_one(
    behind_proxy: RunningPage,
) -> None:
    headers = {
        "x-forwarded-for": "6.6.6.6, 203.0.113.7, 127.0.0.9",
        "x-forwarded-proto": "http",  # as httpx keeps no cookie for HTTPS alone
    }
    browser = behind_proxy.stranger()
    browser.headers.update(headers)
    fields = {"csrf": browser.csrf("/sign-in"), "user": "anna", "password": "wrong"}
    assert browser.post("/sign-in", data=fields).status_code == 403
    assert behind_proxy.audit()[0].address == "203.0.113.7"


@pytest.mark.parametrize(
    ("page_settings", "named"),
    [
        (PageSettings(url="fleet.example.org"), "page.url"),
        (PageSettings(url="https://fleet.example.org/slotcast"), "page.url"),
        (PageSettings(proxies=("everybody",)), "page.proxies"),
        (PageSettings(user_header="X-User"), "needs page.proxies"),
        (PageSettings(proxies=("10.0.0.1",), user_header="X User"), "page.user_header"),
    ],
)
def test_settings_that_cannot_be_are_named(
    tmp_path: Path, page_settings: PageSettings, named: str
) -> None:
    repo = Repository.init(tmp_path / "repo")
    with pytest.raises(UsageError, match=named):
        settings_file.save(repo.path, msgspec.structs.replace(repo.settings, page=page_settings))
