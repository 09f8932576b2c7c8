"""`slotcast tokens`: what programs sign in with at the page's API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.fleet.commands.access_text import this_actor, time_words
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    fleet_to_change,
    needing_fleet,
)

if TYPE_CHECKING:
    from slotcast_publisher.fleet.access.tokens import Token, Tokens


def register(app: typer.Typer) -> None:
    """Add the commands."""
    tokens = typer.Typer(
        help="What programs sign in with at the fleet's API.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    tokens.command("create")(_create)
    tokens.command("list")(_list)
    tokens.command("revoke")(_revoke)
    app.add_typer(tokens, name="tokens")


@contextlib.contextmanager
def _open(repo: Path, database: str | None) -> Iterator[Tokens]:
    with needing_fleet():
        from slotcast_publisher.fleet.access.tokens import Tokens

    with fleet_to_change(repo, database) as opened:
        yield Tokens(opened, time.time)


def _create(
    repo: Repo,
    name: Annotated[str, typer.Argument(help="What it is for.", show_default=False)],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="see, note, steer, roll_out or administer; repeatable.  [default: see]",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        float, typer.Option("--days", help="After which it counts no more; a year at most.")
    ] = 90,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a token, and print it: this is the only time that it is shown."""
    with _open(repo, database) as tokens:
        from slotcast_publisher.fleet.access.tokens import scope_of

        token, text = tokens.make(name, scope_of(scope or ["see"]), days, this_actor())
    emit(json, {"token": msgspec.to_builtins(token), "secret": text}, [text])


def _list(repo: Repo, database: DatabaseUrl = None, json: Json = False) -> None:
    """Show the tokens, the newest first; no secrets."""
    with _open(repo, database) as tokens:
        found = tokens.all()
    now_s = time.time()
    lines = [_line(token, now_s) for token in found] or ["no token yet: `slotcast tokens create`"]
    emit(json, {"tokens": [msgspec.to_builtins(token) for token in found]}, lines)


def _line(token: Token, now_s: float) -> str:
    end = f"until {time_words(token.ends_s, '')}"
    if token.revoked_s is not None:
        end = f"revoked {time_words(token.revoked_s, '')}"
    elif token.ends_s <= now_s:
        end = f"ended {time_words(token.ends_s, '')}"
    scope = ",".join(sorted(token.scope))
    used = time_words(token.used_s, "never")
    return f"{token.id}  {token.name}  {scope}  {end}  by {token.made_by}  used: {used}"


def _revoke(
    repo: Repo,
    token_id: Annotated[
        str, typer.Argument(metavar="ID", help="Of the token.", show_default=False)
    ],
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """End a token now."""
    with _open(repo, database) as tokens:
        token = tokens.revoke(token_id, this_actor())
    emit(json, {"token": msgspec.to_builtins(token)}, [f"{token.id} counts no more"])
