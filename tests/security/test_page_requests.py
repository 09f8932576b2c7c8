"""What strangers send to the page: forged, oversized, slow, beside the path; what comes back."""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.web import event_stream, patience, server
from slotcast_publisher.fleet.web.app import BODY_MAX_BYTES
from slotcast_publisher.fleet.web.csrf import token_of
from slotcast_publisher.fleet.web.screens import watched_screens
from tests.support.page import PASSWORD, TESTER, RunningPage, running_page
from tests.support.waiting import WAIT_S


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("page")) as running:
        running.person("olga", Role.ADMIN)
        yield running


# --- changes that another site asks for -----------------------------------------------------------


def signs_out(page: RunningPage, fields: dict[str, str], **headers: str) -> bool:
    """Say whether a change went through: the session is over afterwards."""
    browser = page.browser("olga")
    own = {"csrf": browser.csrf()} if fields.get("csrf") == "ours" else fields
    response = browser.post("/sign-out", data=own, headers=headers)
    assert response.status_code in {303, 403}
    is_over = browser.get("/sign-in").status_code == 200
    assert is_over == (response.status_code == 303)
    return is_over


def test_a_change_needs_the_token_of_this_session(page: RunningPage) -> None:
    another = page.browser("olga")
    assert signs_out(page, {"csrf": "ours"})
    assert not signs_out(page, {})
    assert not signs_out(page, {"csrf": ""})
    assert not signs_out(page, {"csrf": another.csrf()})
    assert not signs_out(page, {"csrf": token_of("")})


def test_a_change_comes_from_our_own_pages_by_the_browsers_word(page: RunningPage) -> None:
    ours = {"csrf": "ours"}
    assert signs_out(page, ours, **{"sec-fetch-site": "same-origin"})
    assert signs_out(page, ours, origin=page.url)
    for site in ("cross-site", "same-site"):  # another port or a sister host is another site, too
        assert not signs_out(page, ours, **{"sec-fetch-site": site})
    for origin in ("https://evil.example", "null", f"{page.url}.evil.example"):
        assert not signs_out(page, ours, origin=origin)


def test_nobody_is_signed_in_by_the_form_of_another_site(page: RunningPage) -> None:
    stranger = page.stranger()
    stranger.open("/sign-in")
    forged = stranger.post("/sign-in", data={"user": "olga", "password": PASSWORD})
    assert forged.status_code == 403
    assert stranger.get("/sign-in").status_code == 200  # still nobody


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain", ""])
def test_a_form_of_another_kind_changes_nothing(page: RunningPage, kind: str) -> None:
    browser = page.browser("olga")
    body = f"csrf={browser.csrf()}"
    response = browser.post("/sign-out", content=body, headers={"content-type": kind})
    assert response.status_code == 403
    assert browser.get("/sign-in").status_code == 303  # still signed in


# --- where a page leads ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example/",
        "https://evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/a\r\nset-cookie: x=1",
        "/" + "a" * 5000,
    ],
)
def test_signing_in_leads_to_this_page_only(page: RunningPage, wanted: str) -> None:
    browser = page.stranger()
    fields = {"user": "olga", "password": PASSWORD, "next": wanted}
    response = browser.send_form("/sign-in", fields, page="/sign-in")
    assert response.status_code == 303
    assert response.headers["location"] == "/"
    if len(wanted) < 2000:  # who is signed in already is sent on at once
        signed_in = browser.get("/sign-in", params={"next": wanted})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/..%5capp.py",
        "/static/....//app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/%00",
        "/static/style.css/../../app.py",
        "/static/",
        "/static",
    ],
)
def test_no_path_leads_out_of_the_files_that_are_shown(page: RunningPage, path: str) -> None:
    answer = ask_raw(page, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    status = int(answer.split(b" ")[1])
    assert status in {400, 404, 405}, answer[:200]
    assert b"import" not in answer
    assert b"root:" not in answer


# --- sizes and time -------------------------------------------------------------------------------


def ask_raw(page: RunningPage, data: bytes) -> bytes:
    """Send bytes as they are; gives all that comes back until the other side hangs up."""
    parts = urlsplit(page.url)
    found = b""
    with socket.create_connection((parts.hostname, parts.port), WAIT_S) as connection:
        connection.sendall(data)
        try:
            while part := connection.recv(65536):
                found += part
        except ConnectionResetError:
            pass  # hung up with bytes of ours unread
    return found


def test_a_request_that_is_too_large_is_refused(page: RunningPage) -> None:
    browser = page.browser("olga")
    body = {"csrf": browser.csrf(), "user": "x" * BODY_MAX_BYTES}
    assert browser.post("/sign-in", data=body).status_code == 413
    headers = {"content-type": "application/x-www-form-urlencoded"}
    parts = iter([b"user=" + b"x" * 65536] * 8)  # without a length beforehand
    assert browser.post("/sign-in", content=parts, headers=headers).status_code == 413


def test_headers_that_are_too_large_are_refused(page: RunningPage) -> None:
    request = f"GET /sign-in HTTP/1.1\r\nHost: x\r\nX-Long: {'a' * 200_000}\r\n\r\n"
    answer = ask_raw(page, request.encode())
    assert not answer or answer.split(b" ")[1] in {b"400", b"431"}
    many = "".join(f"X-{n}: {'a' * 100}\r\n" for n in range(1000))
    answer = ask_raw(page, f"GET /sign-in HTTP/1.1\r\nHost: x\r\n{many}\r\n".encode())
    assert not answer or answer.split(b" ")[1] in {b"400", b"431"}


def test_who_takes_too_long_to_ask_is_hung_up_on(
    page: RunningPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "REQUEST_MAX_S", 0.2)
    assert ask_raw(page, b"") == b""
    assert ask_raw(page, b"GET /sign-in HTTP/1.1\r\nHost: x\r\n") == b""
    slow_body = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nuser="
    assert b"200 OK" not in ask_raw(page, slow_body)
    monkeypatch.undo()
    assert page.stranger().get("/sign-in").status_code == 200


def test_who_asks_and_reads_nothing_is_hung_up_on(
    page: RunningPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand such connections, of one stranger, would be all that the page takes."""
    monkeypatch.setattr(patience, "UNREAD_MAX_S", 0.2)
    style = re.search(r'href="(/static/[^"]+\.css)"', page.stranger().get("/sign-in").text)
    assert style is not None
    url = urlsplit(page.url)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        deaf.connect((url.hostname, url.port))
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(400):
                deaf.send(f"GET {style[1]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        ended = select.poll()
        ended.register(deaf, 0)  # that the connection was ended is told without asking for it
        assert ended.poll(WAIT_S * 1000) != []
    monkeypatch.undo()
    assert page.stranger().get("/sign-in").status_code == 200


ATTACKER = ("127.0.0.9", 0)


def test_one_address_that_holds_all_places_keeps_nobody_else_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of its connections may be silent for half a minute, and come again then."""
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 20)
    with running_page(tmp_path) as page, contextlib.ExitStack() as stack:
        url = urlsplit(page.url)
        for _ in range(60):
            silent = socket.create_connection((url.hostname, url.port), WAIT_S, ATTACKER)
            stack.enter_context(silent)
            silent.sendall(b"GET /sign-in HTTP/1.1\r\n")
        for _ in range(5):
            assert page.stranger().get("/sign-in").status_code == 200


def test_one_address_that_holds_many_places_has_answers_in_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is with an office behind one address."""
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 20)
    with running_page(tmp_path) as page:
        assert [page.stranger().get("/sign-in").status_code for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("path", ["/api/v1/events/stream", "/live/releases"])
def test_one_user_who_watches_in_all_places_keeps_nobody_else_from_watching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(event_stream, "VIEWERS_MAX", 3)
    monkeypatch.setattr(watched_screens, "WATCHERS_MAX", 3)
    open_streams: list[Iterator[str]] = []
    with running_page(tmp_path) as page, contextlib.ExitStack() as stack:

        def watch(name: str) -> bool:
            """Say whether something comes of a stream."""
            stream = page.browser(name, Role.VIEWER).stream("GET", path, timeout=WAIT_S)
            with contextlib.suppress(httpx.HTTPError):
                answer = stack.enter_context(stream)
                lines = answer.iter_lines()
                open_streams.append(lines)  # one that nobody holds is closed
                return answer.status_code == 200 and any(":" in line for line in lines)
            return False

        assert [watch("olga") for _ in range(3)] == [True] * 3
        assert [watch("anna") for _ in range(1)] == [True]
        assert not watch("olga")


# --- what every answer says to a browser ----------------------------------------------------------


def test_every_answer_forbids_frames_inline_scripts_and_other_hosts(page: RunningPage) -> None:
    browser, stranger = page.browser("olga"), page.stranger()
    answers = [
        stranger.get("/sign-in"),
        stranger.get("/no/such/page"),
        stranger.get("/static/style.css"),
        stranger.post("/sign-out"),
        stranger.get("/link/none"),
        browser.get("/sign-in"),
        browser.post("/sign-in", data={"user": "x" * BODY_MAX_BYTES}),
        httpx.get(f"{page.url}/sign-in", headers={"authorization": "Bearer x"}, timeout=WAIT_S),
    ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200, 404, 200, 403, 404, 303, 413, 401]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_what_a_person_typed_comes_back_as_text(page: RunningPage) -> None:
    evil = '"><script>alert(1)</script>'
    html = page.stranger().send_form(
        "/sign-in", {"user": evil, "password": "x", "next": f"/{evil}"}, page="/sign-in"
    )
    assert "<script>alert" not in html.text
    secret = page.context.users.make_link("olga", TESTER)
    answer = page.stranger().send_form(
        f"/link/{secret}", {"user": evil, "password": "x", "again": "x"}, page=f"/link/{secret}"
    )
    assert "<script>alert" not in answer.text


def test_a_defect_shows_no_trace(page: RunningPage, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(secret: str) -> None:
        raise RuntimeError(f"the secret is {secret}")

    monkeypatch.setattr(page.context.users, "read_link", broken)
    answer = page.stranger().get("/link/abc")
    assert answer.status_code == 500
    assert "RuntimeError" not in answer.text
    assert "the secret is" not in answer.text
