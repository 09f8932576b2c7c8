"""Users and tokens as rows, each with what can be done about it and the command that does it. Pure.

What cannot be done stays where it is and says why, as on a rollout's screen.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.access.tokens import Token
from slotcast_publisher.fleet.access.users import User
from slotcast_publisher.fleet.web.words import count_words
from slotcast_schemas.plural import several


@dataclass(frozen=True, slots=True)
class AccessAction:
    """One thing that can be done about a user or a token.

    Attributes:
        name: the last word of its address.
        label: of its button.
        effect: what it does.
        command: that does the same.
        refusal: why it cannot be done now; empty where it can.
    """

    name: str
    label: str
    effect: str
    command: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user.

    Attributes:
        roles: that can be given instead.
        give_role: another role.
        others: what else can be done.
    """

    name: str
    role: str
    has_password: bool
    made_s: int
    signed_in_s: int | None
    roles: tuple[str, ...]
    give_role: AccessAction
    others: tuple[AccessAction, ...]


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token, without its secret.

    Attributes:
        state: `counts`, `ended` or `revoked`.
        ends_s: when it ends, or has; of a revoked one, when that was.
        revoke: ends it; None where it counts no more.
    """

    id: str
    name: str
    scope: tuple[str, ...]
    state: str
    made_by: str
    made_s: int
    ends_s: int
    used_s: int | None
    revoke: AccessAction | None


def users_sentence(users: Sequence[User]) -> str:
    """Say how many users there are of which role."""
    counts = Counter(user.role for user in users)
    parts = [
        f"{count_words(counts[role])} {role}{'' if counts[role] == 1 else 's'}"
        for role in reversed(Role)
        if counts[role]
    ]
    many = several(len(users), "user")
    return f"{many}: {', '.join(parts)}." if parts else "There is no user yet."


def user_rows(
    shown: Sequence[User], everybody: Sequence[User], tokens: Sequence[Token], repo: str
) -> list[UserRow]:
    """Give users as rows.

    Args:
        shown: those of this page.
        everybody: all of them.
        tokens: all tokens, for who made them.
        repo: the repository's folder, as commands name it.
    """
    admins = sum(user.role is Role.ADMIN for user in everybody)
    made = Counter(token.made_by for token in tokens if token.revoked_s is None)
    return [_user_row(user, admins, made[user.name], repo) for user in shown]


def _user_row(user: User, admins: int, tokens: int, repo: str) -> UserRow:
    is_last = user.role is Role.ADMIN and admins == 1
    refusal = f"Not now: {user.name} is the only admin. Make another one first." if is_last else ""
    return UserRow(
        name=user.name,
        role=user.role,
        has_password=user.password_s is not None,
        made_s=user.made_s,
        signed_in_s=user.signed_in_s,
        roles=tuple(role for role in Role if role is not user.role),
        give_role=AccessAction(
            "role",
            "Give another role",
            "Counts from the next request on.",
            _command("users", "role", repo, user.name, "ROLE"),
            refusal,
        ),
        others=(
            AccessAction(
                "link",
                "Make a link",
                f"With it {user.name} sets a password, once and within an hour; with a new password"
                " they are signed out everywhere.",
                _command("users", "password", repo, user.name),
            ),
            AccessAction(
                "remove",
                "Remove",
                f"{user.name} is signed out everywhere and cannot sign in any more."
                f"{_tokens_words(tokens)}",
                _command("users", "remove", repo, user.name),
                refusal,
            ),
        ),
    )


def _tokens_words(tokens: int) -> str:
    if not tokens:
        return ""
    go = "A token that they made goes" if tokens == 1 else f"{tokens} tokens that they made go"
    return f" {go} on."


def tokens_sentence(tokens: Sequence[Token], now_s: float) -> str:
    """Say how many tokens count.

    Args:
        tokens: all of them.
        now_s: seconds since 1970.
    """
    count = sum(_state(token, now_s) == "counts" for token in tokens)
    if not tokens:
        return "There is no token yet: no program may ask."
    over = len(tokens) - count
    counts = "1 token counts" if count == 1 else f"{count_words(count)} tokens count"
    return f"{counts}{f', {count_words(over)} more did' if over else ''}."


def token_rows(shown: Sequence[Token], now_s: float, repo: str) -> list[TokenRow]:
    """Give tokens as rows.

    Args:
        shown: those of this page.
        now_s: seconds since 1970.
        repo: the repository's folder, as commands name it.
    """
    return [_token_row(token, now_s, repo) for token in shown]


def _token_row(token: Token, now_s: float, repo: str) -> TokenRow:
    state = _state(token, now_s)
    revoke = AccessAction(
        "revoke",
        "Revoke",
        f"Whoever sends it is refused from the next request on. It was made for {token.name!r}.",
        _command("tokens", "revoke", repo, token.id),
    )
    return TokenRow(
        id=token.id,
        name=token.name,
        scope=tuple(sorted(token.scope)),
        state=state,
        made_by=token.made_by,
        made_s=token.made_s,
        ends_s=token.ends_s if token.revoked_s is None else token.revoked_s,
        used_s=token.used_s,
        revoke=revoke if state == "counts" else None,
    )


def _state(token: Token, now_s: float) -> str:
    if token.revoked_s is not None:
        return "revoked"
    return "counts" if token.ends_s > now_s else "ended"


def _command(*words: str) -> str:
    return shlex.join(["slotcast", *words])
