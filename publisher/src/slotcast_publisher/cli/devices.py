"""`slotcast devices`: which devices' own keys are known."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from slotcast_publisher import settings
from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.enrolment.registry import EnrolledDevice, Registry
from slotcast_publisher.enrolment.request import read_request_bytes
from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import ALLOWED, DEVICE_PATTERN

Files = Annotated[
    list[Path],
    typer.Argument(
        help="What `slotcast-device enrol --out FILE` wrote, one for each device.",
        show_default=False,
    ),
]
Devices = Annotated[list[str], typer.Argument(help="Device ids.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    help_ = "Which devices' own keys are known: whose reports count as signed."
    devices = typer.Typer(help=help_, no_args_is_help=True, rich_markup_mode=None)
    devices.command("enrol")(_enrol)
    devices.command("list")(_list)
    devices.command("remove")(_remove)
    app.add_typer(devices, name="devices")


def _enrol(
    repo: Repo,
    files: Files,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let a device's new key take the place of its old.")
    ] = False,
    json: Json = False,
) -> None:
    """Take devices' keys from their requests; from then on only reports signed by them count."""
    registry = _registry(repo)
    fields, lines = [], []
    with registry.changing():
        for path in files:
            data = read_request_bytes(path)
            found, is_new = registry.enrol(data, str(path), now_s=time.time(), replaces=replace)
            fields.append(_fields(found) | {"is_new": is_new})
            word = "enrolled" if is_new else "was enrolled already,"
            lines.append(f"{found.device}: {word} with key {found.key_id[:16]}")
    emit(json, {"devices": fields}, lines)


def _list(repo: Repo, json: Json = False) -> None:
    """Show the devices that are enrolled."""
    registry = _registry(repo)
    found = [one for one in map(registry.find, registry.names()) if one is not None]
    lines = [
        f"{one.device}  key {one.key_id[:16]}  since"
        f" {datetime.fromtimestamp(one.enrolled_s, UTC).date().isoformat()}"
        for one in found
    ]
    emit(json, {"devices": [_fields(one) for one in found]}, lines or ["No device is enrolled."])


def _remove(repo: Repo, devices: Devices, json: Json = False) -> None:
    """Forget devices' keys: what they say counts as unsigned again."""
    registry = _registry(repo)
    with registry.changing():
        for device in devices:
            if not re.match(DEVICE_PATTERN, device):
                raise UsageError(
                    f"device id: expected {ALLOWED[DEVICE_PATTERN]}, got {device!r:.80}"
                )
            registry.remove(device)
    emit(json, {"removed": devices}, [f"{device}: not enrolled any more" for device in devices])


def _registry(repo: Path) -> Registry:
    settings.load(repo)  # nothing is made in a folder that is no repository
    return Registry(repo)


def _fields(one: EnrolledDevice) -> dict[str, object]:
    return {"device": one.device, "key": one.key_id, "enrolled": one.enrolled_s}
