"""`slotcast certificates` for brokers: what they are given, and how they learn of changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from slotcast_publisher.certificates.authorities import AuthorityName
from slotcast_publisher.certificates.broker_files import LISTENERS
from slotcast_publisher.certificates.broker_settings import (
    ACCESS_FILES,
    CONFIGURATION,
    BrokerPlace,
)
from slotcast_publisher.certificates.container import (
    IMAGE,
    NAME,
    PLACE,
    BrokerContainer,
    ContainerPorts,
    find_engine,
)
from slotcast_publisher.certificates.desk import (
    BROKER_DAYS,
    INIT_AUTHORITIES,
    LIST_DAYS,
    CertificateDesk,
    open_desk,
)
from slotcast_publisher.certificates.issued_record import serial_of
from slotcast_publisher.cli.common import Json, Repo, emit, open_repository
from slotcast_publisher.durable import make_dir
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError

DAYS_MAX: Final = 3650.0
"""The most days that a certificate or a list may count."""

TELL_BROKER: Final = "The broker learns of it when it reads its files again: send it SIGHUP."
"""What is left to do for a broker that is not in a container of ours."""

_KEEP_OFFLINE = (
    "Keep devices/ca.key and certificates/*-ca.key offline, if you can: they are needed to sign, to"
    " revoke, and every few weeks to date the lists anew (`refresh`)."
)

Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="Name or address by which clients reach the broker; repeatable."),
]
ListDays = Annotated[
    float,
    typer.Option(
        min=0.01, max=DAYS_MAX, help="How long the lists of revoked certificates count, in days."
    ),
]
NewKey = Annotated[bool, typer.Option("--new-key", help="Make a new key, too: after a theft.")]
Container = Annotated[
    str | None,
    typer.Option(
        help="Copy what the broker reads into this container, which `broker` made, and have it read"
        " that."
    ),
]


def register(group: typer.Typer) -> None:
    """Add the commands."""
    group.command("init")(_init)
    group.command("renew")(_renew)
    group.command("refresh")(_refresh)
    group.command("broker")(_broker)


def _init(
    repo: Repo,
    host: Hosts = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=DAYS_MAX, help="Days of the broker's certificate.")
    ] = BROKER_DAYS,
    list_days: ListDays = LIST_DAYS,
    replace: Annotated[
        list[str] | None,
        typer.Option(
            help="devices, publishers or brokers: make that authority anew, after a theft of its"
            " key: nobody whom it signed is believed any more; repeatable."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make the authorities of devices, publishers and brokers, and all that a broker reads."""
    repository = open_repository(repo)
    desk = open_desk(repository.path, repository.ring)
    is_new = desk.init(
        host or (), broker_days=days, list_days=list_days, replace=_authorities(replace or ())
    )
    if not all((desk.broker.folder / name).exists() for name in (CONFIGURATION, *ACCESS_FILES)):
        _write_local_settings(repository, desk, ContainerPorts())
    fields = {
        "made": is_new,
        "hosts": list(desk.broker.hosts()),
        "folder": str(desk.broker.folder),
        "ca": str(desk.authorities.certificate_path("brokers")),
    }
    lines = [
        f"The broker's files are in {desk.broker.folder}, for {', '.join(desk.broker.hosts())}",
        f"Its authority, for devices and publishers: {fields['ca']}",
        _KEEP_OFFLINE,
    ]
    emit(json, fields, lines)


def _authorities(given: Sequence[str]) -> list[AuthorityName]:
    """Give the authorities that `--replace` names.

    Raises:
        UsageError: one that `init` does not make.
    """
    if unknown := [word for word in given if word not in INIT_AUTHORITIES]:
        expected = ", ".join(INIT_AUTHORITIES)
        raise UsageError(f"--replace: expected {expected}, got {unknown[0]!r:.80}")
    return [name for name in INIT_AUTHORITIES if name in given]


def _renew(
    repo: Repo,
    host: Hosts = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=DAYS_MAX, help="How long it counts.")
    ] = BROKER_DAYS,
    new_key: NewKey = False,
    container: Container = None,
    json: Json = False,
) -> None:
    """Make a new certificate for the broker; --new-key after a theft."""
    desk = open_certificates(repo)
    made = desk.renew_broker(host or (), days=days, new_key=new_key)
    told = tell(repo, desk, container)
    fields = {
        "serial": serial_of(made),
        "until": made.not_valid_after_utc.isoformat(),
        "hosts": list(desk.broker.hosts()),
    }
    line = f"The broker's certificate counts until {day(made.not_valid_after_utc)}"
    emit(json, fields, [line, told])


def _refresh(
    repo: Repo,
    list_days: ListDays = LIST_DAYS,
    container: Container = None,
    json: Json = False,
) -> None:
    """Date the lists of revoked certificates anew: past its end, a list shuts everybody out."""
    desk = open_certificates(repo)
    desk.refresh(list_days=list_days)
    told = tell(repo, desk, container)
    ends = {name: desk.broker.lists_end(name) for name in LISTENERS}
    fields = {"lists": {name: end.isoformat() if end else None for name, end in ends.items()}}
    lines = [f"list of {name}: until {day(end)}" for name, end in ends.items() if end]
    emit(json, fields, [*lines, told])


def _broker(
    repo: Repo,
    name: Annotated[str, typer.Option(help="The container's name.")] = NAME,
    image: Annotated[str, typer.Option(help="Mosquitto's image.")] = IMAGE,
    devices_at: Annotated[
        str, typer.Option(help="Where devices connect: [ADDRESS:]PORT of this host.")
    ] = ContainerPorts().devices,
    publishers_at: Annotated[
        str, typer.Option(help="Where publishers connect: [ADDRESS:]PORT of this host.")
    ] = ContainerPorts().publishers,
    no_container: Annotated[
        bool, typer.Option("--no-container", help="Only write the configuration.")
    ] = False,
    json: Json = False,
) -> None:
    """Run the broker in a container; where no engine is, write what a local Mosquitto reads."""
    repository = open_repository(repo)
    desk = open_desk(repository.path, repository.ring)
    files = desk.broker.contents(PLACE, repository.settings.prefix)
    configuration = desk.broker.folder / CONFIGURATION
    ports = ContainerPorts(devices_at, publishers_at)
    _parse_listener("--devices-at", devices_at)
    _parse_listener("--publishers-at", publishers_at)
    engine = None if no_container else find_engine()
    if engine is not None:
        container = BrokerContainer(engine, name)
        container.start(files, image, ports)
        lines = [f"{name} runs in {engine}: devices at {devices_at}, publishers at {publishers_at}"]
    else:
        _write_local_settings(repository, desk, ports)
        lines = [f"No container engine is used here; run: mosquitto -c {configuration}"]
    fields = {
        "engine": engine,
        "container": name if engine else None,
        "configuration": None if engine else str(configuration),
    }
    emit(json, fields, lines)


def _parse_listener(option: str, text: str) -> tuple[str, int]:
    """Give an address, empty for every one, and a port.

    Raises:
        UsageError: it is no `[ADDRESS:]PORT`.
    """
    address, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_536):
        raise UsageError(f"{option}: expected [ADDRESS:]PORT, such as 8883, got {text!r:.80}")
    return address.removeprefix("[").removesuffix("]"), int(port)


def _write_local_settings(
    repository: Repository, desk: CertificateDesk, ports: ContainerPorts
) -> None:
    data = repository.path.absolute() / "broker-data"
    make_dir(data)
    devices_address, devices_port = _parse_listener("--devices-at", ports.devices)
    publishers_address, publishers_port = _parse_listener("--publishers-at", ports.publishers)
    place = BrokerPlace(
        desk.broker.folder.absolute(),
        data,
        devices_port=devices_port,
        publishers_port=publishers_port,
        devices_address=devices_address,
        publishers_address=publishers_address,
    )
    desk.broker.write_settings(place, repository.settings.prefix)


def tell(repo: Path, desk: CertificateDesk, container: str | None) -> str:
    """Have a container's broker read its files again; gives what is left to do, in words.

    Args:
        repo: the repository's folder.
        desk: its certificates.
        container: the container's name; None where the broker runs in none.

    Raises:
        UsageError: there is no such container, or no engine.
    """
    if container is None:
        return TELL_BROKER
    engine = find_engine()
    if engine is None:
        raise UsageError("--container: no container engine answers here")
    prefix = open_repository(repo).settings.prefix
    BrokerContainer(engine, container).tell(desk.broker.contents(PLACE, prefix))
    return f"{container} has read it"


def open_certificates(repo: Path) -> CertificateDesk:
    """Give what makes the certificates of a repository."""
    repository = open_repository(repo)
    return open_desk(repository.path, repository.ring)


def day(when: datetime) -> str:
    """Give a time as people read it."""
    return when.strftime("%Y-%m-%d %H:%M UTC")
