"""Errors as answers: a page for people, a problem (RFC 9457) for programs; nobody sees a trace."""

from __future__ import annotations

import logging
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from slotcast_publisher.errors import Conflict, NotFound
from slotcast_publisher.fleet.web.pages import plain_page
from slotcast_schemas.errors import RefusedRelease, SlotcastError, StorageFailed, UsageError

_STATUS: Final[tuple[tuple[type[SlotcastError], int], ...]] = (
    (NotFound, 404),
    (Conflict, 409),
    (UsageError, 422),
    (RefusedRelease, 422),
    (StorageFailed, 503),
)
"""What an error is in HTTP, by who has to act."""
_WORDS: Final = {
    401: "Nobody is signed in",
    403: "You may not do this",
    404: "There is nothing here",
    405: "This cannot be done here",
    400: "This request does not fit",
    409: "This contradicts what is there",
    412: "Somebody else changed it",
    413: "This is too large",
    422: "This is not right",
    429: "Too many tries",
    503: "This does not work now",
}
_HOW_TO_SIGN_IN: Final = 'Bearer realm="slotcast"'
"""What every 401 has to name (RFC 9110)."""
_LOG: Final = logging.getLogger("slotcast.page")
AnyRequest = Request[Any, Any, Any]


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, as RFC 9457 has it.

    Attributes:
        reason: a stable word for programs, as commands print it; empty for errors of HTTP itself.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reason: str = ""


def problem_of(exc: SlotcastError | HTTPException) -> Problem:
    """Give an error as a problem."""
    if isinstance(exc, SlotcastError):
        status, detail, reason = status_of(exc), str(exc), str(exc.reason)
    else:
        status, detail, reason = exc.status_code, _detail_of(exc), ""
    title = _WORDS.get(status, "This did not work")
    return Problem(title=title, status=status, detail=detail, reason=reason)


def _detail_of(exc: HTTPException) -> str:
    """Say what is wrong; of a request that does not fit, each part that does not."""
    if exc.status_code != 400 or not isinstance(exc.extra, list):
        return exc.detail
    parts = [f"{part.get('key', '')}: {part.get('message', '')}" for part in exc.extra]
    return "; ".join([exc.detail, *parts])[:1000]


def status_of(exc: SlotcastError) -> int:
    """Give the HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(exc, kind)), 500)


def answer_slotcast_error(request: AnyRequest, exc: SlotcastError) -> Response[Any]:
    """Answer with what one of our errors says.

    Args:
        request: that failed.
        exc: why.
    """
    return answer_with(request, status_of(exc), str(exc), reason=str(exc.reason))


def answer_http_error(request: AnyRequest, exc: HTTPException) -> Response[Any]:
    """Answer with what the framework says; who is not signed in is sent to the sign-in page.

    Args:
        request: that failed.
        exc: why.
    """
    if exc.status_code == 401 and wants_page(request) and request.method in {"GET", "HEAD"}:
        query = f"?{request.url.query}" if request.url.query else ""
        return Redirect(
            f"/sign-in?{urlencode({'next': request.url.path + query})}", status_code=303
        )
    headers = dict(exc.headers or {})
    if exc.status_code == 401:
        headers["www-authenticate"] = _HOW_TO_SIGN_IN
    return answer_with(request, exc.status_code, _detail_of(exc), headers)


def answer_defect(request: AnyRequest, exc: Exception) -> Response[Any]:
    """Answer that there is a defect, and log it.

    Args:
        request: that failed.
        exc: why.
    """
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=exc)
    return answer_with(request, 500, "a defect of this software; the log has what is needed")


def answer_with(
    request: AnyRequest,
    status: int,
    detail: str,
    headers: dict[str, str] | None = None,
    reason: str = "",
) -> Response[Any]:
    """Answer with an error, for whoever asks.

    Args:
        request: that failed.
        status: of HTTP.
        detail: what is wrong, in words.
        headers: of the answer.
        reason: a stable word for programs.
    """
    title = _WORDS.get(status, "This did not work")
    if wants_page(request):
        html = plain_page("error.html", title=title, detail=detail)
        return Response(html, status_code=status, media_type=MediaType.HTML, headers=headers)
    problem = Problem(title=title, status=status, detail=detail, reason=reason)
    return Response(
        msgspec.json.encode(problem),
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )


def wants_page(request: AnyRequest) -> bool:
    """Say whether a person asks, and not a program."""
    if request.url.path.startswith("/api/"):
        return False
    return "text/html" in request.headers.get("accept", "")


HANDLERS: Final[Any] = {
    SlotcastError: answer_slotcast_error,
    HTTPException: answer_http_error,
    Exception: answer_defect,
}
"""What answers which error."""
