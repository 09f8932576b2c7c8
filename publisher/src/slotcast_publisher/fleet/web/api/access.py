"""Users, tokens and the audit log."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Response, delete, get, post, put
from litestar.concurrency import sync_to_thread
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import Meta, Struct

from slotcast_publisher.errors import NotFound
from slotcast_publisher.fleet.access.audit import AuditFilter, entries
from slotcast_publisher.fleet.access.roles import Permission, Role
from slotcast_publisher.fleet.access.tokens import DAYS_MAX, Token
from slotcast_publisher.fleet.access.users import User
from slotcast_publisher.fleet.database.device_json import iso
from slotcast_publisher.fleet.web.api.device_types import Time
from slotcast_publisher.fleet.web.api.parts import AnyRequest
from slotcast_publisher.fleet.web.context import Context
from slotcast_publisher.fleet.web.etags import check_match, with_etag
from slotcast_publisher.fleet.web.guards import check_gives, needs, who_asks
from slotcast_publisher.fleet.web.idempotency import Key, once
from slotcast_publisher.fleet.web.paging import LIMIT, After, Limit, read_place, write_place
from slotcast_schemas.errors import UsageError

_ADMIN: Final = needs(Permission.ADMINISTER)
_ORDER: Final = "-id"
UserName = Annotated[str, PathParameter(min_length=1, max_length=64)]
Named = Annotated[str, QueryParameter(max_length=256, description="Exactly this; empty for all.")]
TokenId = Annotated[str, PathParameter(min_length=1, max_length=64)]


class UserView(Struct, frozen=True, kw_only=True):
    """A user."""

    name: str
    role: Role
    made_at: Time
    password_at: Time
    signed_in_at: Time


class UserList(Struct, frozen=True, kw_only=True):
    """All users, by name."""

    users: tuple[UserView, ...]


class NewUser(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A user to add."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    role: Role


class UserAdded(Struct, frozen=True, kw_only=True):
    """A user who was added, and the path by which they set a password, within an hour."""

    user: UserView
    link: str


class RoleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another role."""

    role: Role


class TokenView(Struct, frozen=True, kw_only=True):
    """A token, without its secret."""

    id: str
    name: str
    scope: tuple[Permission, ...]
    made_by: str
    made_at: Time
    ends_at: Time
    used_at: Time
    revoked_at: Time


class TokenList(Struct, frozen=True, kw_only=True):
    """All tokens, the newest first; those that have ended, too."""

    tokens: tuple[TokenView, ...]


class NewToken(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token to make."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    scope: Annotated[tuple[Permission, ...], Meta(min_length=1, max_length=5)]
    days: Annotated[float, Meta(gt=0, le=DAYS_MAX)] = 90.0


class TokenMade(Struct, frozen=True, kw_only=True):
    """A token that was made; `secret` is what a program sends, and is shown this once."""

    token: TokenView
    secret: str


class AuditView(Struct, frozen=True, kw_only=True):
    """One change: who made it, from where, and what was before and after, as JSON."""

    id: int
    at: Time
    who: str
    how: str
    address: str
    action: str
    subject: str
    before: str
    after: str


class AuditPage(Struct, frozen=True, kw_only=True):
    """A part of the audit log, the newest first; `next` is what `after` takes."""

    entries: tuple[AuditView, ...]
    next: str | None


# --- users ----------------------------------------------------------------------------------------


@get("/users", opt=_ADMIN, sync_to_thread=True, summary="Users", tags=["access"])
def _users(context: Context) -> UserList:
    """List users."""
    return UserList(users=tuple(map(_user_view, context.users.all())))


@get("/users/{name:str}", opt=_ADMIN, sync_to_thread=True, summary="A user", tags=["access"])
def _user(request: AnyRequest, context: Context, name: UserName) -> Response[UserView]:
    """Give one user; the ETag guards a change of their role."""
    view = _user_view(_known(context.users.find(name), name))
    return with_etag(request, view, _role_of(view))


@post("/users", opt=_ADMIN, summary="Add a user", tags=["access"])
async def _add_user(
    request: AnyRequest, context: Context, data: JSONBody[NewUser], idempotency_key: Key
) -> Response[UserAdded]:
    """Add a user; the link by which they set a password is in this answer and in no later one."""
    who = who_asks(request)

    def add() -> UserAdded:
        user = context.users.add(data.name, data.role, who.actor)
        secret = context.users.make_link(user.name, who.actor)
        return UserAdded(user=_user_view(user), link=f"/link/{secret}")

    change = once(request, context, idempotency_key, data, is_secret=True)
    return await change.answer(lambda: sync_to_thread(add), 201)


@put(
    "/users/{name:str}/role",
    opt=_ADMIN,
    sync_to_thread=True,
    summary="Give a user another role",
    tags=["access"],
)
def _set_role(
    request: AnyRequest, context: Context, name: UserName, data: JSONBody[RoleBody]
) -> UserView:
    """Give a user another role; it counts from the next request on."""
    before = _user_view(_known(context.users.find(name), name))
    check_match(request, _role_of(before))
    return _user_view(context.users.set_role(name, data.role, who_asks(request).actor))


@delete(
    "/users/{name:str}", opt=_ADMIN, sync_to_thread=True, summary="Remove a user", tags=["access"]
)
def _remove_user(request: AnyRequest, context: Context, name: UserName) -> None:
    """Remove a user, who is signed out everywhere."""
    context.users.remove(name, who_asks(request).actor)


def _known(user: User | None, name: str) -> User:
    if user is None:
        raise NotFound(f"no user {name!r:.80}")
    return user


def _role_of(view: UserView) -> list[str]:
    return [view.name, view.role]


def _user_view(user: User) -> UserView:
    return UserView(
        name=user.name,
        role=user.role,
        made_at=iso(user.made_s),
        password_at=iso(user.password_s),
        signed_in_at=iso(user.signed_in_s),
    )


# --- tokens ---------------------------------------------------------------------------------------


@get("/tokens", opt=_ADMIN, sync_to_thread=True, summary="Tokens", tags=["access"])
def _tokens(context: Context) -> TokenList:
    """List tokens."""
    return TokenList(tokens=tuple(map(_token_view, context.tokens.all())))


@post("/tokens", opt=_ADMIN, summary="Make a token", tags=["access"])
async def _make_token(
    request: AnyRequest, context: Context, data: JSONBody[NewToken], idempotency_key: Key
) -> Response[TokenMade]:
    """Make a token; its secret is in this answer and in no later one."""
    who = who_asks(request)
    check_gives(who, frozenset(data.scope))

    def make() -> TokenMade:
        token, secret = context.tokens.make(data.name, frozenset(data.scope), data.days, who.actor)
        return TokenMade(token=_token_view(token), secret=secret)

    change = once(request, context, idempotency_key, data, is_secret=True)
    return await change.answer(lambda: sync_to_thread(make), 201)


@delete(
    "/tokens/{token_id:str}",
    opt=_ADMIN,
    sync_to_thread=True,
    summary="End a token",
    tags=["access"],
)
def _revoke(request: AnyRequest, context: Context, token_id: TokenId) -> None:
    """End a token now."""
    context.tokens.revoke(token_id, who_asks(request).actor)


def _token_view(token: Token) -> TokenView:
    return TokenView(
        id=token.id,
        name=token.name,
        scope=tuple(sorted(token.scope)),
        made_by=token.made_by,
        made_at=iso(token.made_s),
        ends_at=iso(token.ends_s),
        used_at=iso(token.used_s),
        revoked_at=iso(token.revoked_s),
    )


# --- the audit log --------------------------------------------------------------------------------


@get("/audit", opt=_ADMIN, sync_to_thread=True, summary="Who changed what", tags=["access"])
def _audit(
    context: Context,
    who: Named = "",
    action: Named = "",
    subject: Named = "",
    limit: Limit = LIMIT,
    after: After = None,
) -> AuditPage:
    """List changes, the newest first."""
    asked = AuditFilter(who=who, action=action, subject=subject)
    behind = read_place(after, _ORDER)
    if behind is not None and (len(behind) != 1 or type(behind[0]) is not int):
        raise UsageError("after: expected `next` of the page before")
    before_id = None if behind is None else int(behind[0])
    with context.database.reading() as connection:
        found = entries(connection, before_id=before_id, limit=limit + 1, asked=asked)
    shown = found[:limit]
    return AuditPage(
        entries=tuple(
            AuditView(
                id=entry.id,
                at=iso(entry.at_s),
                who=entry.who,
                how=entry.how,
                address=entry.address,
                action=entry.action,
                subject=entry.subject,
                before=entry.before,
                after=entry.after,
            )
            for entry in shown
        ),
        next=write_place(_ORDER, (shown[-1].id,)) if len(found) > limit else None,
    )


ROUTES: Final = [
    _users,
    _user,
    _add_user,
    _set_role,
    _remove_user,
    _tokens,
    _make_token,
    _revoke,
    _audit,
]
"""What this module answers."""
