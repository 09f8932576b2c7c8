"""How the commands about the fleet open its database: one option, one error, one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast_publisher import settings
from slotcast_publisher.cli.serving import DATABASE_VARIABLE, FLEET_INSTALL
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.database.database import Database

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database",
        envvar=DATABASE_VARIABLE,
        help="Of the fleet: postgresql://HOST/NAME or sqlite:///PATH; fleet.db in the repository's"
        " folder unless given.",
        show_default=False,
    ),
]


@contextlib.contextmanager
def needing_fleet() -> Iterator[None]:
    """Name what installs the fleet's packages, where one is missing.

    Raises:
        UsageError: it is.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        raise UsageError(f"{exc.name} is not installed: {FLEET_INSTALL}") from exc


def open_fleet_database(repo: Path, database: str | None, *, may_change: bool = False) -> Database:
    """Open the fleet's database.

    Args:
        repo: the repository's folder.
        database: URL of another one than the folder's own.
        may_change: make it, or migrate it, where that is needed; otherwise it is only read.

    Raises:
        UsageError: the packages of the fleet are not installed.
        NotFound: there is none, and it may not be made; or no repository is there.
        SlotcastError: it cannot be opened; the kind says who must act.
    """
    with needing_fleet():
        from slotcast_publisher.fleet.database.database import FILE_NAME, open_database
    if database is None and not (repo / FILE_NAME).exists():
        settings.load(repo)  # a folder that is no repository is said before it lacks a database
    return open_database(database or repo / FILE_NAME, may_change=may_change)


@contextlib.contextmanager
def fleet_to_change(repo: Path, database: str | None) -> Iterator[Database]:
    """Open the fleet's database of a folder that is a repository, made where there is none.

    Args:
        repo: the repository's folder.
        database: URL of another one than the folder's own.

    Raises:
        SlotcastError: it is no repository, or the database cannot be opened.
    """
    settings.load(repo)
    with open_fleet_database(repo, database, may_change=True) as opened:
        yield opened
