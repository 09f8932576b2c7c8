"""`slotcast page`: the page alone, in the foreground, until it is stopped."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from slotcast_publisher.cli.common import Repo, emit, open_repository
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
    ] = "127.0.0.1:8470",
    database: DatabaseUrl = None,
) -> None:
    """Show the fleet's page in a browser, without `slotcast serve`; until stopped."""
    with needing_fleet():
        from slotcast_publisher.fleet.web import server
        from slotcast_publisher.fleet.web.running import open_page

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    host, port = server.parse_listen(listen)
    repository = open_repository(repo)
    with (
        server.open_socket(host, port) as opened,
        open_fleet_database(repo, database, may_change=True) as fleet,
    ):
        page = open_page(repository, fleet, opened)
        emit(False, {}, page.greeting())
        page.run()
