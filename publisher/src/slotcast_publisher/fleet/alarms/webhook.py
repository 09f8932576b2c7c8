"""Posts alarms to a webhook, signed, by a thread of its own; nobody waits for it.

A post carries `Slotcast-Timestamp`, seconds since 1970, and `Slotcast-Signature`, `v1=` and the
HMAC-SHA256 (RFC 2104) of timestamp, a point and the body, in hex. The secret comes from the
environment or a file, and goes nowhere else.

The request is written by hand, on asyncio's streams: the whole of it, from the name of the host to
the status line, is under one time limit, which neither urllib nor http.client has; a server that
sends a byte every few seconds would hold those for days. What comes after the status line is not
read, and a redirect is not followed, for it would take the body to where nobody meant it to go.
"""

from __future__ import annotations

import asyncio
import collections
import hashlib
import hmac
import random
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from slotcast_publisher import __version__
from slotcast_publisher.alarm_settings import Webhook
from slotcast_publisher.serve.log import Say
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.environment import secret as given_secret
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plain_files import open_regular

SECRET_VARIABLE: Final = "SLOTCAST_WEBHOOK_SECRET"  # noqa: S105 - a name, not a secret
"""The environment variable that gives the secret, before the file that the settings name."""

SECRET_MIN_CHARS: Final = 16
"""Shorter secrets are refused: whoever sees one post could try them all."""

_SECRET_MAX_BYTES: Final = 4_096
_GIVEN_UP_S: Final = 86_400.0
"""The seconds after which a post is given up that was never taken."""

_REFUSED_TRIES: Final = 3
"""So often is tried what the receiver says is wrong in itself."""

_AGAIN: Final = frozenset({408, 425, 429})
"""Statuses from 400 to 499 that say nothing against the post itself (RFC 9110, 15.5)."""

_LINE_MAX_BYTES: Final = 8_192
"""The most bytes of a line of the receiver's answer."""

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (?P<code>[1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class Post:
    """One thing to say.

    Attributes:
        key: what names it to whoever asked for it.
        body: JSON.
        made_s: when it was asked for, seconds since 1970.
    """

    key: Any
    body: bytes
    made_s: float


class NotTaken(Exception):
    """A post that the receiver did not take.

    Attributes:
        is_refused: whether the same post would be refused again.
    """

    def __init__(self, why: str, *, is_refused: bool = False) -> None:
        super().__init__(why)
        self.is_refused = is_refused


def read_secret(webhook: Webhook, base: Path) -> bytes:
    """Give the secret that posts are signed with: the variable's, or else that of its file.

    Args:
        webhook: the settings.
        base: folder that the secret's file is relative to.

    Raises:
        UsageError: there is none, or it is too short.
    """
    where, secret = SECRET_VARIABLE, (given_secret(SECRET_VARIABLE) or "").encode()
    if not secret and webhook.secret_file:
        path = base / webhook.secret_file
        where = f"alarms.webhook.secret_file ({path})"
        try:
            with open_regular(path) as file:
                secret = file.read(_SECRET_MAX_BYTES)
        except OSError as exc:
            raise UsageError(f"{where}: cannot be read: {exc.strerror}") from exc
    secret = secret.strip()
    if len(secret) >= SECRET_MIN_CHARS:
        return secret
    if secret:
        raise UsageError(f"{where}: expected {SECRET_MIN_CHARS} characters or more")
    raise UsageError(
        "alarms.webhook.url needs a secret to sign with: put one into a file that"
        f" alarms.webhook.secret_file names, or into {SECRET_VARIABLE}"
    )


def sign(secret: bytes, timestamp_s: int, body: bytes) -> str:
    """Give the value of `Slotcast-Signature`.

    Args:
        secret: what sender and receiver share.
        timestamp_s: seconds since 1970, as in `Slotcast-Timestamp`.
        body: of the post.
    """
    signed = str(timestamp_s).encode() + b"." + body
    return "v1=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Address:
    """Where posts go.

    Attributes:
        name: for people: the host alone, since a path may be a secret as well.
        target: what is asked of the server: path and query.
    """

    host: str
    port: int
    target: str
    is_tls: bool
    name: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take an address apart.

        Raises:
            UsageError: not `https://HOST...` or `http://HOST...` in ASCII. It is not repeated.
        """
        expected = "alarms.webhook.url: expected https://HOST[:PORT]/PATH, or http://..."
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise UsageError(expected) from exc
        is_plain = url.isascii() and url.isprintable() and " " not in url
        if parts.scheme not in {"http", "https"} or not parts.hostname or not is_plain:
            raise UsageError(expected)
        if parts.username or parts.password:
            raise UsageError(f"{expected}, without user and password: posts are signed")
        is_tls = parts.scheme == "https"
        port = port or (443 if is_tls else 80)
        name = f"{_bracketed(parts.hostname)}:{port}"
        return cls(parts.hostname, port, _target(parts), is_tls, name)


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True)
class PostingBounds:
    """How long is waited, and how much waits.

    Attributes:
        waiting_max: posts that wait; the oldest goes first.
        retry_first_s: the bound in seconds of the first wait before a post is tried again.
        retry_cap_s: the bound in seconds of every wait.
        close_s: the seconds that a post which is under way has when the service ends.
    """

    waiting_max: int = 1_000
    retry_first_s: float = 1.0
    retry_cap_s: float = 300.0
    close_s: float = 2.0


USUAL_BOUNDS: Final = PostingBounds()


class Poster:
    """Posts what it is given, in order; begin with `start`, end with `close`.

    Args:
        webhook: the settings, with a URL.
        secret: what posts are signed with.
        say: the log.
        rng: jitter.
        now: the clock, seconds since 1970.
        bounds: how long is waited, and how much waits.

    Raises:
        UsageError: the URL is none.
    """

    def __init__(
        self,
        webhook: Webhook,
        secret: bytes,
        say: Say,
        rng: random.Random,
        now: Callable[[], float] = time.time,
        *,
        bounds: PostingBounds = USUAL_BOUNDS,
    ) -> None:
        self._bounds = bounds
        self._address = Address.parse(webhook.url or "")
        self._timeout_s = webhook.timeout_s
        self._secret = secret
        self._say = say
        self._now = now
        self._waits = Backoff(rng, bounds.retry_first_s, bounds.retry_cap_s)
        self._waiting: collections.deque[Post] = collections.deque()
        self._taken: collections.deque[tuple[Any, float]] = collections.deque(
            maxlen=bounds.waiting_max
        )
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._is_failing = False
        self._tls = ssl.create_default_context() if self._address.is_tls else None
        self._thread = threading.Thread(target=self._run, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to post."""
        self._thread.start()

    def post(self, post: Post) -> None:
        """Have something posted; never waits. Past a bound, the oldest that waits is given up."""
        lost: Post | None = None
        with self._changed:
            if len(self._waiting) >= self._bounds.waiting_max:
                lost = self._waiting.popleft()
            self._waiting.append(post)
            self._changed.notify_all()
        if lost is not None:
            self._say_lost(lost, f"more than {self._bounds.waiting_max} wait")

    def done(self) -> list[tuple[Any, float]]:
        """Give keys of what is done with, taken or given up, and when; each is given once."""
        with self._changed:
            taken = list(self._taken)
            self._taken.clear()
        return taken

    def close(self) -> None:
        """End the thread; what was not posted is the next process's."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(self._bounds.close_s)

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        tries = 0
        while (post := self._next()) is not None:
            tries += 1
            try:
                asyncio.run(self._send(post.body))
            except NotTaken as exc:
                self._failed(exc)
                if not self._is_hopeless(post, exc, tries):
                    self._stop.wait(self._waits.next_s())
                    continue
                self._say_lost(post, str(exc))
            else:
                self._worked()
            self._finish(post)
            tries = 0

    def _next(self) -> Post | None:
        """Wait for a post, and give it without taking it off; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
            return None if self._stop.is_set() else self._waiting[0]

    def _finish(self, post: Post) -> None:
        with self._changed:
            if self._waiting and self._waiting[0] is post:
                self._waiting.popleft()
            self._taken.append((post.key, self._now()))

    def _is_hopeless(self, post: Post, exc: NotTaken, tries: int) -> bool:
        if exc.is_refused and tries >= _REFUSED_TRIES:
            return True
        return self._now() - post.made_s > _GIVEN_UP_S

    def _failed(self, exc: NotTaken) -> None:
        if not self._is_failing:
            self._is_failing = True
            self._say(
                "webhook_failing", level="warning", webhook=self._address.name, detail=str(exc)
            )

    def _worked(self) -> None:
        self._waits.reset()
        if self._is_failing:
            self._is_failing = False
            self._say("webhook_works", webhook=self._address.name)

    def _say_lost(self, post: Post, why: str) -> None:
        self._say(
            "webhook_lost",
            level="error",
            webhook=self._address.name,
            detail=why,
            lost=msgspec.json.decode(post.body),
        )

    # --- one request ------------------------------------------------------------------------------

    async def _send(self, body: bytes) -> None:
        """Post once.

        Raises:
            NotTaken: no answer in time, or another one than 2xx.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                code = await self._ask(body)
        except TimeoutError as exc:
            raise NotTaken(f"no answer within {self._timeout_s:g} s") from exc
        except (OSError, ValueError, UnicodeError) as exc:
            raise NotTaken(f"{type(exc).__name__}: {exc}") from exc
        if 200 <= code < 300:
            return
        if 300 <= code < 400:
            raise NotTaken(
                f"answered {code}, a redirect, which is not followed: set alarms.webhook.url to"
                " where it leads",
                is_refused=True,
            )
        raise NotTaken(f"answered {code}", is_refused=400 <= code < 500 and code not in _AGAIN)

    async def _ask(self, body: bytes) -> int:
        where = self._address
        reader, writer = await asyncio.open_connection(
            where.host, where.port, ssl=self._tls, limit=_LINE_MAX_BYTES
        )
        try:
            writer.write(self._head(body) + body)
            await writer.drain()
            line = await reader.readline()
        finally:
            writer.transport.abort()  # what else it says is of no use
        found = _STATUS.fullmatch(line)
        if found is None:
            raise ValueError("the answer is not HTTP" if line else "hung up without an answer")
        return int(found["code"])

    def _head(self, body: bytes) -> bytes:
        where, now_s = self._address, int(self._now())
        default = 443 if where.is_tls else 80
        host = _bracketed(where.host) + ("" if where.port == default else f":{where.port}")
        lines = (
            f"POST {where.target} HTTP/1.1",
            f"Host: {host}",
            f"User-Agent: slotcast/{__version__}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"Slotcast-Timestamp: {now_s}",
            f"Slotcast-Signature: {sign(self._secret, now_s, body)}",
            "Connection: close",
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
