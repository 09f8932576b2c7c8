"""`slotcast publish`, `withdraw` and `refresh`: what is signed goes to the brokers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
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
from slotcast_publisher.delivery.broker_delivery import Pushed, ReadBack
from slotcast_publisher.delivery.publish import BrokerFailure, How, Progress, PublishOutcome
from slotcast_publisher.delivery.push import PushTally
from slotcast_publisher.delivery.removal import Tidied
from slotcast_publisher.notice import OfferWanted
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.messages.offer import Group
from slotcast_schemas.plural import several

Purge = Annotated[
    bool,
    typer.Option("--purge", help="Then take payloads that no offer uses off the brokers at once."),
]
ReadBackOption = Annotated[
    ReadBack,
    typer.Option(
        "--read-back",
        help="What is read back before it is believed: all that is not sent now, only the ends of"
        " each payload, or none, for a user who may not read.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("publish")(_publish)
    app.command("withdraw")(_withdraw)
    app.command("refresh")(_refresh)
    app.command("adopt")(_adopt)


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
        int | None,
        typer.Option(help="Each device waits a part of this, by its id, before it asks."),
    ] = None,
    deployment: Annotated[str | None, typer.Option(help="Name of the rollout.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Devices that failed or rolled back try once more.")
    ] = False,
    broker: Brokers = None,
    send_all: Annotated[
        bool, typer.Option("--all", help="Send also what brokers have acknowledged before.")
    ] = False,
    read_back: ReadBackOption = "all",
    purge: Purge = False,
    json: Json = False,
) -> None:
    """Offer a release and push it; run again, only what is missing is sent."""
    wanted = OfferWanted(
        groups=_groups(group, percent, pairs(tag, "--tag"), device, everyone=everyone),
        state="paused" if paused else "active",
        full_allowed=False if no_full else None,
        jitter_s=jitter_s,
        deployment=deployment,
        again=again,
    )
    wanted = convert(msgspec.to_builtins(wanted), OfferWanted, "options")
    repository = open_repository(repo)
    with progress(quiet=json) as advance:
        how = How(
            brokers=broker or (),
            send_all=send_all,
            read_back=read_back,
            purge=purge,
            progress=_shown(advance),
        )
        outcome = publishing.publish(repository, model, version, wanted, how)
    _end_if_none_done(outcome)
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
        **_outcome_fields(outcome),
    }
    names = ", ".join(item.name for item in offer.groups)
    head = f"{model} {offer.version} (sequence {offer.sequence}) is {offer.state} for: {names}"
    emit(json, fields, [head, *_outcome_lines(outcome)])
    outcome.all_done()


def _withdraw(
    repo: Repo,
    model: Model,
    broker: Brokers = None,
    read_back: ReadBackOption = "all",
    purge: Purge = False,
    json: Json = False,
) -> None:
    """Cancel what is offered for a model."""
    repository = open_repository(repo)
    with progress(quiet=json) as advance:
        how = How(brokers=broker or (), read_back=read_back, purge=purge, progress=_shown(advance))
        outcome = publishing.withdraw(repository, model, how)
    _end_if_none_done(outcome)
    offer = repository.present_offer(model)
    fields = {
        "model": model,
        "version": offer.version if offer else None,
        "state": offer.state if offer else None,
        **_outcome_fields(outcome),
    }
    head = f"{model}: {fields['version']} is canceled"
    emit(json, fields, [head, *_outcome_lines(outcome)])
    outcome.all_done()


def _refresh(
    repo: Repo,
    broker: Brokers = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Date root, targets and releases again too; needs their keys."
        ),
    ] = False,
    read_back: ReadBackOption = "all",
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
    how = How(brokers=broker or (), read_back=read_back)
    outcomes = publishing.refresh(repository, how, offline=offline)
    expires = repository.roles.first_expiry().isoformat()
    fields = {
        "expires": expires,
        "models": {
            model: [msgspec.to_builtins(item) for item in outcome.done]
            for model, outcome in outcomes.items()
        },
        "failed": [
            {"model": model, **msgspec.to_builtins(item)}
            for model, outcome in outcomes.items()
            for item in outcome.failed
        ],
    }
    lines = [f"{several(len(outcomes), 'notice')} renewed, until {expires}"]
    lines += [
        f"  {model}: {line.strip()}"
        for model, outcome in outcomes.items()
        for line in map(_failed_line, outcome.failed)
    ]
    emit(json, fields, lines)
    for outcome in outcomes.values():
        outcome.all_done()


def _adopt(repo: Repo, broker: Brokers = None, json: Json = False) -> None:
    """Take over what a copy of this repository that is lost has published to the brokers."""
    repository = open_repository(repo)
    done = publishing.adopt(repository, How(brokers=broker or ()))
    lines = [
        f"{item.model}: took over {item.version} (sequence {item.sequence})"
        + ("" if item.has_files else "; its files are not here, so release a new version")
        + ("" if item.has_key else f"; first `slotcast keys rotate {repo} release-{item.model}`")
        for item in done
    ]
    lines = lines or ["Nothing is newer at the brokers than here."]
    if done:
        lines.append("Run `slotcast refresh`, or publish: devices take what this copy signs now.")
    emit(json, {"adopted": [msgspec.to_builtins(item) for item in done]}, lines)


def _shown(advance: Advance) -> Progress:
    def show(name: str, tally: PushTally) -> None:
        if tally.to_read_bytes:
            advance(f"read back from {name}", tally.read_bytes, tally.to_read_bytes)
        else:
            advance(f"push to {name}", tally.done_bytes, tally.total_bytes)

    return show


def _end_if_none_done(outcome: PublishOutcome) -> None:
    """End with the error alone where no broker was served; with one that was, say so first."""
    if not outcome.done:
        outcome.all_done()


def _outcome_fields(outcome: PublishOutcome) -> dict[str, Any]:
    return {
        "brokers": [msgspec.to_builtins(item) for item in outcome.done],
        "failed": [msgspec.to_builtins(item) for item in outcome.failed],
    }


def _outcome_lines(outcome: PublishOutcome) -> list[str]:
    done = [line for item in outcome.done for line in _lines(item)]
    return [*done, *map(_failed_line, outcome.failed)]


def _failed_line(item: BrokerFailure) -> str:
    return f"  {item.broker}: NOT DONE [{item.reason}]"


def _lines(item: Pushed) -> list[str]:
    lost = f", {item.messages_lost} were lost there and sent again" if item.messages_lost else ""
    foreign = ", replaced a notice that other keys signed" if item.replaced_foreign else ""
    head = (
        f"  {item.broker} (MQTT {item.protocol}): sent {item.messages_sent} messages,"
        f" {size(item.bytes_sent)}; {item.messages_skipped} were there already{lost};"
        f" {item.messages_read_back} read back{foreign}"
    )
    return [head, *_stock_lines(item.stock)]


def _stock_lines(stock: Tidied) -> list[str]:
    """Say what lies at the broker, and what of it no offer uses."""
    lines = []
    if stock.removed_payloads:
        lines.append(
            f"    took off {stock.removed_payloads} payloads that no offer uses,"
            f" {size(stock.removed_bytes)}"
        )
    unused = (
        f"{stock.unused_payloads} of them, {size(stock.unused_bytes)}, no offer uses"
        f"{_when_removed(stock)}"
    )
    lines.append(
        f"    keeps {stock.kept_payloads} payloads, {size(stock.kept_bytes)};"
        f" {unused if stock.unused_payloads else 'all of them are offered'}"
    )
    if stock.unknown_payloads:
        lines.append(f"    {stock.unknown_payloads} payloads there are not of this repository")
    return lines


def _when_removed(stock: Tidied) -> str:
    if stock.fetched_payloads:
        return f" ({stock.fetched_payloads} stay while devices fetch them)"
    if stock.next_removal_s is None:
        return ""
    when = datetime.fromtimestamp(stock.next_removal_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"; may be taken off from {when}, or now by `--purge`"


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
