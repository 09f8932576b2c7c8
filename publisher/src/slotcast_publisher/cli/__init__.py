"""The `slotcast` command: one module per group of commands, errors and exit codes in one place.

Exit codes (docs/cli.md): 0 done, 1 refused by the state of things, 2 wrong use, 3 broker or
network, 4 storage; `slotcast_schemas.command` adds what ends a command from outside.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from slotcast_publisher import __version__
from slotcast_publisher.cli.command_table import LazyCommands, register_entries
from slotcast_schemas.environment import take_secrets
from slotcast_schemas.errors import SlotcastError, StorageFailed, TransferFailed, UsageError

EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_NETWORK = 3
EXIT_STORAGE = 4
"""The exit codes of the command (docs/cli.md)."""

app = typer.Typer(
    name="slotcast",
    cls=LazyCommands,
    help="Builds, signs and pushes releases of models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
register_entries(app)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"slotcast {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Say the version and end.", callback=_say_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Builds, signs and pushes releases of models."""
    del version


def main() -> int:
    """Run one command; gives the exit code, or ends as the option parser does."""
    take_secrets()
    try:
        app(prog_name="slotcast")
    except SlotcastError as exc:
        from slotcast_publisher.cli.common import say_error

        say_error(exc)
        return exit_code(exc)
    return 0


def exit_code(exc: SlotcastError) -> int:
    """Say by family who has to act."""
    if isinstance(exc, UsageError):
        return EXIT_USAGE
    if isinstance(exc, TransferFailed):
        return EXIT_NETWORK
    return EXIT_STORAGE if isinstance(exc, StorageFailed) else EXIT_REFUSED
