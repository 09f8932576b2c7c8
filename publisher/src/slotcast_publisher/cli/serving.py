"""`slotcast serve`: the service in the foreground, until it is stopped."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Annotated

import typer

from slotcast_publisher.cli.common import Brokers, Repo, open_repository
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.serve.log import LibraryLines, Log, Say
from slotcast_publisher.serve.service import Service
from slotcast_publisher.serve.wants import RATE_BYTES_PER_S, Bounds
from slotcast_schemas.errors import StorageFailed


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
    with _logging(as_json=json) as say:
        service = Service(repository, chosen, say, bounds=Bounds(rate_bytes_per_s=rate))
        # Elsewhere a signal means that work was left undone; here it is how it ends.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):
            service.run(threading.Event())


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
