"""`slotcast rollout plan | check`: a plan to start from, and whether one can be carried out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from slotcast_publisher.cli.common import Json, emit, open_repository
from slotcast_publisher.durable import storage_errors
from slotcast_publisher.errors import Conflict
from slotcast_publisher.fleet.commands.opening import DatabaseUrl
from slotcast_publisher.fleet.commands.rollout_common import PlanFile, reading, remote
from slotcast_publisher.fleet.commands.workplace import (
    MaybeRepo,
    ServerUrl,
    TokenFile,
    connect,
    words_of,
)
from slotcast_publisher.fleet.rollout.plan import PLAN_MAX_BYTES, Plan
from slotcast_publisher.fleet.rollout.starting_plan import name_of, starting_plan
from slotcast_publisher.fleet.steering import requests
from slotcast_publisher.fleet.steering.plan_check import group_sizes, problem_of_name, problems_of
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import SlotcastError, UsageError
from slotcast_schemas.named_files import read_named
from slotcast_schemas.plural import several

Model = Annotated[str | None, typer.Argument(help="Name of the model.", show_default=False)]
Version = Annotated[str | None, typer.Argument(help="PEP 440 version.", show_default=False)]


def _plan(
    repo: MaybeRepo = None,
    model: Model = None,
    version: Version = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; standard output unless given.")
    ] = None,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Write a good plan to start from, with every key explained."""
    folder, (model, version) = words_of(server, repo, (model, version), "MODEL VERSION")
    count = None
    if server is not None:
        text = remote().plan(connect(server, token_file), model, version)
    else:
        repository = open_repository(folder)
        repository.store.folder(model, version)
        count = _device_count(repository, database, model)
        text = starting_plan(model, version, count or None)
    if out is not None:
        _write_new(out, text)
    fields = {"name": name_of(model, version), "file": out, "devices": count, "plan": text}
    lines = text.splitlines() if out is None else [f"{out}: edit it, then `slotcast rollout check`"]
    emit(json, fields, lines)


def _write_new(out: Path, text: str) -> None:
    try:
        with storage_errors(out), out.open("x") as file:
            file.write(text)
    except SlotcastError as exc:
        if out.exists():
            raise UsageError(f"{out} is there already; name another file with --out") from exc
        raise


def _check(
    repo: MaybeRepo = None,
    file: PlanFile = None,
    database: DatabaseUrl = None,
    server: ServerUrl = None,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Check a plan: its keys, its releases, and how many devices are in each group."""
    folder, (name,) = words_of(server, repo, (file,), "PLAN")
    data = read_named(Path(name), PLAN_MAX_BYTES)
    plan = requests.read_plan_bytes(data, name)
    if server is not None:
        found = remote().check(connect(server, token_file), data.decode())
        sizes = [(group.name, group.devices) for group in found.groups]
        _say_check(name, plan, list(found.problems), sizes, json)
        return
    repository = open_repository(folder)
    named = problem_of_name(repository, plan)
    problems = [*([named] if named else []), *problems_of(repository, plan)]
    counts = _group_sizes(repository, database, plan)
    sizes = [(g.name, n) for g, n in zip(plan.groups, counts, strict=False)]
    _say_check(name, plan, problems, sizes, json)


def _say_check(
    file: str, plan: Plan, problems: list[str], sizes: list[tuple[str, int]], json: bool
) -> None:
    groups = [{"name": name, "devices": count} for name, count in sizes]
    fields = {
        "name": plan.name,
        "model": plan.model,
        "versions": list(plan.versions),
        "problems": problems,
        "groups": groups,
    }
    lines = [f"{plan.name}: {plan.model} {plan.version} in {several(len(plan.groups), 'group')}"]
    lines += [f"  {name}: {several(count, 'known device')}" for name, count in sizes]
    emit(json, fields, [*lines, *(f"  {text}" for text in problems)])
    if problems:
        raise Conflict(f"{file}: {problems[0]}")


def _group_sizes(repository: Repository, database: str | None, plan: Plan) -> list[int]:
    """Count the known devices of each group; empty where there is no database."""
    with reading(repository, database) as fleet:
        return [] if fleet is None else group_sizes(plan, fleet.members(plan.model))


def _device_count(repository: Repository, database: str | None, model: str) -> int | None:
    with reading(repository, database) as fleet:
        return None if fleet is None else len(fleet.members(model))


COMMANDS: Final[dict[str, Callable[..., None]]] = {"plan": _plan, "check": _check}
"""The commands of this module, by their names."""
