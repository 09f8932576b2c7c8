"""`slotcast serve`: the service in the foreground, until it is stopped."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from slotcast_publisher.cli.common import Brokers, Repo, open_repository
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.companion import Companion
from slotcast_publisher.serve.log import LibraryLines, Log, Say
from slotcast_publisher.serve.service import Service
from slotcast_publisher.serve.wants import RATE_BYTES_PER_S, WantBounds
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import StorageFailed, UsageError

DATABASE_VARIABLE: Final = "SLOTCAST_DATABASE"
"""The environment variable that names the fleet's database: a password there is in no list of
processes."""

PAGE_LISTEN: Final = "127.0.0.1:8470"
"""Where the fleet's page is, unless somebody says otherwise: for browsers of this machine alone."""

FLEET_INSTALL: Final = "pip install 'slotcast-publisher[fleet]'"
"""What installs what the fleet needs."""

_FLEET: Final = "slotcast_publisher.fleet.fleet_service"
_NEEDED: Final = ("sqlalchemy", "alembic")


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
    repository = open_repository(repo)
    chosen = brokers_of(repository, broker or ())
    health = BrokerHealth()
    with (
        _logging(as_json=json) as say,
        _companion(
            _Wanted(
                fleet=not no_fleet,
                database=database,
                workers=workers,
                listen=None if no_page else listen,
            ),
            repository,
            chosen,
            say,
            health,
        ) as companion,
    ):
        service = Service(
            repository,
            chosen,
            say,
            bounds=WantBounds(rate_bytes_per_s=rate),
            companion=companion,
            health=health,
        )
        # Elsewhere a signal means that work was left undone; here it is how it ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            service.run(threading.Event())


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What of the fleet is asked for."""

    fleet: bool
    database: str | None
    workers: int | None
    listen: str | None


@contextlib.contextmanager
def _companion(
    wanted: _Wanted,
    repository: Repository,
    brokers: Sequence[Broker],
    say: Say,
    health: BrokerHealth,
) -> Iterator[Companion | None]:
    """Open the fleet where it is installed; it is known by its name alone, and not imported."""
    is_there = all(importlib.util.find_spec(name) is not None for name in _NEEDED)
    if wanted.database is not None and not (is_there and wanted.fleet):
        raise UsageError(
            "--database: is of the fleet, which --no-fleet leaves out"
            if is_there
            else f"--database: is of the fleet, which is not installed: {FLEET_INSTALL}"
        )
    if not (is_there and wanted.fleet):
        yield None
        return
    module = importlib.import_module(_FLEET)
    opened = module.open_fleet(
        repository,
        wanted.database,
        brokers,
        say,
        workers=wanted.workers,
        health=health,
        listen=wanted.listen,
    )
    with opened as fleet:
        yield fleet


@contextlib.contextmanager
def _logging(*, as_json: bool | None) -> Iterator[Say]:
    """Log to standard output; None has programs read it where it is no terminal.

    Raises:
        StorageFailed: at the end, if lines could not be written; all else was done.
    """
    is_terminal = sys.stdout.isatty()
    has_colors = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    log = Log(
        sys.stdout.fileno(),
        as_json=not is_terminal if as_json is None else as_json,
        colors=has_colors,
        encoding=sys.stdout.encoding,
    )
    libraries = LibraryLines(log.say)
    logging.getLogger().addHandler(libraries)
    try:
        with log:
            yield log.say
    finally:
        logging.getLogger().removeHandler(libraries)
    if log.lost is not None and not isinstance(log.lost, BrokenPipeError):
        raise StorageFailed(f"the log could not be written: {log.lost.strerror}")
