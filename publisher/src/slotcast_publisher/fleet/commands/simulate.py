"""`slotcast simulate`: many devices in one process, and what happened to them as JSON."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from slotcast_publisher.cli.common import Brokers, Repo, open_repository, size
from slotcast_publisher.durable import storage_errors
from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slotcast_publisher.fleet.simulate.record import Result
    from slotcast_publisher.fleet.simulate.simulation import Simulation

_LINE_EVERY_S: Final = 5.0
"""The seconds between two lines that say how the fleet stands."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(_simulate)


def _simulate(
    repo: Repo,
    devices: Annotated[int, typer.Option("--devices", help="How many devices.")] = 20,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            help="NAME=VALUE, or NAME=VALUE:SHARE,VALUE:SHARE such as board=rev-a:0.7,rev-b:0.3;"
            " repeatable.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="A model that they run; all unless given; repeatable."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option("--script", help="TOML file: what applications do, and what goes wrong."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Chooses who is what, and all chance.")] = 1,
    prefix: Annotated[
        str, typer.Option("--prefix", help="What the devices' ids begin with.")
    ] = "sim",
    for_s: Annotated[
        float | None,
        typer.Option("--for", min=0.0, help="Seconds after which it ends; else Ctrl-C ends it."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", help="MODEL=VERSION: it ends once all devices run that."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File for the JSON; standard output unless given."),
    ] = None,
    broker: Brokers = None,
) -> None:
    """Run many simulated devices against the repository's brokers, and say what happened."""
    simulation = _make(repo, devices, tag, model, script, seed, prefix, broker)
    is_enough = _parse_until(until)
    with _stopped_by_signals(simulation), _saying_where_it_stands(simulation):
        simulation.run(is_enough, for_s=for_s)
    _write(simulation.result(), out)


def _make(
    repo: Path,
    devices: int,
    tag: list[str] | None,
    model: list[str] | None,
    script: Path | None,
    seed: int,
    prefix: str,
    broker: list[str] | None,
) -> Simulation:
    try:
        from slotcast_publisher.fleet.simulate.population import parse_tags
        from slotcast_publisher.fleet.simulate.script import Script, read_script
        from slotcast_publisher.fleet.simulate.simulation import Simulation, Wanted
    except ImportError as exc:
        if exc.name is None or not exc.name.startswith("slotcast_device"):
            raise
        raise UsageError(
            "simulating devices needs the device's software: pip install"
            " 'slotcast-publisher[simulate]'"
        ) from exc
    wanted = Wanted(
        count=devices,
        prefix=prefix,
        tags=parse_tags(tag or ()),
        models=tuple(model or ()),
        brokers=tuple(broker or ()),
        script=Script() if script is None else read_script(script),
        seed=seed,
    )
    return Simulation(open_repository(repo), wanted)


def _parse_until(text: str | None) -> Callable[[Simulation], bool] | None:
    """Read MODEL=VERSION."""
    if text is None:
        return None
    model, equals, version = text.partition("=")
    if not model or not equals or not version:
        raise UsageError(f"--until: expected MODEL=VERSION, got {text!r}")
    return lambda simulation: simulation.all_run(model, version)


@contextlib.contextmanager
def _stopped_by_signals(simulation: Simulation) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end the simulation in order; what happened is written then."""
    before = {
        number: signal.signal(number, lambda *_: simulation.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _saying_where_it_stands(simulation: Simulation) -> Iterator[None]:
    """Write a line to standard error now and then, where it says anything new."""
    from slotcast_publisher.fleet.simulate.simulation import describe

    is_over = threading.Event()

    def say() -> None:
        said = None
        while not is_over.wait(_LINE_EVERY_S):
            point = simulation.present
            if point is not None and point != said:
                said = point
                sys.stderr.write(describe(point, len(simulation.ids)) + "\n")
                sys.stderr.flush()

    thread = threading.Thread(target=say, name="lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def _write(result: Result, out: Path | None) -> None:
    """Write what happened, and a few lines for people where they see them."""
    from slotcast_publisher.fleet.simulate.simulation import describe, to_json

    data = to_json(result)
    if out is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with storage_errors(out):
        out.write_bytes(data)
    if result.course:
        sys.stdout.write(describe(result.course[-1], result.count) + "\n")
    totals = result.totals
    sys.stdout.write(
        f"{sum(totals.messages.values())} messages came with {size(totals.received_bytes)},"
        f" {size(totals.sent_bytes)} left; {totals.connections} connections, {totals.starts} starts"
        f" of {result.count} devices; the rest is in {out}\n"
    )
