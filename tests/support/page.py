"""The fleet's page for tests: the real server on a free port, and browsers signed in to it.

with running_page(tmp_path) as page:
    viewer = page.browser("anna", Role.VIEWER)
    assert viewer.get("/").status_code == 200
    viewer.send_form("/rollouts/clf-2.0/pause", {"why": "to look"})
"""

from __future__ import annotations

import contextlib
import functools
import html
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from unittest.mock import patch

import httpx
from argon2 import PasswordHasher

from slotcast_publisher.fleet.access import passwords
from slotcast_publisher.fleet.access.audit import Actor, AuditEntry, entries
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.database.database import FILE_NAME, Database
from slotcast_publisher.fleet.web.app import make_app
from slotcast_publisher.fleet.web.context import WebContext, make_context
from slotcast_publisher.fleet.web.cookies import cookie_name
from slotcast_publisher.fleet.web.csrf import token_of
from slotcast_publisher.fleet.web.listening import open_socket, url_of
from slotcast_publisher.fleet.web.server import PageServer
from slotcast_publisher.repository import Repository
from tests.support.fleet_database import make_database
from tests.support.waiting import WAIT_S

TESTER: Final = Actor("tester", "command")
PASSWORD: Final = "a password for tests"
HTML: Final = {"accept": "text/html"}
_QUICK: Final = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
"""Hashes as the page does, in no time; `tests/unit/publisher/fleet/access` has the real sizes."""
_TOKEN: Final = re.compile(r'name="csrf" value="([^"]+)"')


class Browser(httpx.Client):
    """Keeps cookies, and sends forms with the token of the page that they are on."""

    def open(self, path: str) -> str:
        """Give a page that must be there.

        Raises:
            AssertionError: it is not.
        """
        response = self.get(path)
        assert response.status_code == 200, (response.status_code, response.text[:500])
        return response.text

    def csrf(self, path: str | None = None) -> str:
        """Give the token of a page with a form; of no page in particular where none is named."""
        if path is None:
            secrets = [value for name, value in self.cookies.items() if "slotcast_" in name]
            return token_of(secrets[0]) if secrets else self.csrf("/sign-in")
        found = _TOKEN.search(self.open(path))
        assert found is not None, f"no form with a token on {path}"
        return html.unescape(found[1])

    def send_form(
        self, path: str, fields: Mapping[str, str] | None = None, *, page: str | None = None
    ) -> httpx.Response:
        """Send a form as a browser does.

        Args:
            path: of its action.
            fields: what is filled in.
            page: that the form is on; its token is read from there.
        """
        return self.post(path, data={"csrf": self.csrf(page), **(fields or {})})

    def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        """Sign in by the form."""
        return self.send_form("/sign-in", {"user": name, "password": password}, page="/sign-in")


class RunningPage:
    """A page that answers.

    Attributes:
        url: where.
        context: what it works with; tests fill its database.
    """

    def __init__(self, url: str, context: WebContext, stack: contextlib.ExitStack) -> None:
        self.url = url
        self.context = context
        self._stack = stack

    @property
    def database(self) -> Database:
        """The fleet's database."""
        return self.context.database

    def stranger(self, *, cookies: Mapping[str, str] | None = None) -> Browser:
        """Give a browser that nobody is signed in with.

        Args:
            cookies: that it has of this page already.
        """
        browser = Browser(base_url=self.url, headers=HTML, timeout=WAIT_S, verify=_tls())
        for name, value in (cookies or {}).items():
            browser.cookies.set(name, value, domain="127.0.0.1", path="/")
        return self._stack.enter_context(browser)

    def browser(self, name: str = "olga", role: Role = Role.OPERATOR) -> Browser:
        """Give a browser with a user signed in, who is made if need be; no password is hashed."""
        if self.context.users.find(name) is None:
            self.context.users.add(name, role, TESTER)
        secret = self.context.sessions.begin(name, "127.0.0.1", "a test")
        kept = cookie_name("session", self.database.id, is_secure=False)
        return self.stranger(cookies={kept: secret})

    def person(self, name: str = "olga", role: Role = Role.OPERATOR) -> str:
        """Make a user who can sign in with `PASSWORD`; gives the name."""
        self.context.users.add(name, role, TESTER)
        self.context.users.set_password(name, PASSWORD, TESTER)
        return name

    def program(self, *scope: Permission) -> httpx.Client:
        """Give a program that sends a token of this scope."""
        _, text = self.context.tokens.make("test", frozenset(scope), 1, TESTER)
        headers = {"authorization": f"Bearer {text}", "accept": "application/json"}
        client = httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_S, verify=_tls())
        return self._stack.enter_context(client)

    def audit(self) -> list[AuditEntry]:
        """Give the audit log, the newest first."""
        with self.database.reading() as connection:
            return entries(connection, before_id=None, limit=1000)


@functools.cache
def _tls() -> ssl.SSLContext:
    """What no browser of these pages uses, made once: it reads all certificates of the system."""
    return ssl.create_default_context()


@contextlib.contextmanager
def running_page(
    folder: Path,
    database: str | None = None,
    *,
    now_s: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[RunningPage]:
    """Run a page for the length of a block; passwords are hashed in no time meanwhile.

    Args:
        folder: of a repository, or where one is made.
        database: URL of another one than the repository's own.
        now_s: seconds since 1970.
        clock: seconds that only grow, by which answers are shared for a while.
    """
    path = folder if (folder / "slotcast.toml").exists() else folder / "repo"
    repo = Repository(path) if path.exists() else Repository.init(path)
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(make_database(database or path / FILE_NAME))
        stack.enter_context(patch.object(passwords, "_hasher", _QUICK))
        stack.enter_context(patch.object(passwords, "_NOBODYS", _QUICK.hash("nobody's")))
        context = make_context(repo, opened, now_s, clock)
        listening = stack.enter_context(open_socket("127.0.0.1", 0))
        server = PageServer(make_app(context), listening)
        thread = threading.Thread(target=server.run, name="page", daemon=True)
        thread.start()
        stack.callback(thread.join, WAIT_S)
        stack.callback(server.stop)
        # The socket listens already: who connects waits until it is answered.
        yield RunningPage(url_of(listening), context, stack)
