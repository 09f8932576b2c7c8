"""`slotcast init` and `slotcast provision`: make a repository, and what a device needs of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.cli.common import (
    Brokers,
    Json,
    Repo,
    Tags,
    ask_passphrase,
    emit,
    open_repository,
    pairs,
)
from slotcast_publisher.provision import provision
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Expiry, Settings
from slotcast_schemas.explain import convert
from slotcast_schemas.limits import CHUNK_DEFAULT_BYTES
from slotcast_schemas.topics import DEFAULT_PREFIX


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(_init)
    app.command("provision")(_provision)


def _init(
    repo: Repo,
    broker: Brokers = None,
    prefix: Annotated[str, typer.Option(help="Topic prefix.")] = DEFAULT_PREFIX,
    chunk_size: Annotated[int, typer.Option(help="Bytes in a chunk.")] = CHUNK_DEFAULT_BYTES,
    timestamp_days: Annotated[
        float, typer.Option(help="How long a notice counts before it must be renewed.")
    ] = 60,
    root_keys: Annotated[int, typer.Option(help="Number of root keys.")] = 1,
    root_threshold: Annotated[int, typer.Option(help="Root keys that must sign.")] = 1,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Leave private key files unencrypted.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="Make the CA for device certificates now.")
    ] = False,
    ca: Annotated[
        str | None, typer.Option(help="CA of the broker, relative to the repository.")
    ] = None,
    certificate: Annotated[
        str | None, typer.Option(help="The publisher's certificate, relative to the repository.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The key of that certificate, relative to the repository.")
    ] = None,
    json: Json = False,
) -> None:
    """Make a repository: keys, signed root, settings."""
    settings = Settings(
        prefix=prefix,
        chunk_size_bytes=chunk_size,
        brokers=tuple(
            Broker(url=url, ca=ca, certificate=certificate, key=key) for url in broker or ()
        ),
        expiry=Expiry(
            timestamp_days=timestamp_days,
            snapshot_days=max(60, timestamp_days),
            offers_days=max(60, timestamp_days),
        ),
    )
    settings = convert(msgspec.to_builtins(settings), Settings, "settings")
    made = Repository.init(
        repo,
        settings,
        encrypted=not no_passphrase,
        root_keys=root_keys,
        root_threshold=root_threshold,
        passphrase=ask_passphrase(is_new=True),
    )
    if tls:
        open_desk(made.path, made.ring).ensure_devices_authority()
    names = [item.address.name for item in settings.brokers]
    fields = {
        "repository": str(repo),
        "root_version": 1,
        "root_keys": root_keys,
        "root_threshold": root_threshold,
        "encrypted": not no_passphrase,
        "brokers": names,
        "prefix": prefix,
    }
    made_line = (
        f"Repository {repo}: {root_threshold} of {root_keys} root keys,"
        f" brokers {', '.join(names) or 'none yet'}, topics below {prefix}"
    )
    advice = (
        "Keep the root and targets keys (keys/root-*, keys/targets-*) offline:"
        " they are needed for new models and new keys only."
    )
    emit(json, fields, [made_line, advice])


def _provision(
    repo: Repo,
    device: Annotated[str, typer.Argument(help="Device id.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Folder to write.", show_default=False)],
    model: Annotated[list[str] | None, typer.Option("--model", help="Model; repeatable.")] = None,
    broker: Brokers = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the device keeps models: a path on the device, relative to device.toml;"
            " 'state' unless given."
        ),
    ] = None,
    tag: Tags = None,
    json: Json = False,
) -> None:
    """Write a device's configuration, pinned root and, with TLS, its certificate."""
    done = provision(
        open_repository(repo),
        device,
        out,
        models=model or (),
        brokers=broker or (),
        state_dir=state_dir,
        tags=pairs(tag, "--tag"),
    )
    fields = {
        "device": done.device,
        "folder": str(done.folder),
        "config": str(done.config),
        "root_version": done.root_version,
        "brokers": list(done.brokers),
        "certificate": str(done.certificate) if done.certificate else None,
        "warnings": list(done.warnings),
    }
    for warning in done.warnings:
        sys.stderr.write(f"slotcast: warning: {warning}\n")
    enrol = f"slotcast-device enrol --config {done.config} --out FILE"
    said = [
        f"Run: slotcast-device run --config {done.config}",
        f"Have its reports known as its own: {enrol}; here: slotcast devices enrol {repo} FILE",
    ]
    emit(json, fields, said)
