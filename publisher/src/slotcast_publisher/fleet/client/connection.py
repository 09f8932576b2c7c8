"""Requests to a page's API: bounded, with a token, and problems as the errors that they were."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import SlotcastError, StorageFailed, TransferFailed, UsageError

TOKEN_VARIABLE: Final = "SLOTCAST_TOKEN"  # noqa: S105 - a name, not a secret
"""The environment variable that holds the token."""
TIMEOUT_S: Final = 60.0
"""The seconds that an answer may take: the page counts a large fleet in less."""
ANSWER_MAX_BYTES: Final = 32 * 1024 * 1024
"""The most bytes of one answer; a page of a list has some hundred kilobytes."""
_TOKEN_MAX_BYTES: Final = 4096
"""The most bytes of a token's file that are read."""
_PATH: Final = "/api/v1"
T = TypeVar("T")
Parameters = Mapping[str, str | int | float | Sequence[str] | None]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows nothing: a token goes to the host that was named, and to no other."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        """Give no other request."""


class _Problem(msgspec.Struct):
    """A problem (RFC 9457), as far as it is needed."""

    title: str = ""
    detail: str = ""
    reason: str = ""


make_decoders(_Problem)


class Connection:
    """A page that is asked.

    Args:
        url: of the page, such as `https://fleet.example` or `http://127.0.0.1:8470`.
        token: of scope `see`, and what else is asked for.

    Raises:
        UsageError: no such address.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise UsageError(
                "server: expected http://HOST[:PORT] or https://HOST[:PORT] (what came is not"
                " shown, since it may hold a password)"
            )
        if parts.username is not None:
            raise UsageError(
                f"server: a token is expected in {TOKEN_VARIABLE}, none in the address"
            )
        self._url = url.rstrip("/")
        self._token = token
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        self._opener = urllib.request.build_opener(_NoRedirects, tls)

    def get(self, path: str, kind: type[T], parameters: Parameters | None = None) -> T:
        """Ask for something.

        Args:
            path: below `/api/v1`, its parts escaped already (`part`).
            kind: what is expected.
            parameters: of the address; None is left out.

        Raises:
            SlotcastError: what the page says, or what keeps it from being asked.
        """
        data = self._answer("GET", path + _query(parameters))
        return self._decoded(data, kind)

    def text(self, path: str) -> str:
        """Ask for a text.

        Raises:
            SlotcastError: what the page says, or what keeps it from being asked.
        """
        return self._answer("GET", path).decode(errors="replace")

    def post(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        """Ask for a change; it is made once, however often it has to be sent.

        Args:
            path: below `/api/v1`.
            body: what is asked for.
            kind: what is expected.

        Raises:
            SlotcastError: what the page says, or what keeps it from being asked.
        """
        key = uuid.uuid4().hex
        data = msgspec.json.encode(body)
        try:
            answer = self._answer("POST", path, data, key)
        except TransferFailed:
            answer = self._answer("POST", path, data, key)  # the same key: it is made once
        return self._decoded(answer, kind)

    def _decoded(self, data: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(data, type=kind)
        except UNDECODABLE as exc:
            raise StorageFailed(
                f"{self._url} answers otherwise than expected ({exc}): is its version this one?"
            ) from exc

    def _answer(self, method: str, path: str, body: bytes | None = None, key: str = "") -> bytes:
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        if body is not None:
            headers |= {"content-type": "application/json", "idempotency-key": key}
        request = urllib.request.Request(  # noqa: S310 - http or https, as checked
            self._url + _PATH + path, data=body, headers=headers, method=method
        )
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                data: bytes = response.read(ANSWER_MAX_BYTES + 1)
        except urllib.error.HTTPError as exc:
            with exc:
                self._raise_problem(exc)
        except (OSError, HTTPException) as exc:
            why = getattr(exc, "reason", None) or exc
            raise TransferFailed(f"{self._url} does not answer: {why}") from exc
        if len(data) > ANSWER_MAX_BYTES:
            raise StorageFailed(f"{self._url} answers with more than {ANSWER_MAX_BYTES} bytes")
        return data

    def _raise_problem(self, exc: urllib.error.HTTPError) -> NoReturn:
        try:
            problem = msgspec.json.decode(exc.read(ANSWER_MAX_BYTES), type=_Problem)
        except (OSError, HTTPException, *UNDECODABLE):
            problem = _Problem()
        detail = problem.detail or problem.title or f"HTTP {exc.code} {exc.reason}"
        # Without a word of ours it is about the address: what answers there may be no page.
        raise _error_of(exc.code)(detail if problem.reason else f"{self._url}: {detail}")


def _error_of(status: int) -> type[SlotcastError]:
    """Give the error that a status of HTTP stands for, by who has to act."""
    match status:
        case 404:
            return NotFound
        case 409 | 412:
            return Conflict
        case 400 | 401 | 403 | 413 | 422:
            return UsageError
        case 429 | 502 | 503 | 504:
            return TransferFailed
    return StorageFailed


def part(text: str) -> str:
    """Give a name as a part of a path."""
    return quote(text, safe="")


def _query(parameters: Parameters | None) -> str:
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    return f"?{urlencode(given, doseq=True)}" if given else ""


def read_token(file: Path | None) -> str:
    """Give the token, from a file or from the environment.

    Args:
        file: that holds it; None for the environment.

    Raises:
        UsageError: there is none.
    """
    if file is not None:
        try:
            with file.open("rb") as opened:
                text = opened.read(_TOKEN_MAX_BYTES).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"cannot read a token from {file}: {exc}") from exc
    else:
        text = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not text or not text.isprintable():
        raise UsageError(
            f"expected a token in {TOKEN_VARIABLE} or in a file (--token-file FILE): an admin makes"
            " one with `slotcast tokens create`"
        )
    return text
