"""`slotcast page`: the page alone, in the foreground, until it is stopped."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from typing import Annotated

import typer

from slotcast_publisher.cli.common import Repo, emit, open_repository
from slotcast_publisher.cli.serving import PAGE_LISTEN
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    needing_fleet,
    open_fleet_database,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("page")(_page)


def _page(
    repo: Repo,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT where browsers find it.")
    ] = PAGE_LISTEN,
    database: DatabaseUrl = None,
) -> None:
    """Show the fleet's page in a browser, without `slotcast serve`; until stopped."""
    with needing_fleet():
        from slotcast_publisher.fleet.web import listening
        from slotcast_publisher.fleet.web.running import open_page

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    host, port = listening.parse_listen(listen)
    repository = open_repository(repo)
    with (
        listening.open_socket(host, port) as opened,
        open_fleet_database(repo, database, may_change=True) as fleet,
    ):
        page = open_page(repository, fleet, opened)
        emit(False, {}, page.greeting())
        sys.stdout.flush()
        # The server ends well at a signal, and then sends it on.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            page.run()
