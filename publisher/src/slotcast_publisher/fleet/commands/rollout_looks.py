"""`slotcast rollout status | log`: where rollouts stand, and who did what."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from slotcast_publisher.cli.common import Json, emit, open_repository
from slotcast_publisher.fleet.commands.opening import DatabaseUrl
from slotcast_publisher.fleet.commands.rollout_common import Name, reading, remote
from slotcast_publisher.fleet.commands.workplace import (
    MaybeRepo,
    ServerUrl,
    TokenFile,
    connect,
    is_repository,
    words_of,
)
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.repository import Repository

if TYPE_CHECKING:
    from slotcast_publisher.fleet.steering.overview_types import RolloutView

REFRESH_S: Final = 2.0
"""The seconds between two looks of `status` on a terminal."""
ENDED: Final = frozenset({"FINISHED", "STOPPED"})
"""The states of a rollout in which nothing happens any more."""

Once = Annotated[bool, typer.Option("--once", help="Do not go on showing it on a terminal.")]


def _status(
    repo: MaybeRepo = None,
    name: Annotated[str | None, typer.Argument(help="One rollout only, in full.")] = None,
    once: Once = False,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show where rollouts stand; of one, live on a terminal until it ends."""
    if server is not None:
        page, asked = connect(server, token_file), remote()
        name = name or (None if repo is None or is_repository(repo) else str(repo))
        _show(
            name, lambda: asked.rollouts(page), lambda each: asked.rollout(page, each), once, json
        )
        return
    folder, _ = words_of(None, repo, (), "[NAME]")
    repository = open_repository(folder)
    files = RolloutFiles(repository.path)
    with reading(repository, database) as fleet:
        views = functools.partial(_view, repository, files, fleet)
        _show(name, lambda: [views(each) for each in files.names()], views, once, json)


def _show(
    name: str | None,
    every: Callable[[], Sequence[RolloutView]],
    one: Callable[[str], RolloutView],
    once: bool,
    json: bool,
) -> None:
    """Show rollouts, from wherever they come."""
    from slotcast_publisher.fleet.commands import rollout_text as words

    if name is None:
        found = every()
        lines = [words.short_line(view) for view in found] or ["No rollouts yet."]
        emit(json, {"rollouts": [msgspec.to_builtins(view) for view in found]}, lines)
    elif json or once or not sys.stdout.isatty():
        view = one(name)
        emit(json, msgspec.to_builtins(view), words.overview_lines(view))
    else:
        _watch(lambda: one(name))


def _view(repository: Repository, files: RolloutFiles, fleet: Any, name: str) -> Any:
    from slotcast_publisher.fleet.steering.overview import overview
    from slotcast_publisher.fleet.steering.saved_views import with_what_gates_said

    plan = files.load(name).plan
    if fleet is None:
        return overview(repository, files, name, (), 0, time.time())
    saved = fleet.saved_bytes(repository, plan)
    by_group = fleet.saved_by_group(repository, plan)
    devices = fleet.devices(plan.model)
    now_s = time.time()
    view = overview(repository, files, name, devices, saved, now_s, saved_by_group=by_group)
    return with_what_gates_said(fleet.database, view, now_s)


def _watch(look: Callable[[], Any]) -> None:
    """Show a rollout until it ends, or the person does."""
    from rich.live import Live

    from slotcast_publisher.fleet.commands.rollout_text import screen

    view = look()
    with Live(screen(view), auto_refresh=False, vertical_overflow="visible") as live:
        while view.state not in ENDED:
            time.sleep(REFRESH_S)
            view = look()
            live.update(screen(view), refresh=True)


def _log(
    repo: MaybeRepo = None,
    name: Name = None,
    count: Annotated[int, typer.Option("--lines", min=1, max=10_000, help="How many.")] = 100,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Show who did what, and what was decided and why."""
    from slotcast_publisher.fleet.commands.rollout_text import log_text

    folder, (name,) = words_of(server, repo, (name,), "NAME")
    if server is not None:
        lines = remote().log(connect(server, token_file), name, count)
    else:
        repository = open_repository(folder)
        RolloutFiles(repository.path).plan_bytes(name)
        with reading(repository, database) as fleet:
            lines = [] if fleet is None else fleet.log(name, count)
    fields = {"rollout": name, "lines": [msgspec.to_builtins(line) for line in lines]}
    emit(json, fields, [log_text(line) for line in lines] or ["Nothing was logged yet."])


COMMANDS: Final[dict[str, Callable[..., None]]] = {"status": _status, "log": _log}
"""The commands of this module, by their names."""
