"""`slotcast certificates`: whom brokers let in, from the first certificate to the last."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.certificates.broker_files import LISTENERS
from slotcast_publisher.certificates.certificate_request import REQUEST_MAX_BYTES
from slotcast_publisher.certificates.desk import (
    DEVICE_DAYS,
    LIST_DAYS,
    PUBLISHER_DAYS,
    Entry,
)
from slotcast_publisher.certificates.issued_record import Revoked, serial_of
from slotcast_publisher.cli import broker_certificates
from slotcast_publisher.cli.broker_certificates import (
    DAYS_MAX,
    TELL_BROKER,
    Container,
    ListDays,
    NewKey,
    day,
    open_certificates,
    tell,
)
from slotcast_publisher.cli.common import Json, Repo, emit
from slotcast_publisher.durable import write_atomic
from slotcast_schemas.errors import UsageError
from slotcast_schemas.named_files import read_named


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Whom brokers let in: devices, publishers, and the broker itself.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("sign")(_sign)
    group.command("publisher")(_publisher)
    group.command("renewals")(_renewals)
    group.command("list")(_list)
    group.command("revoke")(_revoke)
    broker_certificates.register(group)
    app.add_typer(group, name="certificates")


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
        float, typer.Option(min=0.01, max=DAYS_MAX, help="How long it counts.")
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
    desk = open_certificates(repo)
    data = read_named(request, REQUEST_MAX_BYTES)
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
        f"{written}: {device}, serial {serial_of(made)}, until {day(made.not_valid_after_utc)}"
    ]
    lines += [f"Revoked: {one.serial}" for one in revoked]
    emit(json, fields, lines + ([TELL_BROKER] if revoked else []))


def _publisher(
    repo: Repo,
    name: Annotated[
        str, typer.Argument(help="What people call it, such as the machine's name.")
    ] = "publisher",
    days: Annotated[
        float, typer.Option(min=0.01, max=DAYS_MAX, help="How long it counts.")
    ] = PUBLISHER_DAYS,
    new_key: NewKey = False,
    json: Json = False,
) -> None:
    """Make the certificate by which `publish` and `serve` are let in, or renew it."""
    desk = open_certificates(repo)
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
    desk = open_certificates(repo)
    if off:
        desk.end_renewals()
        emit(json, {"renewals": False, "made": False}, ["Devices renew nothing", TELL_BROKER])
        return
    is_new = desk.allow_renewals(replace=replace)
    lines = ["Devices renew their certificates through `slotcast serve`: start it again"]
    emit(json, {"renewals": True, "made": is_new}, [*lines, TELL_BROKER])


def _list(
    repo: Repo,
    all_: Annotated[bool, typer.Option("--all", help="Those that have expired, too.")] = False,
    json: Json = False,
) -> None:
    """Show who has a certificate: its serial number, until when, whether it is revoked."""
    desk = open_certificates(repo)
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
    lines += [f"list of {name}: until {day(until)}" for name, until in lists.items() if until]
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
    desk = open_certificates(repo)
    revoked = desk.revoke(who, list_days=list_days)
    told = tell(repo, desk, container)
    fields = {"revoked": [msgspec.to_builtins(one) for one in revoked]}
    emit(json, fields, [*(_revoked_line(one) for one in revoked), told])


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
        revoked = f", revoked {day(datetime.fromtimestamp(entry.revoked.at, UTC))}"
    return f"{issued.authority}: {issued.name} {issued.serial} {word} {day(end)}{revoked}"


def _revoked_line(one: Revoked) -> str:
    return f"{one.name}: {one.serial} counts no more"
