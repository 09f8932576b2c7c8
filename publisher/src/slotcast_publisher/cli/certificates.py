"""`slotcast certificates`: whom brokers let in, from the first certificate to the last."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.authorities import AuthorityName
from slotcast_publisher.certificates.broker_files import LISTENERS
from slotcast_publisher.certificates.broker_settings import CONFIGURATION, BrokerPlace
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
    DEVICE_DAYS,
    INIT_AUTHORITIES,
    LIST_DAYS,
    PUBLISHER_DAYS,
    CertificateDesk,
    Entry,
    open_desk,
)
from slotcast_publisher.certificates.record import Revoked, serial_of
from slotcast_publisher.cli.common import Json, Repo, emit, open_repository
from slotcast_publisher.durable import make_dir, write_atomic
from slotcast_publisher.repository import Repository
from slotcast_schemas.errors import UsageError

_DAYS_MAX = 3650.0

Hosts = Annotated[
    list[str] | None,
    typer.Option("--host", help="Name or address by which clients reach the broker; repeatable."),
]
ListDays = Annotated[
    float,
    typer.Option(
        min=0.01, max=_DAYS_MAX, help="How long the lists of revoked certificates count, in days."
    ),
]
Container = Annotated[
    str | None,
    typer.Option(
        help="Copy what the broker reads into this container, which `broker` made, and have it read"
        " that."
    ),
]
NewKey = Annotated[bool, typer.Option("--new-key", help="Make a new key, too: after a theft.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Whom brokers let in: devices, publishers, and the broker itself.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("init")(_init)
    group.command("sign")(_sign)
    group.command("publisher")(_publisher)
    group.command("renewals")(_renewals)
    group.command("list")(_list)
    group.command("revoke")(_revoke)
    group.command("renew")(_renew)
    group.command("refresh")(_refresh)
    group.command("broker")(_broker)
    app.add_typer(group, name="certificates")


def _init(
    repo: Repo,
    host: Hosts = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=_DAYS_MAX, help="Days of the broker's certificate.")
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
    _write_local_settings(repository, desk)
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
    known = {name: name for name in INIT_AUTHORITIES}
    if unknown := [word for word in given if word not in known]:
        raise UsageError(f"--replace: expected {', '.join(known)}, got {unknown[0]!r:.80}")
    return [name for word, name in known.items() if word in given]


def _sign(
    repo: Repo,
    request: Annotated[
        Path,
        typer.Argument(
            help="A PKCS#10 request in PEM, or what `slotcast-device enrol` wrote.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the certificate here; beside the request otherwise.")
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=_DAYS_MAX, help="How long it counts.")
    ] = DEVICE_DAYS,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="The device has a new key: revoke its certificates of other keys."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Give a device the certificate that it asks for."""
    desk = _desk(repo)
    try:
        data = request.read_bytes()
    except OSError as exc:
        raise UsageError(f"could not read {request}: {exc.strerror}") from exc
    written = out or request.with_suffix(".pem")
    if written == request:
        raise UsageError(f"{request} would be overwritten by the certificate: give --out")
    made, revoked = desk.sign(data, str(request), days=days, replaces=replace)
    write_atomic(written, made.public_bytes(Encoding.PEM))
    device = desk.name_of(made)
    fields = {
        "device": device,
        "serial": serial_of(made),
        "until": made.not_valid_after_utc.isoformat(),
        "certificate": str(written),
        "revoked": [one.serial for one in revoked],
    }
    lines = [
        f"{written}: {device}, serial {serial_of(made)}, until {_day(made.not_valid_after_utc)}"
    ]
    lines += [f"Revoked: {one.serial}" for one in revoked]
    emit(json, fields, lines + ([_TELL_BROKER] if revoked else []))


def _publisher(
    repo: Repo,
    name: Annotated[
        str, typer.Argument(help="What people call it, such as the machine's name.")
    ] = "publisher",
    days: Annotated[
        float, typer.Option(min=0.01, max=_DAYS_MAX, help="How long it counts.")
    ] = PUBLISHER_DAYS,
    new_key: NewKey = False,
    json: Json = False,
) -> None:
    """Make the certificate by which `publish` and `serve` are let in, or renew it."""
    desk = _desk(repo)
    certificate, key = desk.publisher(name, days=days, new_key=new_key)
    fields = {
        "name": name,
        "certificate": str(certificate),
        "key": str(key),
        "ca": str(desk.authorities.certificate_path("brokers")),
    }
    shown = [path.relative_to(repo).as_posix() for path in (certificate, key)]
    settings = (
        "For slotcast.toml: ca = 'certificates/brokers-ca.pem',"
        f" certificate = '{shown[0]}', key = '{shown[1]}'"
    )
    emit(json, fields, [f"{name}: {certificate} and {key}", settings])


def _renewals(
    repo: Repo,
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new authority: after a theft of its key.")
    ] = False,
    off: Annotated[bool, typer.Option("--off", help="Let devices renew nothing any more.")] = False,
    json: Json = False,
) -> None:
    """Let devices renew their certificates through `slotcast serve`, by an authority of its own."""
    if replace and off:
        raise UsageError("--replace and --off contradict each other")
    desk = _desk(repo)
    if off:
        desk.end_renewals()
        emit(json, {"renewals": False, "made": False}, ["Devices renew nothing", _TELL_BROKER])
        return
    is_new = desk.allow_renewals(replace=replace)
    lines = ["Devices renew their certificates through `slotcast serve`: start it again"]
    emit(json, {"renewals": True, "made": is_new}, [*lines, _TELL_BROKER])


def _list(
    repo: Repo,
    all_: Annotated[bool, typer.Option("--all", help="Those that have expired, too.")] = False,
    json: Json = False,
) -> None:
    """Show who has a certificate: its serial number, until when, whether it is revoked."""
    desk = _desk(repo)
    now_s = datetime.now(UTC).timestamp()
    entries = [one for one in desk.entries() if all_ or one.issued.ends > now_s]
    lists = {name: desk.broker.lists_end(name) for name in LISTENERS}
    untold = desk.broker.untold(desk.record)
    fields = {
        "certificates": [_entry_fields(one, now_s) for one in entries],
        "lists": {name: until.isoformat() if until else None for name, until in lists.items()},
        "untold": untold,
    }
    lines = [_entry_line(one, now_s) for one in entries]
    lines += [f"list of {name}: until {_day(until)}" for name, until in lists.items() if until]
    if untold:
        lines.append(f"Revoked, but not in the broker's lists: {', '.join(untold)}; run `refresh`")
    emit(json, fields, lines)


def _revoke(
    repo: Repo,
    who: Annotated[
        str,
        typer.Argument(
            help="A device's id, a publisher's name, or one certificate's serial number.",
            show_default=False,
        ),
    ],
    list_days: ListDays = LIST_DAYS,
    container: Container = None,
    json: Json = False,
) -> None:
    """Let certificates count no more, and put them on the list that the broker reads."""
    desk = _desk(repo)
    revoked = desk.revoke(who, list_days=list_days)
    told = _tell(repo, desk, container)
    fields = {"revoked": [msgspec.to_builtins(one) for one in revoked]}
    emit(json, fields, [*(_revoked_line(one) for one in revoked), told])


def _renew(
    repo: Repo,
    host: Hosts = None,
    days: Annotated[
        float, typer.Option(min=0.01, max=_DAYS_MAX, help="How long it counts.")
    ] = BROKER_DAYS,
    new_key: NewKey = False,
    container: Container = None,
    json: Json = False,
) -> None:
    """Make a new certificate for the broker; --new-key after a theft."""
    desk = _desk(repo)
    made = desk.renew_broker(host or (), days=days, new_key=new_key)
    told = _tell(repo, desk, container)
    fields = {
        "serial": serial_of(made),
        "until": made.not_valid_after_utc.isoformat(),
        "hosts": list(desk.broker.hosts()),
    }
    line = f"The broker's certificate counts until {_day(made.not_valid_after_utc)}"
    emit(json, fields, [line, told])


def _refresh(
    repo: Repo,
    list_days: ListDays = LIST_DAYS,
    container: Container = None,
    json: Json = False,
) -> None:
    """Date the lists of revoked certificates anew: past its end, a list shuts everybody out."""
    desk = _desk(repo)
    desk.refresh(list_days=list_days)
    told = _tell(repo, desk, container)
    ends = {name: desk.broker.lists_end(name) for name in LISTENERS}
    fields = {"lists": {name: end.isoformat() if end else None for name, end in ends.items()}}
    lines = [f"list of {name}: until {_day(end)}" for name, end in ends.items() if end]
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
    engine = None if no_container else find_engine()
    if engine is not None:
        container = BrokerContainer(engine, name)
        container.start(files, image, ContainerPorts(devices_at, publishers_at))
        lines = [f"{name} runs in {engine}: devices at {devices_at}, publishers at {publishers_at}"]
    else:
        _write_local_settings(repository, desk)
        lines = [f"No container engine is used here; run: mosquitto -c {configuration}"]
    fields = {
        "engine": engine,
        "container": name if engine else None,
        "configuration": None if engine else str(configuration),
    }
    emit(json, fields, lines)


def _write_local_settings(repository: Repository, desk: CertificateDesk) -> None:
    data = repository.path.absolute() / "broker-data"
    make_dir(data)
    place = BrokerPlace(desk.broker.folder.absolute(), data)
    desk.broker.write_settings(place, repository.settings.prefix)


def _tell(repo: Path, desk: CertificateDesk, container: str | None) -> str:
    """Have a container's broker read its files again; gives what is left to do, in words."""
    if container is None:
        return _TELL_BROKER
    engine = find_engine()
    if engine is None:
        raise UsageError("--container: no container engine answers here")
    prefix = open_repository(repo).settings.prefix
    BrokerContainer(engine, container).tell(desk.broker.contents(PLACE, prefix))
    return f"{container} has read it"


_KEEP_OFFLINE = (
    "Keep devices/ca.key and certificates/*-ca.key offline, if you can: they are needed to sign, to"
    " revoke, and every few weeks to date the lists anew (`refresh`)."
)
_TELL_BROKER = "The broker learns of it when it reads its files again: send it SIGHUP."


def _desk(repo: Path) -> CertificateDesk:
    repository = open_repository(repo)
    return open_desk(repository.path, repository.ring)


def _entry_fields(entry: Entry, now_s: float) -> dict[str, Any]:
    issued = entry.issued
    return {
        "authority": issued.authority,
        "name": issued.name,
        "serial": issued.serial,
        "from": issued.starts,
        "until": issued.ends,
        "by": issued.how,
        "key": issued.key,
        "has_ended": issued.ends <= now_s,
        "revoked": entry.revoked.at if entry.revoked else None,
    }


def _entry_line(entry: Entry, now_s: float) -> str:
    issued = entry.issued
    end = datetime.fromtimestamp(issued.ends, UTC)
    word = "ended" if issued.ends <= now_s else "until"
    revoked = ""
    if entry.revoked:
        revoked = f", revoked {_day(datetime.fromtimestamp(entry.revoked.at, UTC))}"
    return f"{issued.authority}: {issued.name} {issued.serial} {word} {_day(end)}{revoked}"


def _revoked_line(one: Revoked) -> str:
    return f"{one.name}: {one.serial} counts no more"


def _day(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M UTC")
