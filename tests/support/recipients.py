"""Devices that are made recipients of encrypted releases, by the commands that people type."""

from __future__ import annotations

from slotcast_device import cli as device_cli
from slotcast_publisher.cli import app
from tests.support.fleet import Device, Publisher


def enrol(publisher: Publisher, *devices: Device) -> None:
    """Make each device's keys, and tell the publisher which they are."""
    for device in devices:
        request = device.config_path.with_name("enrolment.json")
        arguments = ["enrol", "--config", str(device.config_path), "--out", str(request)]
        assert device_cli.main(arguments) == 0
        slotcast("devices", "enrol", publisher.path, request)


def add(publisher: Publisher, *devices: Device, model: str = "clf", group: str = "") -> None:
    """Make enrolled devices recipients of a model."""
    names = [device.config.values.device for device in devices]
    slotcast("recipients", "add", publisher.path, model, *names, *_group(group))
    publisher.read_anew()


def remove(publisher: Publisher, *devices: Device, model: str = "clf", group: str = "") -> None:
    """Take devices out of a model's recipients."""
    names = [device.config.values.device for device in devices]
    slotcast("recipients", "remove", publisher.path, model, *names, *_group(group))
    publisher.read_anew()


def slotcast(*arguments: object) -> None:
    """Run a command of `slotcast`; raises what it would end with."""
    app([str(argument) for argument in arguments], prog_name="slotcast", standalone_mode=False)


def _group(name: str) -> list[str]:
    return ["--group", name] if name else []
