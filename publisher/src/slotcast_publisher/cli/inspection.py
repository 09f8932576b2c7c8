"""`slotcast inspect`: explain a notice, from a file, a repository or a broker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from slotcast_publisher.cli.common import Json, emit, open_repository
from slotcast_publisher.delivery.broker_connect import fetch_retained, open_link
from slotcast_publisher.delivery.publish import brokers_of
from slotcast_publisher.errors import NotFound
from slotcast_publisher.inspection import Inspection, fields_of, inspect_notice, lines_of
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import FILE_NAME, Broker
from slotcast_publisher.store import check_model_name
from slotcast_publisher.supply.bom import make_bom
from slotcast_publisher.supply.bundle import BUNDLE_MAX_BYTES
from slotcast_publisher.supply.check import BUNDLE_PATH, describe_bundle
from slotcast_publisher.supply.policy import read_file
from slotcast_schemas.errors import Inconsistent, RefusedRelease, UsageError
from slotcast_schemas.messages import Release
from slotcast_schemas.named_files import read_named
from slotcast_schemas.topics import DEFAULT_PREFIX, Topics

_FILE_MAX_BYTES: Final = 1024 * 1024
"""The most bytes of a notice or of a root that a file has: several times what a message may have,
so that one that is too large for a device is explained, too."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect")(_inspect)


def _inspect(
    source: Annotated[
        Path | None, typer.Argument(help="A notice in a file, or a repository.")
    ] = None,
    model: Annotated[str | None, typer.Argument(help="Model, for a repository.")] = None,
    broker: Annotated[
        str | None, typer.Option(help="Ask this broker for the notice that it keeps.")
    ] = None,
    model_option: Annotated[
        str | None, typer.Option("--model", help="Model, for --broker.")
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="root.json that a device pins; a repository has its own.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Topic prefix, for --broker.")] = DEFAULT_PREFIX,
    timeout_s: Annotated[float, typer.Option(help="How long to wait for a broker.")] = 10.0,
    bom: Annotated[
        bool, typer.Option("--bom", help="Print the release's bill of materials (CycloneDX).")
    ] = False,
    json: Json = False,
) -> None:
    """Explain a notice: who signed it, what it says, whether a device would believe it."""
    chosen = model or model_option
    if chosen is not None:
        check_model_name(chosen)
    pinned = read_named(root, _FILE_MAX_BYTES) if root else None
    repository: Repository | None = None
    if source is not None and (source / FILE_NAME).exists():
        if chosen is None:
            raise UsageError("which model? `slotcast inspect REPO MODEL`")
        repository = open_repository(source)
        pinned = pinned or repository.roles.oldest_root()
        if broker is None:
            data = repository.notice_bytes(chosen)
        else:
            link = brokers_of(repository, [broker])[0]
            data = _fetch(link, source, repository.topics, chosen, timeout_s)
    elif source is not None:
        data = read_named(source, _FILE_MAX_BYTES)
    elif broker is not None and chosen is not None:
        data = _fetch(Broker(url=broker), Path.cwd(), Topics(prefix), chosen, timeout_s)
    else:
        raise UsageError("expected a FILE, a REPO and MODEL, or --broker URL --model MODEL")
    found = inspect_notice(data, pinned)
    fields, lines = fields_of(found), lines_of(found)
    if repository is not None and found.release is not None:
        signed = _describe_signature(repository, found.release)
        fields |= {"model_signature": signed}
        lines += [f"  oms     {signed}"] if signed else []
    if bom:
        sys.stdout.write(_make_bom(found))
    else:
        emit(json, fields, lines)
    if found.verdict not in {"verified", "unchecked"}:
        raise Inconsistent(f"a device would refuse this notice: {found.verdict}")


def _make_bom(found: Inspection) -> str:
    if found.release is None:
        raise NotFound("the notice brings no release, and so there is no bill of materials of it")
    return make_bom(found.release, found.offer)


def _describe_signature(repository: Repository, release: Release) -> str:
    """Say whose model-signing bundle the release brings, as that claims it; empty for none."""
    if all(file.path != BUNDLE_PATH for file in release.files):
        return ""
    folder = repository.store.folder(release.model, release.version)
    try:
        return describe_bundle(read_file(folder.files_dir / BUNDLE_PATH, BUNDLE_MAX_BYTES))
    except RefusedRelease as exc:
        return f"{BUNDLE_PATH}: {exc}"


def _fetch(broker: Broker, base: Path, topics: Topics, model: str, timeout_s: float) -> bytes:
    with open_link(broker, base) as link:
        data = fetch_retained(link, topics.notice(model), timeout_s)
    if data is None:
        raise NotFound(f"the broker keeps no notice of {model!r}")
    return data
