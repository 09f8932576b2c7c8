"""The screens of who may, for admins: users and tokens. What is secret is shown once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any, Final

from litestar import MediaType, Response, get, post
from litestar.params import FromPath
from litestar.response import Redirect, ServerSentEvent

from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.access.tokens import DAYS_MAX, scope_of
from slotcast_publisher.fleet.access.users import role_of
from slotcast_publisher.fleet.web.context import Context, WebContext
from slotcast_publisher.fleet.web.guards import check_gives, needs, who_asks
from slotcast_publisher.fleet.web.pages import plain_page
from slotcast_publisher.fleet.web.screens import counted_pages
from slotcast_publisher.fleet.web.screens.access_view import (
    token_rows,
    tokens_sentence,
    user_rows,
    users_sentence,
)
from slotcast_publisher.fleet.web.screens.exports import csv_file
from slotcast_publisher.fleet.web.screens.note_forms import AnyRequest, Form
from slotcast_publisher.fleet.web.screens.rendering import Rendered, render
from slotcast_publisher.fleet.web.screens.rollout_view import ICON
from slotcast_publisher.fleet.web.screens.watched_screens import Look, ScreensHere, query_of
from slotcast_schemas.errors import UsageError

USERS: Final = "users"
TOKENS: Final = "tokens"
"""Of the screens."""
DAYS: Final = 90
"""For which a token counts unless asked otherwise."""
MEANINGS: Final = {
    Permission.SEE: "look at the fleet, its rollouts and releases",
    Permission.NOTE: "write notes",
    Permission.STEER: "pause and resume rollouts, open gates, have failed devices try again",
    Permission.ROLL_OUT: "start, cancel and take back rollouts",
    Permission.ADMINISTER: "users, tokens, the audit log",
}
"""What each permission is for, as forms say it."""
_ADMIN: Final = needs(Permission.ADMINISTER)


def make_users(look: Look) -> Rendered:
    """Make the screen of users.

    Args:
        look: with `from`, how many are left out.
    """
    context, start = look.context, _start(look)
    users, tokens = context.users.all(), context.tokens.all()
    repo = str(context.repo.path)
    return render(
        "users.html",
        "Users",
        ICON,
        frame=look.frame("Users", ICON, "/users", f"/live/users{counted_pages.start_query(start)}"),
        sentence=users_sentence(users),
        rows=user_rows(users[start : start + counted_pages.PAGE], users, tokens, repo),
        roles=tuple(Role),
        add_command=f"{shlex.join(['slotcast', 'users', 'add', repo, 'NAME', '--role'])} viewer",
        pager=_pager("/users", start, len(users)),
    )


def make_tokens(look: Look) -> Rendered:
    """Make the screen of tokens.

    Args:
        look: with `from`, how many newer ones are left out.
    """
    context, start = look.context, _start(look)
    tokens, now_s = context.tokens.all(), look.clock.now_s
    repo = str(context.repo.path)
    query = counted_pages.start_query(start)
    create = shlex.join(["slotcast", "tokens", "create", repo, "NAME", "--scope", "see"])
    return render(
        "tokens.html",
        "Tokens",
        ICON,
        frame=look.frame("Tokens", ICON, "/users", f"/live/tokens{query}"),
        sentence=tokens_sentence(tokens, now_s),
        rows=token_rows(tokens[start : start + counted_pages.PAGE], now_s, repo),
        meanings=MEANINGS,
        days=DAYS,
        days_max=DAYS_MAX,
        make_command=f"{create} --days {DAYS}",
        pager=_pager("/tokens", start, len(tokens)),
    )


def _start(look: Look) -> int:
    return counted_pages.read_start(look.arguments.get("from", ""))


def _pager(here: str, start: int, total: int) -> dict[str, str]:
    """Give the links to the pages before and after; empty where there is none."""
    return {
        "before": counted_pages.page_before(here, start),
        "after": counted_pages.page_after(here, start, total),
    }


# --- users ----------------------------------------------------------------------------------------


@get("/users", opt=_ADMIN, sync_to_thread=True)
def _show_users(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show who may sign in."""
    return screens.page(request, USERS, **query_of(request, "from"))


@get("/live/users", opt=_ADMIN, sync_to_thread=False)
def _watch_users(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the list of users."""
    return screens.watch(request, USERS, **query_of(request, "from"))


@get("/users.csv", opt=_ADMIN, sync_to_thread=True)
def _give_users(context: Context) -> Response[bytes]:
    """Give all users as a file."""
    head = ("name", "role", "made_s", "password_s", "signed_in_s")
    rows = [[getattr(user, key) for key in head] for user in context.users.all()]
    return csv_file("users", head, rows)


@post("/users", opt=_ADMIN, sync_to_thread=True)
def _add_user(
    request: AnyRequest, context: Context, screens: ScreensHere, data: Form
) -> Response[str]:
    """Add a user, and show the link by which they set their password, this once.

    Raises:
        UsageError: a name or a role that cannot be.
        Conflict: there is one of this name.
    """
    who = who_asks(request)
    user = context.users.add(data.get("user", ""), role_of(data.get("role", "")), who.actor)
    return _link_page(request, context, screens, user.name)


@post("/users/{name:str}/link", opt=_ADMIN, sync_to_thread=True)
def _make_link(
    request: AnyRequest, context: Context, screens: ScreensHere, name: FromPath[str]
) -> Response[str]:
    """Show a link by which a user sets a new password, this once.

    Raises:
        NotFound: no such user.
    """
    return _link_page(request, context, screens, name)


@post("/users/{name:str}/role", opt=_ADMIN, sync_to_thread=True)
def _set_role(
    request: AnyRequest, context: Context, screens: ScreensHere, name: FromPath[str], data: Form
) -> Redirect:
    """Give a user another role.

    Raises:
        NotFound: no such user.
        Conflict: nobody would be left who may administer, or somebody else was faster.
    """
    user, was = context.users.known(name), data.get("was", "")
    if was and was != user.role:
        raise Conflict(f"somebody else made {name} {user.role} meanwhile: look at it again")
    context.users.set_role(name, role_of(data.get("role", "")), who_asks(request).actor)
    screens.changed()
    return Redirect("/users", status_code=303)


@post("/users/{name:str}/remove", opt=_ADMIN, sync_to_thread=True)
def _remove_user(
    request: AnyRequest, context: Context, screens: ScreensHere, name: FromPath[str]
) -> Redirect:
    """Remove a user.

    Raises:
        NotFound: no such user.
        Conflict: nobody would be left who may administer.
    """
    context.users.remove(name, who_asks(request).actor)
    screens.changed()
    return Redirect("/users", status_code=303)


def _link_page(
    request: AnyRequest, context: WebContext, screens: ScreensHere, name: str
) -> Response[str]:
    secret = context.users.make_link(name, who_asks(request).actor)
    screens.changed()
    begin = (context.settings.url or str(request.base_url)).rstrip("/")
    return _secret_page(
        "A link to set a password",
        f"For {name}, and nobody else: it works once, within an hour. It is shown this once.",
        f"{begin}/link/{secret}",
        "/users",
    )


# --- tokens ---------------------------------------------------------------------------------------


@get("/tokens", opt=_ADMIN, sync_to_thread=True)
def _show_tokens(request: AnyRequest, screens: ScreensHere) -> Response[str]:
    """Show what programs sign in with."""
    return screens.page(request, TOKENS, **query_of(request, "from"))


@get("/live/tokens", opt=_ADMIN, sync_to_thread=False)
def _watch_tokens(request: AnyRequest, screens: ScreensHere) -> ServerSentEvent:
    """Say what changes in the list of tokens."""
    return screens.watch(request, TOKENS, **query_of(request, "from"))


@get("/tokens.csv", opt=_ADMIN, sync_to_thread=True)
def _give_tokens(context: Context) -> Response[bytes]:
    """Give all tokens as a file; no secrets."""
    head = ("id", "name", "scope", "made_by", "made_s", "ends_s", "used_s", "revoked_s")
    return csv_file("tokens", head, _token_lines(context))


def _token_lines(context: WebContext) -> Iterator[tuple[object, ...]]:
    for t in context.tokens.all():
        scope = " ".join(sorted(t.scope))
        yield t.id, t.name, scope, t.made_by, t.made_s, t.ends_s, t.used_s, t.revoked_s


@post("/tokens", opt=_ADMIN, sync_to_thread=True)
def _make_token(
    request: AnyRequest, context: Context, screens: ScreensHere, data: Form
) -> Response[str]:
    """Make a token, and show it, this once.

    Raises:
        UsageError: a name, a scope or a number of days that cannot be.
        Conflict: there are too many.
    """
    who = who_asks(request)
    scope = scope_of([word for word in Permission if data.get(f"scope-{word}")])
    check_gives(who, scope)
    token, secret = context.tokens.make(
        data.get("name", "").strip(), scope, _days(data.get("days", "")), who.actor
    )
    screens.changed()
    words = ", ".join(sorted(token.scope))
    said = f"For {token.name}, which may {words}. It is shown this once: keep it where secrets are."
    return _secret_page("A token", said, secret, "/tokens")


def _days(text: str) -> float:
    try:
        return float(text or DAYS)
    except ValueError as exc:
        raise UsageError(f"days: expected a number, got {text!r:.40}") from exc


@post("/tokens/{token_id:str}/revoke", opt=_ADMIN, sync_to_thread=True)
def _revoke(
    request: AnyRequest, context: Context, screens: ScreensHere, token_id: FromPath[str]
) -> Redirect:
    """End a token now.

    Raises:
        NotFound: no such token.
    """
    context.tokens.revoke(token_id, who_asks(request).actor)
    screens.changed()
    return Redirect("/tokens", status_code=303)


def _secret_page(title: str, words: str, secret: str, back: str) -> Response[str]:
    """Give a page with a secret on it; no answer of ours is kept by browsers."""
    html = plain_page("secret.html", title=title, words=words, secret=secret, back=back)
    return Response(html, media_type=MediaType.HTML, status_code=201)


ROUTES: Final[list[Any]] = [
    _show_users,
    _watch_users,
    _give_users,
    _add_user,
    _make_link,
    _set_role,
    _remove_user,
    _show_tokens,
    _watch_tokens,
    _give_tokens,
    _make_token,
    _revoke,
]
"""The routes of the screens."""
MAKERS: Final = {USERS: make_users, TOKENS: make_tokens}
"""How the screens are made."""
