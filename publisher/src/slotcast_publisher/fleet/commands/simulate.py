"""`slotcast simulate`: many devices in one process, and what happened to them as JSON."""

from __future__ import annotations

import contextlib
import secrets
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from slotcast_publisher.cli.common import Brokers, open_repository, size
from slotcast_publisher.durable import storage_errors
from slotcast_publisher.fleet.commands.opening import needing_fleet, open_fleet_database
from slotcast_schemas.errors import UsageError
from slotcast_schemas.plural import several

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from slotcast_publisher.fleet.simulate.run_record import Result
    from slotcast_publisher.fleet.simulate.simulation import Simulation

_DEVICES: Final = 20
"""So many devices, unless another number is asked for."""
_LINE_EVERY_S: Final = 5.0
"""The seconds between two lines that say how the fleet stands."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("simulate")(_simulate)


def _simulate(
    repo: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of the repository; with --page, one is made where none is named.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option("--devices", help="How many devices; 20, or 40 where all is made."),
    ] = None,
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
    page: Annotated[
        bool,
        typer.Option(
            "--page",
            help="Show them in a browser: runs `slotcast serve` beside them. Without REPO it makes"
            " a broker, a repository and two rollouts, too, and takes all of it away at the end.",
        ),
    ] = False,
    listen: Annotated[
        str, typer.Option("--listen", help="With --page: HOST:PORT where browsers find it.")
    ] = "127.0.0.1:8470",
) -> None:
    """Run many simulated devices against the repository's brokers, and say what happened."""
    if repo is None:
        if not page:
            raise UsageError("which repository? `slotcast simulate REPO`, or --page without one")
        _refuse_with_demo(tag=tag, model=model, script=script, until=until, broker=broker)
        with _demonstration(devices, seed, listen) as (simulation, look):
            _run(simulation, look, for_s, out)
        return
    simulation = _make(
        repo, _DEVICES if devices is None else devices, tag, model, script, seed, prefix, broker
    )
    is_enough = _parse_until(until)
    with _page_beside(repo, listen) if page else contextlib.nullcontext():
        _run(simulation, is_enough, for_s, out, is_quiet=page)


def _run(
    simulation: Simulation,
    is_enough: Callable[[Simulation], bool] | None,
    for_s: float | None,
    out: Path | None,
    *,
    is_quiet: bool = True,
) -> None:
    """Run it, and write what happened: to standard output only where nobody looks at a page."""
    with _stopped_by_signals(simulation), _saying_where_it_stands(simulation):
        simulation.run(is_enough, for_s=for_s)
    if out is not None or not is_quiet:
        _write(simulation.result(), out)


def _refuse_with_demo(**given: object) -> None:
    """Refuse options of a fleet that is made here."""
    named = [f"--{name}" for name, value in given.items() if value]
    if named:
        raise UsageError(
            f"{', '.join(named)}: without REPO all is made here; name a repository to choose"
        )


@contextlib.contextmanager
def _demonstration(
    devices: int | None, seed: int, listen: str
) -> Iterator[tuple[Simulation, Callable[[Simulation], bool]]]:
    """Make a broker, a repository, devices and a page, for as long as the block lasts."""
    with needing_fleet(), _needing_devices():
        from slotcast_publisher.fleet.commands import demonstration as demo
        from slotcast_publisher.fleet.simulate.embedded_broker import broker_process
        from slotcast_publisher.fleet.simulate.simulation import Simulation
        from slotcast_publisher.fleet.web.listening import parse_listen
    parse_listen(listen)  # what is wrong is said before anything is made
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slotcast-demo-")))
        broker = stack.enter_context(broker_process())
        _say(f"making a broker, a repository and its releases in {folder}")
        repository = demo.make_demo(folder / "repo", broker)
        password = _add_user(repository.path)
        url = stack.enter_context(_page_beside(repository.path, listen))
        wanted = demo.wanted_fleet(demo.DEVICES if devices is None else devices, seed)
        _say(f"sign in at {url} as {demo.WHO}, password {password}; Ctrl-C takes all of it away")
        yield Simulation(repository, wanted), demo.Rollouts(repository, _say).look


def _add_user(repo: Path) -> str:
    """Let somebody sign in; gives the password."""
    from slotcast_publisher.fleet.access.audit import Actor
    from slotcast_publisher.fleet.access.roles import Role
    from slotcast_publisher.fleet.access.users import Users
    from slotcast_publisher.fleet.commands.demonstration import WHO

    password, actor = secrets.token_urlsafe(9), Actor(WHO, "command")
    with open_fleet_database(repo, None, may_change=True) as database:
        users = Users(database, time.time)
        users.add(WHO, Role.ADMIN, actor)
        users.set_password(WHO, password, actor)
    return password


@contextlib.contextmanager
def _page_beside(repo: Path, listen: str) -> Iterator[str]:
    """Run `slotcast serve` with its page beside this; gives the page's address."""
    with needing_fleet(), _needing_devices():
        from slotcast_publisher.fleet.commands.demonstration import beside
        from slotcast_publisher.fleet.web.listening import open_socket, parse_listen, url_of
    host, port = parse_listen(listen)
    with open_socket(host, port) as found:  # taken by another? said now, not in a log
        url, port = url_of(found), found.getsockname()[1]
    log = repo / "serve.log"
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with beside(["serve", str(repo), "--listen", at], log=log):
        yield url


@contextlib.contextmanager
def _needing_devices() -> Iterator[None]:
    """Name what installs the device's software and the broker, where they are missing."""
    try:
        yield
    except ImportError as exc:
        if exc.name is None or not exc.name.startswith(("slotcast_device", "amqtt")):
            raise
        raise UsageError(
            "simulating devices needs the device's software: pip install"
            " 'slotcast-publisher[simulate]'"
        ) from exc


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


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
    with _needing_devices():
        from slotcast_publisher.fleet.simulate.population import parse_tags
        from slotcast_publisher.fleet.simulate.script import Script, read_script
        from slotcast_publisher.fleet.simulate.simulation import Simulation, SimulationWanted
    wanted = SimulationWanted(
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
    messages = several(sum(totals.messages.values()), "message")
    starts = f"{several(totals.starts, 'start')} of {several(result.count, 'device')}"
    sys.stdout.write(
        f"{messages} came with {size(totals.received_bytes)}, {size(totals.sent_bytes)} left;"
        f" {several(totals.connections, 'connection')}, {starts}; the rest is in {out}\n"
    )
