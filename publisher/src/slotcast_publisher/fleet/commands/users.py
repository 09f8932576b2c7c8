"""`slotcast users`: who may sign in to the page, and what they may do."""

from __future__ import annotations

import contextlib
import getpass
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from slotcast_publisher import settings as settings_file
from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.cli.serving import PAGE_LISTEN
from slotcast_publisher.fleet.commands.access_text import this_actor, time_words
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    fleet_to_change,
    needing_fleet,
)
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.access.users import User, Users

_PAGE: Final = f"http://{PAGE_LISTEN}"
_INPUT_MAX_BYTES: Final = 4096
"""The most bytes that are read of a password from standard input."""

Name = Annotated[str, typer.Argument(help="Of the user.", show_default=False)]
RoleName = Annotated[str, typer.Option("--role", help="viewer, operator or admin.")]
ByStdin = Annotated[
    bool,
    typer.Option("--stdin", help="Read the password from standard input, instead of a link."),
]
PageUrl = Annotated[
    str | None,
    typer.Option(
        "--page",
        help="What the link begins with; unless given, page.url of slotcast.toml, else where the"
        f" page was started last, else {_PAGE}.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    users = typer.Typer(
        help="Who may sign in to the fleet's page, and what they may do there.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    users.command("add")(_add)
    users.command("list")(_list)
    users.command("role")(_role)
    users.command("password")(_password)
    users.command("remove")(_remove)
    app.add_typer(users, name="users")


@contextlib.contextmanager
def _open(repo: Path, database: str | None) -> Iterator[Users]:
    with needing_fleet():
        from slotcast_publisher.fleet.access.users import Users

    with fleet_to_change(repo, database) as opened:
        yield Users(opened, time.time)


def _add(
    repo: Repo,
    name: Name,
    role: RoleName = "viewer",
    stdin: ByStdin = False,
    page: PageUrl = None,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Add a user, and print the one-time link by which they set their password."""
    with _open(repo, database) as users:
        from slotcast_publisher.fleet.access.users import role_of

        chosen, password = role_of(role), _read_password() if stdin else None
        if password is not None:
            from slotcast_publisher.fleet.access.passwords import check_password

            check_password(password, name)
        user = users.add(name, chosen, this_actor())
        link = _set_or_link(users, user.name, password, repo, page)
    _emit(json, user, link, f"{user.name} is there, with the role {user.role}")


def _list(repo: Repo, database: DatabaseUrl = None, json: Json = False) -> None:
    """Show who may sign in."""
    with _open(repo, database) as users:
        found = users.all()
    lines = [
        f"{user.name}  {user.role}  signed in: {time_words(user.signed_in_s, 'never')}"
        f"{'' if user.password_s is not None else '  (no password yet)'}"
        for user in found
    ]
    none = "nobody yet: `slotcast serve` prints the link by which the owner signs in"
    emit(json, {"users": [msgspec.to_builtins(user) for user in found]}, lines or [none])


def _role(
    repo: Repo,
    name: Name,
    role: Annotated[str, typer.Argument(help="viewer, operator or admin.", show_default=False)],
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Give a user another role; it counts at once."""
    with _open(repo, database) as users:
        from slotcast_publisher.fleet.access.users import role_of

        user = users.set_role(name, role_of(role), this_actor())
    _emit(json, user, None, f"{user.name} has the role {user.role} now")


def _password(
    repo: Repo,
    name: Name,
    stdin: ByStdin = False,
    page: PageUrl = None,
    database: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Print a one-time link by which a user sets a new password, or set it from standard input."""
    with _open(repo, database) as users:
        password = _read_password() if stdin else None
        link = _set_or_link(users, name, password, repo, page)
        user = users.known(name)
    done = f"{name} has a new password, and is signed out everywhere"
    _emit(json, user, link, "" if link else done)


def _remove(repo: Repo, name: Name, database: DatabaseUrl = None, json: Json = False) -> None:
    """Remove a user, who is signed out everywhere; tokens that they made go on."""
    with _open(repo, database) as users:
        users.remove(name, this_actor())
    emit(json, {"removed": name}, [f"{name} is removed; `slotcast tokens list` shows what is left"])


def _set_or_link(
    users: Users, name: str, password: str | None, repo: Path, page: str | None
) -> str | None:
    if password is not None:
        users.set_password(name, password, this_actor())
        return None
    from slotcast_publisher.fleet.database.page_address import find_page_url

    begin = page or settings_file.load(repo).page.url or find_page_url(users.database) or _PAGE
    return f"{begin.rstrip('/')}/link/{users.make_link(name, this_actor())}"


def _read_password() -> str:
    """Take a password from standard input: a line, or typed twice on a terminal.

    Raises:
        UsageError: the two differ, or it is no text.
    """
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ", sys.stderr)
        if getpass.getpass("Once more: ", sys.stderr) != password:
            raise UsageError("the two passwords differ; nothing was changed")
        return password
    try:
        return sys.stdin.buffer.readline(_INPUT_MAX_BYTES).decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise UsageError(f"the password is not UTF-8 text: {exc.reason}") from exc


def _emit(json: bool, user: User, link: str | None, line: str) -> None:
    fields: dict[str, Any] = {"user": msgspec.to_builtins(user), "link": link}
    lines = [line] if line else []
    if link is not None:
        lines.append(f"within an hour, once: {link}")
    emit(json, fields, lines)
