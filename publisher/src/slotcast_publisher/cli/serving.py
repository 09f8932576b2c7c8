"""`slotcast serve`: its options, and names of it that the fleet's page uses, too."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from slotcast_publisher.cli.common import Brokers, Repo, open_repository
from slotcast_publisher.serve.wants import RATE_BYTES_PER_S

DATABASE_VARIABLE: Final = "SLOTCAST_DATABASE"
"""The environment variable that names the fleet's database: a password there is in no list of
processes."""

PAGE_LISTEN: Final = "127.0.0.1:8470"
"""Where the fleet's page is, unless somebody says otherwise: for browsers of this machine alone."""

FLEET_INSTALL: Final = "pip install 'slotcast-publisher[fleet]'"
"""What installs what the fleet needs."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(_serve)


def _serve(
    repo: Repo,
    broker: Brokers = None,
    rate: Annotated[
        float,
        typer.Option(min=1.0, help="Bytes per second that answers may use, per broker."),
    ] = RATE_BYTES_PER_S,
    database: Annotated[
        str | None,
        typer.Option(
            envvar=DATABASE_VARIABLE,
            help="Of the fleet: postgresql://USER@HOST/NAME or sqlite:///PATH; fleet.db in the"
            " repository's folder unless given.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes that make a delta for a rollout; 2 at most unless given.",
            show_default=False,
        ),
    ] = None,
    no_fleet: Annotated[
        bool, typer.Option("--no-fleet", help="Do not watch the fleet, though it is installed.")
    ] = False,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT where browsers find the fleet's page.")
    ] = PAGE_LISTEN,
    no_page: Annotated[
        bool, typer.Option("--no-page", help="Do not show the fleet in a browser.")
    ] = False,
    json: Annotated[
        bool | None,
        typer.Option(
            "--json/--text",
            help="Log one JSON object a line, for programs, or lines for people."
            "  [default: text on a terminal, else JSON]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Answer what devices miss, renew signatures, re-announce lost notices; until stopped."""
    # It brings TUF, MQTT and the log, and others want from here where the page is, no more.
    from slotcast_publisher.cli.running_service import FleetWanted, run_service

    run_service(
        open_repository(repo),
        broker or (),
        FleetWanted(
            fleet=not no_fleet,
            database=database,
            workers=workers,
            listen=None if no_page else listen,
        ),
        rate_bytes_per_s=rate,
        as_json=json,
    )
