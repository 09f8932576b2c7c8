"""`slotcast serve`: the service in the foreground, until it is stopped."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import Annotated, Any

import typer

from slotcast_publisher.cli.common import Brokers, Repo, open_repository
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.serve.service import Service, log_line
from slotcast_publisher.serve.wants import RATE_BYTES_PER_S, Bounds


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
        bool, typer.Option("--json", help="Log one JSON object a line, for programs.")
    ] = False,
) -> None:
    """Answer what devices miss, renew signatures, re-announce lost notices; until stopped."""
    repository = open_repository(repo)
    chosen = brokers_of(repository, broker or ())
    service = Service(
        repository, chosen, _say_json if json else _say_text, bounds=Bounds(rate_bytes_per_s=rate)
    )
    # Elsewhere a signal means that work was left undone; here it is how it ends.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        service.run(threading.Event())


def _say_json(event: str, **fields: Any) -> None:
    _say(log_line(event, **fields))


def _say_text(event: str, **fields: Any) -> None:
    told = " ".join(f"{key}={value}" for key, value in fields.items())
    _say(f"{event} {told}".rstrip())


def _say(line: str) -> None:
    """Log a line; that nobody reads it, or the log's disk is full, keeps no device waiting."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
