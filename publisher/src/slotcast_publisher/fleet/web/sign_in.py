"""Signing in and out, and the one-time link by which a password is set."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

from litestar import MediaType, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.exceptions import HTTPException
from litestar.params import Body, FromPath, QueryParameter
from litestar.response import Redirect

from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.access.passwords import PASSWORD_MAX_CHARS, PASSWORD_MIN_CHARS
from slotcast_publisher.fleet.access.sign_in_tries import PAUSE_S, SignInTries
from slotcast_publisher.fleet.access.users import User
from slotcast_publisher.fleet.web.authentication import address_of
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.cookies import SESSION, VISIT, make_cookie
from slotcast_publisher.fleet.web.csrf import csrf_token
from slotcast_publisher.fleet.web.guards import PUBLIC, Who
from slotcast_publisher.fleet.web.pages import plain_page
from slotcast_schemas.errors import SlotcastError, UsageError

WAITING_MAX: Final = 8
"""So many wait for their password to be checked; a check takes time and memory on purpose."""
_NEXT_MAX_CHARS: Final = 2000
"""The most characters of the address to go to after the sign-in."""

AnyRequest = Request[Any, Any, Any]
Form = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]


class Door:
    """Lets in who knows a password, a bounded number at once; of one event loop.

    Args:
        context: of the page.
    """

    def __init__(self, context: WebContext) -> None:
        self._context = context
        self._tries = SignInTries()
        self._waiting = 0

    async def check(self, name: str, password: str, address: str) -> User:
        """Give the user whose name and password these are.

        Args:
            name: as it was typed.
            password: as it was typed.
            address: they come from.

        Raises:
            HTTPException: they are not, or it was tried too often; says what is left.
        """
        wait_s = self._tries.wait_s(name, address, time.monotonic())
        if wait_s > 0:
            raise _Refused(429, _pause_text(wait_s), wait_s)
        if self._waiting >= WAITING_MAX:
            raise _Refused(503, "Too many sign in at once. Try again in a few seconds.", 5)
        # Counted before it is checked: who sends many at once has no more tries than others.
        left = self._tries.failed(name, address, time.monotonic())
        self._waiting += 1
        try:
            user = await asyncio.to_thread(self._context.users.check, name, password)
        finally:
            self._waiting -= 1
        if user is None:
            await asyncio.to_thread(self._note_failure, name, address)
            raise _Refused(403, _failure_text(left))
        self._tries.succeeded(name, address)
        return user

    def _note_failure(self, name: str, address: str) -> None:
        with self._context.database.transaction() as connection:
            actor = Actor("", "nobody", address)
            now_s = self._context.now_s()
            write_entry(connection, actor, "session.refused", name[:64], at_s=now_s)


class _Refused(HTTPException):
    """A sign-in that was refused; it is shown on the sign-in page."""

    def __init__(self, status: int, text: str, wait_s: float = 0.0) -> None:
        headers = {"retry-after": str(round(wait_s))} if wait_s else None
        super().__init__(detail=text, status_code=status, headers=headers)


def _failure_text(left: int) -> str:
    tries = "no try" if left == 0 else "1 try" if left == 1 else f"{left} tries"
    return f"Name or password is not right: {tries} left, then a pause of {PAUSE_S // 60} minutes."


def _pause_text(wait_s: float) -> str:
    minutes = max(1, round(wait_s / 60))
    return f"Too many tries: wait {minutes} minute{'s' if minutes > 1 else ''}."


# --- signing in and out ---------------------------------------------------------------------------


@get("/sign-in", opt=PUBLIC, sync_to_thread=False)
def _show_sign_in(
    request: AnyRequest,
    next_: Annotated[str, QueryParameter(name="next", max_length=_NEXT_MAX_CHARS)] = "/",
) -> Response[str]:
    """Show the form."""
    if isinstance(request.scope.get("user"), Who):
        return _to(next_)
    return _sign_in_page(request, next_)


@post("/sign-in", opt=PUBLIC)
async def _sign_in(
    request: AnyRequest, context: Context, door: NamedDependency[Door], data: Form
) -> Response[str]:
    """Begin a session, and go to the page that was wanted."""
    name, next_ = data.get("user", ""), data.get("next", "/")
    address = address_of(request)
    try:
        user = await door.check(name, data.get("password", ""), address)
    except _Refused as exc:
        return _sign_in_page(request, next_, name, exc)
    return await asyncio.to_thread(_signed_in, request, context, user, next_)


@post("/sign-out", opt=PUBLIC, sync_to_thread=True)
def _sign_out(request: AnyRequest, context: Context) -> Response[str]:
    """End the session."""
    who = request.scope.get("user")
    if isinstance(who, Who) and who.session_key is not None:
        context.sessions.end(who.session_key, who.actor)
    response = Redirect("/sign-in", status_code=303)
    response.set_cookie(make_cookie(request, SESSION, context.database.id, ""))
    return response


def _sign_in_page(
    request: AnyRequest, next_: str, user: str = "", refused: _Refused | None = None
) -> Response[str]:
    html = plain_page(
        "sign_in.html",
        title="Sign in",
        csrf=csrf_token(request),
        next=_local(next_),
        user=user[:64],
        problem=refused.detail if refused else "",
    )
    return Response(
        html,
        media_type=MediaType.HTML,
        status_code=refused.status_code if refused else 200,
        headers=refused.headers if refused else None,
    )


def _signed_in(request: AnyRequest, context: WebContext, user: User, next_: str) -> Response[str]:
    who = request.scope.get("user")
    if isinstance(who, Who) and who.session_key is not None:
        context.sessions.end(who.session_key, who.actor)  # the one before, of this browser
    agent = request.headers.get("user-agent", "")
    secret = context.sessions.begin(user.name, address_of(request), agent)
    response = _to(next_)
    response.set_cookie(make_cookie(request, SESSION, context.database.id, secret))
    response.set_cookie(make_cookie(request, VISIT, context.database.id, ""))
    return response


def _to(where: str) -> Response[str]:
    return Redirect(_local(where), status_code=303)


def _local(where: str) -> str:
    r"""Give a place of this page; anything else becomes the first screen.

    Browsers read a backslash as a slash, so `/\host` would be another host.
    """
    is_here = where.startswith("/") and not where.startswith("//") and "\\" not in where
    is_plain = is_here and where.isprintable() and len(where) <= _NEXT_MAX_CHARS
    return where if is_plain and not where.startswith("/sign-") else "/"


# --- one-time links -------------------------------------------------------------------------------


@get("/link/{secret:str}", opt=PUBLIC, sync_to_thread=True)
def _show_link(request: AnyRequest, context: Context, secret: FromPath[str]) -> Response[str]:
    """Show the form of a one-time link; looking does not use it up."""
    return _link_page(request, context, secret)


@post("/link/{secret:str}", opt=PUBLIC, sync_to_thread=True)
def _use_link(
    request: AnyRequest, context: Context, secret: FromPath[str], data: Form
) -> Response[str]:
    """Set the password, and sign in."""
    name, password = data.get("user", ""), data.get("password", "")
    try:
        if password != data.get("again", ""):
            raise UsageError("the two passwords differ")
        user = context.users.use_link(secret, name, password, address_of(request))
    except UsageError as exc:
        return _link_page(request, context, secret, typed=name, problem=exc)
    return _signed_in(request, context, user, "/")


def _link_page(
    request: AnyRequest,
    context: WebContext,
    secret: str,
    *,
    typed: str = "",
    problem: SlotcastError | None = None,
) -> Response[str]:
    link = context.users.read_link(secret)
    html = plain_page(
        "link.html",
        title="Set a password" if link.user else "Welcome",
        csrf=csrf_token(request),
        secret=secret,
        user=link.user,
        typed=typed[:64],
        shortest=PASSWORD_MIN_CHARS,
        longest=PASSWORD_MAX_CHARS,
        problem=str(problem) if problem else "",
    )
    return Response(html, media_type=MediaType.HTML, status_code=422 if problem else 200)


ROUTES: Final = [_show_sign_in, _sign_in, _sign_out, _show_link, _use_link]
"""What this module answers."""
