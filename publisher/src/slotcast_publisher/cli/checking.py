"""`slotcast check`: try at a broker what publishing and devices need, and say what is missing."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from slotcast_publisher.cli.common import Brokers, Json, emit, open_repository
from slotcast_publisher.delivery.broker_check import BrokerReport, check_broker, check_password
from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.settings import FILE_NAME, Broker, Settings
from slotcast_schemas.errors import BrokerRefused, UsageError
from slotcast_schemas.topics import DEFAULT_PREFIX, Topics

WAITS: Final = ReadbackWaits(patience_s=5.0)
"""How long the check waits: half as long as a publish for a message that was just acknowledged."""

_MARKS: Final = {"ok": "ok", "limited": "limited", "missing": "MISSING", "skipped": "-"}
"""The mark of each result in the table for people."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(_check_brokers)


def _check_brokers(
    repo: Annotated[
        Path | None, typer.Argument(help="A repository, for its brokers, prefix and chunk size.")
    ] = None,
    broker: Brokers = None,
    prefix: Annotated[str | None, typer.Option(help="Topic prefix, without a REPO.")] = None,
    json: Json = False,
) -> None:
    """Try at brokers what publishing and devices need; says what is missing, and who must act."""
    if repo is not None:
        repository = open_repository(repo)
        settings, brokers = repository.settings, brokers_of(repository, broker or ())
    elif broker:
        settings = Settings(prefix=prefix or DEFAULT_PREFIX)
        brokers = [Broker(url=url) for url in broker]
    else:
        raise UsageError("expected a REPO or --broker URL")
    reports = [_report(each, repo or Path.cwd(), settings) for each in brokers]
    unfit = [report.broker for report in reports if report.verdict == "unfit"]
    fields = {"brokers": [msgspec.to_builtins(report) for report in reports]}
    emit(json, fields, [line for report in reports for line in _lines(report)])
    if unfit:
        raise BrokerRefused(f"{', '.join(unfit)}: something that is needed is missing")


def _report(broker: Broker, base: Path, settings: Settings) -> BrokerReport:
    connect = functools.partial(open_link, broker, base, needs_retained=False)
    topics = Topics(settings.prefix)
    return check_broker(
        broker.address.name,
        connect,
        topics,
        chunk_size_bytes=settings.chunk_size_bytes,
        waits=WAITS,
        beside=check_password(broker, base / FILE_NAME),
    )


def _lines(report: BrokerReport) -> list[str]:
    lines = [f"{report.broker}: {report.verdict}"]
    for check in report.checks:
        lines.append(f"  {_MARKS[check.result]:<8} {check.name:<15} {check.detail}")
        if check.act:
            lines.append(f"  {'':<8} {'':<15} {check.who}: {check.act}")
    return lines
