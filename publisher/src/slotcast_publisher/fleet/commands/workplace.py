"""Where a command about the fleet is carried out: on a repository here, or by a page elsewhere.

`slotcast rollout pause REPO NAME` or `slotcast rollout pause --server URL NAME`: with `--server` no
folder of a repository is needed, and one that is named all the same does not matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slotcast_publisher import settings
from slotcast_publisher.fleet.commands.opening import needing_fleet
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from slotcast_publisher.fleet.client.connection import Connection

MaybeRepo = Annotated[
    Path | None,
    typer.Argument(help="Folder of the repository; none with --server.", show_default=False),
]
ServerUrl = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="SLOTCAST_SERVER",
        help="Ask the page at this address, such as https://fleet.example, instead of a repository"
        " here.",
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File with a token for --server; SLOTCAST_TOKEN in the environment unless given.",
        show_default=False,
    ),
]


def connect(server: str, token_file: Path | None) -> Connection:
    """Make a connection to a page.

    Args:
        server: its address.
        token_file: that holds a token; None for the environment.

    Raises:
        UsageError: an address or a token that cannot be.
    """
    with needing_fleet():
        from slotcast_publisher.fleet.client.connection import Connection, read_token
    return Connection(server, read_token(token_file))


def words_of(
    server: str | None, repo: Path | None, words: tuple[str | Path | None, ...], form: str
) -> tuple[Path, list[str]]:
    """Give what a command was called with: the repository's folder and the words behind it.

    Args:
        server: the page's address; None for a repository here.
        repo: the first word.
        words: those behind it, as many as the command takes.
        form: what is expected behind the repository, such as `NAME GROUP`.

    Returns:
        The folder (of no use with `server`), and the words.

    Raises:
        UsageError: a word is missing.
    """
    given = [word for word in (repo, *words) if word is not None]
    if server is not None and len(given) == len(words):
        return Path(), [str(word) for word in given]
    if len(given) != len(words) + 1:
        missing = form if server is not None else f"REPO {form}"
        raise UsageError(f"expected {missing}, got {' '.join(map(str, given)) or 'nothing'}")
    return Path(given[0]), [str(word) for word in given[1:]]


def is_repository(path: Path) -> bool:
    """Say whether a word names the folder of a repository, and not a rollout or a device."""
    return (path / settings.FILE_NAME).exists()
