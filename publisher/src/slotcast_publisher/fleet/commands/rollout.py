"""`slotcast rollout`: the commands, and what a person asks of a rollout.

The commands work on the files beside the repository and on the fleet's database. What is asked for
is durable first; then whoever drives the rollouts (`slotcast serve`) carries it out, or, where
nobody does, the command itself.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from slotcast_publisher.cli.common import Brokers, Json, emit, open_repository
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.commands import rollout_looks, rollout_plans
from slotcast_publisher.fleet.commands.opening import (
    DatabaseUrl,
    needing_fleet,
    open_fleet_database,
)
from slotcast_publisher.fleet.commands.rollout_common import Name, PlanFile, remote
from slotcast_publisher.fleet.commands.workplace import (
    MaybeRepo,
    ServerUrl,
    TokenFile,
    connect,
    words_of,
)
from slotcast_publisher.fleet.rollout.person import Wish
from slotcast_publisher.fleet.rollout.plan import PLAN_MAX_BYTES
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.plan_check import problems_of
from slotcast_publisher.fleet.steering.request_files import AskedFor
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.fleet.steering.way_back import release_way_back
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import UsageError
from slotcast_schemas.named_files import read_named

ANSWER_MAX_S: Final = 20.0
"""The seconds that a command waits for `slotcast serve` to carry out what it asks for."""
PLAIN: Final = {
    Wish.PAUSE: "Let no more device begin, until a person says so.",
    Wish.RESUME: "Let a paused rollout go on; limits that had paused it are accepted by that.",
    Wish.CANCEL: "Take the offer back and end the rollout; devices that have committed keep the"
    " release.",
    Wish.RETRY: "Have devices that failed try again.",
}
"""What `--help` says of each request that needs no more than the rollout's name."""
Why = Annotated[str, typer.Option("--why", help="For the log.")]
Who = Annotated[
    str | None, typer.Option("--who", help="The person; user and machine unless given.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    rollout = typer.Typer(
        help="Roll a release out through the groups of a fleet, by what its devices report.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands: dict[str, Callable[..., None]] = {
        "plan": rollout_plans.COMMANDS["plan"],
        "check": rollout_plans.COMMANDS["check"],
        "start": _start,
        "status": rollout_looks.COMMANDS["status"],
        "pause": _plain(Wish.PAUSE),
        "resume": _plain(Wish.RESUME),
        "open-gate": _open_gate,
        "cancel": _plain(Wish.CANCEL),
        "go-back": _go_back,
        "retry": _plain(Wish.RETRY),
        "log": rollout_looks.COMMANDS["log"],
    }
    for name, command in commands.items():
        rollout.command(name)(command)
    app.add_typer(rollout, name="rollout")


# --- what a person asks for -----------------------------------------------------------------------


def _start(
    repo: MaybeRepo = None,
    file: PlanFile = None,
    who: Who = None,
    broker: Brokers = None,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Start a rollout by its plan; the same again changes nothing."""
    folder, (where,) = words_of(server, repo, (file,), "PLAN")
    data = read_named(Path(where), PLAN_MAX_BYTES)
    plan = requests.read_plan_bytes(data, where)
    if server is not None:
        _refuse_local(who, broker)
        done = remote().start(connect(server, token_file), data.decode())
        _say_outcome(plan.name, "start", done.outcome, json, new=done.new)
        return
    repository = open_repository(folder)
    files = RolloutFiles(repository.path)
    problems = list(problems_of(repository, plan))
    if problems:
        raise Conflict(f"{where}: {problems[0]}")
    person = who or requests.this_person()
    _, asked, is_new = requests.start(files, data, where, person)
    if not is_new:
        record = files.load(plan.name).record
        fields = {"rollout": plan.name, "wish": "start", "outcome": "done", "new": False}
        emit(json, fields, [f"{plan.name} was started before; it is {record.state}"])
        return
    answer = _carried_out(repository, plan.name, asked, broker, database)
    _say_answer(plan.name, asked, answer, json)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a request goes: to a repository here, or to a page (`server`)."""

    folder: Path
    broker: list[str] | None
    database: str | None
    server: str | None
    token_file: Path | None


def _ask(
    place: _Place, wish: Wish, name: str, *, who: str | None, json: bool, **fields: str
) -> None:
    """Make a request durable, have it carried out, and say what came of it."""
    asked = requests.new_request(wish, who or requests.this_person(), **fields)
    if place.server is not None:
        _refuse_local(who, place.broker)
        _ask_page(place.server, place.token_file, name, asked, json)
        return
    repository = open_repository(place.folder)
    RolloutFiles(repository.path).ask(name, asked)
    answer = _carried_out(repository, name, asked, place.broker, place.database)
    _say_answer(name, asked, answer, json)


def _ask_page(server: str, token_file: Path | None, name: str, asked: AskedFor, json: bool) -> None:
    """Ask a page to have something carried out, and say what came of it."""
    from slotcast_publisher.fleet.web.api.rollout_types import WishBody

    request = asked.request
    wish = WishBody(
        wish=request.wish.value,  # type: ignore[arg-type]
        why=request.why,
        group=request.group,
        to=request.to,
        wait_s=ANSWER_MAX_S,
    )
    done = remote().ask(connect(server, token_file), name, wish)
    _say_outcome(name, request.wish, done.outcome, json, to=done.to or "")


def _refuse_local(who: str | None, broker: list[str] | None) -> None:
    """Refuse options that mean nothing to a page."""
    if who is not None or broker:
        raise UsageError("--who and --broker are for a repository here: a page knows its own")


def _plain(wish: Wish) -> Callable[..., None]:
    """Make the command of a request that needs no more than the rollout's name."""

    def command(
        repo: MaybeRepo = None,
        name: Name = None,
        why: Why = "",
        who: Who = None,
        broker: Brokers = None,
        database: DatabaseUrl = None,
        server: ServerUrl = None,
        token_file: TokenFile = None,
        json: Json = False,
    ) -> None:
        folder, (name,) = words_of(server, repo, (name,), "NAME")
        place = _Place(folder, broker, database, server, token_file)
        _ask(place, wish, name, who=who, json=json, why=why)

    command.__doc__ = PLAIN[wish]
    return command


def _open_gate(
    repo: MaybeRepo = None,
    name: Name = None,
    group: Annotated[str | None, typer.Argument(help="Of the plan.", show_default=False)] = None,
    why: Why = "",
    who: Who = None,
    broker: Brokers = None,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Say yes for a group that waits at its gate."""
    folder, (name, group) = words_of(server, repo, (name, group), "NAME GROUP")
    place = _Place(folder, broker, database, server, token_file)
    _ask(place, Wish.OPEN_GATE, name, who=who, json=json, group=group, why=why)


def _go_back(
    repo: MaybeRepo = None,
    name: Name = None,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Version of the old content under a higher sequence; the plan's go_back_to, or"
            " else one that is released now, which needs the model's release key.",
        ),
    ] = "",
    why: Why = "",
    who: Who = None,
    broker: Brokers = None,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Offer the old content to the devices that were let in; ends the rollout."""
    folder, (name,) = words_of(server, repo, (name,), "NAME")
    if server is None:
        to = to or _find_way_back(folder, name)
    place = _Place(folder, broker, database, server, token_file)
    _ask(place, Wish.GO_BACK, name, who=who, json=json, why=why, to=to)


def _find_way_back(folder: Path, name: str) -> str:
    """Release the old content anew where nothing names a way back; gives its version, else ""."""
    repository = open_repository(folder)
    rollout = RolloutFiles(repository.path).load(name)
    if rollout.plan.go_back_to is not None or rollout.record.back_to:
        return ""
    return release_way_back(repository, rollout.plan)


def _say_answer(name: str, asked: AskedFor, answer: AskedFor | None, json: bool) -> None:
    if answer is not None and answer.outcome == "refused":
        raise Conflict(answer.answer)
    outcome = "waiting" if answer is None else answer.outcome or "waiting"
    _say_outcome(name, asked.request.wish, outcome, json, to=asked.request.to)


def _say_outcome(
    name: str, wish: str, outcome: str, json: bool, *, to: str = "", new: bool = True
) -> None:
    wish = wish.replace("_", "-")
    fields = {"rollout": name, "wish": wish, "outcome": outcome, "new": new, "to": to or None}
    waiting = (
        f"{name}: {wish} is written down; whoever drives the rollout has not taken it up yet"
        " (`slotcast serve`)"
    )
    done = f"{name}: {wish}{f' to {to}' if to else ''}: done"
    if not new:
        done = f"{name} was started before"
    emit(json, fields, [waiting if outcome == "waiting" else done])


# --- carrying out ---------------------------------------------------------------------------------


def _carried_out(
    repository: Repository,
    name: str,
    asked: AskedFor,
    broker: list[str] | None,
    database: str | None,
) -> AskedFor | None:
    """Wait for whoever drives the rollouts; where nobody does, carry the request out here."""
    files = RolloutFiles(repository.path)
    brokers = _brokers(repository, broker)
    with _steering(repository, database, brokers) as steering:
        step = functools.partial(_try_to_drive, steering, name)
        return requests.wait_for_answer(files, name, asked, ANSWER_MAX_S, step)


def _try_to_drive(steering: Any, name: str) -> None:
    from slotcast_publisher.fleet.database.lease import LeaseLost

    with contextlib.suppress(LeaseLost):
        steering.attend(name, time.time())


def _brokers(repository: Repository, urls: list[str] | None) -> list[Broker]:
    """Give the brokers; none is no error here: `slotcast serve` may have them."""
    if not urls and not repository.settings.brokers:
        return []
    return brokers_of(repository, urls or ())


@contextlib.contextmanager
def _steering(repository: Repository, database: str | None, brokers: list[Broker]) -> Iterator[Any]:
    with needing_fleet():
        from slotcast_publisher.fleet.steering.assembly import build_for_one_turn
    with open_fleet_database(repository.path, database, may_change=True) as opened:
        steering = build_for_one_turn(repository, opened, brokers, _say_problem)
        try:
            yield steering
        finally:
            steering.close()


def _say_problem(event: str, **fields: Any) -> None:
    """Say on stderr what kept a notice from a broker; the rest is in the log of the rollout."""
    if event in {"error", "not_pushed"}:
        told = " ".join(f"{key}={value}" for key, value in fields.items())
        sys.stderr.write(f"slotcast: {event} {told}\n")
