"""`slotcast recipients`: for whom a model's releases are encrypted."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from slotcast_publisher.cli.common import Json, Model, Repo, emit, open_repository
from slotcast_publisher.enrolment.registry import Registry
from slotcast_publisher.errors import NotFound
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust.recipients import Groups, Recipient, Recipients
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.plural import several

Devices = Annotated[
    list[str] | None, typer.Argument(help="Ids of enrolled devices.", show_default=False)
]
NoPassphrase = Annotated[
    bool, typer.Option("--no-passphrase", help="Leave a new model's key file unencrypted.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    help_ = "For whom a model's releases are encrypted."
    recipients = typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)
    recipients.command("list")(_list)
    recipients.command("add")(_add)
    recipients.command("remove")(_remove)
    recipients.command("always")(_always)
    app.add_typer(recipients, name="recipients")


def _list(repo: Repo, model: Model, json: Json = False) -> None:
    """Show a model's recipients, and whether its releases are encrypted unless told not to."""
    found = open_repository(repo).recipients(model)
    word = "encrypted" if found.always else "not encrypted"
    lines = [f"Releases of {model} are {word} unless told otherwise."]
    lines += [
        f"{one.device}  key {one.id.hex()[:16]}{_groups(one.groups)}" for one in found.devices
    ]
    emit(json, _fields(found), lines if found.devices else [*lines, "It has no recipients."])


def _add(
    repo: Repo,
    model: Model,
    devices: Devices = None,
    all_enrolled: Annotated[
        bool, typer.Option("--all-enrolled", help="Every enrolled device.")
    ] = False,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="Put them into this group, and no other; repeatable. Else they stay in theirs."
        ),
    ] = None,
    no_passphrase: NoPassphrase = False,
    json: Json = False,
) -> None:
    """Let enrolled devices read a model's encrypted releases, the one that is offered included."""
    registry = Registry(repo)
    names = registry.names() if all_enrolled else devices
    if not names:
        raise UsageError("expected ids of enrolled devices, or --all-enrolled")
    groups = None if group is None else convert(group, Groups, "--group")
    found = [_recipient(registry, name) for name in names]

    def change(now: Recipients) -> Recipients:
        before = {one.device: one.groups for one in now.devices}
        given = (
            msgspec.structs.replace(
                one, groups=before.get(one.device, ()) if groups is None else groups
            )
            for one in found
        )
        return now.with_devices(tuple(given))

    _change(open_repository(repo), model, change, no_passphrase=no_passphrase, json=json)


def _recipient(registry: Registry, device: str) -> Recipient:
    found = registry.find(device)
    if found is None:
        raise NotFound(f"{device} is not enrolled: run `slotcast devices enrol REPO FILE` first")
    key = found.request.encryption_key
    if key is None:
        raise UsageError(
            f"{device} was enrolled without an encryption key: run `slotcast-device enrol` there"
            " again, with software that makes one, and enrol it anew"
        )
    return Recipient(device=device, key=key)


def _remove(
    repo: Repo,
    model: Model,
    devices: Devices = None,
    group: Annotated[
        list[str] | None, typer.Option(help="All devices of this group; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Let devices read no later release; what they have already they keep."""
    if not devices and not group:
        raise UsageError("expected device ids, or --group")

    def change(now: Recipients) -> Recipients:
        groups, known = frozenset(group or ()), frozenset(one.device for one in now.devices)
        names = frozenset(devices or ()) | now.members(groups)
        empty = {each for each in groups if not now.members(frozenset({each}))}
        unknown = sorted((names - known) | empty)
        if unknown:
            raise NotFound(f"not among the recipients of {model}: {', '.join(unknown)}")
        return now.without(names)

    _change(open_repository(repo), model, change, json=json)


def _always(
    repo: Repo,
    model: Model,
    off: Annotated[bool, typer.Option("--off", help="Not any more.")] = False,
    no_passphrase: NoPassphrase = False,
    json: Json = False,
) -> None:
    """Have every release of a model encrypted, unless `slotcast release --no-encrypt` is said."""
    _change(
        open_repository(repo),
        model,
        lambda now: msgspec.structs.replace(now, always=not off),
        no_passphrase=no_passphrase,
        json=json,
    )


def _change(
    repository: Repository,
    model: str,
    change: Any,
    *,
    no_passphrase: bool = False,
    json: bool = False,
) -> None:
    encrypted = False if no_passphrase else None
    versions = repository.change_recipients(model, change, encrypted=encrypted)
    found = repository.recipients(model)
    word = "encrypted" if found.always else "not encrypted"
    count = several(len(found.devices), "recipient")
    lines = [f"{model}: {count}; releases are {word} unless told otherwise."]
    if versions:
        lines.append(
            f"The key of {', '.join(versions)} is wrapped anew: `slotcast publish REPO {model}"
            f" {versions[-1]}` brings it to devices."
        )
    emit(json, _fields(found) | {"wrapped_anew": versions}, lines)


def _groups(groups: tuple[str, ...]) -> str:
    return f"  in {', '.join(groups)}" if groups else ""


def _fields(found: Recipients) -> dict[str, Any]:
    return {
        "model": found.model,
        "always": found.always,
        "recipients": [
            {"device": one.device, "key": one.id.hex(), "groups": list(one.groups)}
            for one in found.devices
        ],
    }
