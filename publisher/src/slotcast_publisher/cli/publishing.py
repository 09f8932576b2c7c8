"""`slotcast publish`, `withdraw` and `refresh`: what is signed goes to the brokers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer

from slotcast_publisher.cli.common import (
    Advance,
    Brokers,
    Json,
    Model,
    Repo,
    Tags,
    Version,
    emit,
    open_repository,
    pairs,
    progress,
    size,
)
from slotcast_publisher.delivery import publish as publishing
from slotcast_publisher.delivery.publish import Progress, Pushed
from slotcast_publisher.notice import Wanted
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.messages.offer import Group

Purge = Annotated[
    bool,
    typer.Option("--purge", help="Then take payloads that no offer uses off the brokers."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(_publish)
    app.command("withdraw")(_withdraw)
    app.command("refresh")(_refresh)


def _publish(
    repo: Repo,
    model: Model,
    version: Version,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group",
            help="NAME[,state=paused][,percent=10][,salt=S][,tag:KEY=VALUE][,id=DEVICE];"
            " repeatable, the first that a device matches counts.",
        ),
    ] = None,
    percent: Annotated[float | None, typer.Option(help="Only this share of the fleet.")] = None,
    tag: Tags = None,
    device: Annotated[
        list[str] | None, typer.Option("--id", help="Only this device; repeatable.")
    ] = None,
    everyone: Annotated[bool, typer.Option("--everyone", help="All devices.")] = False,
    paused: Annotated[bool, typer.Option("--paused", help="Announce, but start nothing.")] = False,
    no_full: Annotated[
        bool, typer.Option("--no-full", help="Devices must not fall back to the whole image.")
    ] = False,
    jitter_s: Annotated[
        int | None, typer.Option(help="Each device waits a random part of this.")
    ] = None,
    deployment: Annotated[str | None, typer.Option(help="Name of the rollout.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Devices that failed or rolled back try once more.")
    ] = False,
    broker: Brokers = None,
    send_all: Annotated[
        bool, typer.Option("--all", help="Send also what brokers have acknowledged before.")
    ] = False,
    purge: Purge = False,
    json: Json = False,
) -> None:
    """Offer a release and push it; run again, only what is missing is sent."""
    wanted = Wanted(
        groups=_groups(group, percent, pairs(tag, "--tag"), device, everyone=everyone),
        state="paused" if paused else "active",
        full_allowed=False if no_full else None,
        jitter_s=jitter_s,
        deployment=deployment,
        again=again,
    )
    repository = open_repository(repo)
    with progress(quiet=json) as advance:
        done = publishing.publish(
            repository,
            model,
            version,
            wanted,
            brokers=broker or (),
            send_all=send_all,
            purge=purge,
            progress=_shown(advance),
        )
    offer = repository.present_offer(model)
    if offer is None:
        raise UsageError(f"{model}: another command took the offer away meanwhile")
    fields = {
        "model": model,
        "version": offer.version,
        "sequence": offer.sequence,
        "state": offer.state,
        "deployment": offer.deployment,
        "groups": msgspec.to_builtins(offer.groups),
        "brokers": [msgspec.to_builtins(item) for item in done],
    }
    names = ", ".join(item.name for item in offer.groups)
    head = f"{model} {offer.version} (sequence {offer.sequence}) is {offer.state} for: {names}"
    emit(json, fields, [head, *map(_line, done)])


def _withdraw(
    repo: Repo, model: Model, broker: Brokers = None, purge: Purge = False, json: Json = False
) -> None:
    """Cancel what is offered for a model."""
    repository = open_repository(repo)
    with progress(quiet=json) as advance:
        done = publishing.withdraw(
            repository, model, brokers=broker or (), purge=purge, progress=_shown(advance)
        )
    offer = repository.present_offer(model)
    fields = {
        "model": model,
        "version": offer.version if offer else None,
        "state": offer.state if offer else None,
        "brokers": [msgspec.to_builtins(item) for item in done],
    }
    emit(json, fields, [f"{model}: {fields['version']} is canceled", *map(_line, done)])


def _refresh(
    repo: Repo,
    broker: Brokers = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Date root, targets and releases again too; needs their keys."
        ),
    ] = False,
    clock_is_right: Annotated[
        bool,
        typer.Option(
            "--clock-is-right",
            help="Sign although the clock contradicts what was signed before.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Date the signatures again, and send every model's notice."""
    repository = open_repository(repo, clock_is_right=clock_is_right)
    done = publishing.refresh(repository, brokers=broker or (), offline=offline)
    expires = repository.roles.expires("timestamp").isoformat()
    fields = {
        "expires": expires,
        "models": {
            model: [msgspec.to_builtins(item) for item in items] for model, items in done.items()
        },
    }
    emit(json, fields, [f"{len(done)} notices renewed; they count until {expires}"])


def _shown(advance: Advance) -> Progress:
    return lambda name, tally: advance(f"push to {name}", tally.done_bytes, tally.total_bytes)


def _line(item: Pushed) -> str:
    purged = f", {item.purged} payloads removed" if item.purged else ""
    return (
        f"  {item.broker} (MQTT {item.protocol}): sent {item.messages_sent} messages,"
        f" {size(item.bytes_sent)}; {item.messages_skipped} were there already{purged}"
    )


def _groups(
    specs: Sequence[str] | None,
    percent: float | None,
    tags: dict[str, str],
    ids: Sequence[str] | None,
    *,
    everyone: bool,
) -> tuple[Group, ...] | None:
    """Give the groups that the options name; None for no options: as before."""
    is_single = percent is not None or bool(tags) or bool(ids)
    if sum((bool(specs), is_single, everyone)) > 1:
        raise UsageError("--group, --everyone, and --percent/--tag/--id exclude each other")
    if specs:
        return tuple(_parse_group(spec) for spec in specs)
    if is_single:
        fields: dict[str, Any] = {"name": "selected", "tags": tags, "percent": percent}
        return (_group({**fields, "ids": list(ids) if ids else None}),)
    return (Group(name="everyone"),) if everyone else None


def _parse_group(spec: str) -> Group:
    name, *rest = spec.split(",")
    fields: dict[str, Any] = {"name": name, "tags": {}}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"--group {spec!r}: expected KEY=VALUE, got {part!r}")
        if key.startswith("tag:"):
            fields["tags"][key.removeprefix("tag:")] = value
        elif key == "id":
            fields.setdefault("ids", []).append(value)
        elif key in {"state", "salt"}:
            fields[key] = value
        elif key == "percent":
            fields[key] = _number(value)
        else:
            raise UsageError(
                f"--group {spec!r}: expected state, percent, salt, tag:KEY or id, got {key!r}"
            )
    return _group(fields)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as exc:
        raise UsageError(f"percent: expected a number, got {text!r}") from exc


def _group(fields: dict[str, Any]) -> Group:
    return convert(fields, Group, f"group {fields['name']!r}")
