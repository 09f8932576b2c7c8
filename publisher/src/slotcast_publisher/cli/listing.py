"""`slotcast list`: models, their releases, and what was published when, where and to whom."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from slotcast_publisher.cli.common import Json, Repo, emit, open_repository, size
from slotcast_publisher.delivery.ledger import Delivered, all_ledgers
from slotcast_publisher.inspection import described
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages import Offer, Release
from slotcast_schemas.messages.offer import Group

Deliveries = Sequence[tuple[str, Delivered]]
"""Broker and delivery, oldest first."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(_list)


def _list(
    repo: Repo,
    model: Annotated[str | None, typer.Argument(help="One model only.")] = None,
    json: Json = False,
) -> None:
    """Show models, their releases, what is offered, and what was published when and to whom."""
    repository = open_repository(repo)
    deliveries = sorted(
        ((ledger.broker, item) for ledger in all_ledgers(repo) for item in ledger.deliveries),
        key=lambda pair: pair[1].at_s,
    )
    found: list[dict[str, Any]] = []
    lines: list[str] = []
    for name in [model] if model else repository.store.models():
        of_model = [pair for pair in deliveries if pair[1].model == name]
        offer = repository.present_offer(name)
        releases = [folder.load() for folder in repository.store.releases(name)]
        found.append(
            {
                "model": name,
                "offered": _offer_fields(offer) if offer else None,
                "releases": [_release_fields(repository, each, of_model) for each in releases],
            }
        )
        lines.append(f"{name} ({_offer_line(offer)})")
        for each in releases:
            lines += _release_lines(repository, each, of_model)
    emit(json, {"models": found}, lines or ["No models yet."])


def _offer_fields(offer: Offer) -> dict[str, Any]:
    return {
        "version": offer.version,
        "state": offer.state,
        "signed_at": _iso(offer.issued),
        "deployment": offer.deployment,
        "groups": msgspec.to_builtins(offer.groups),
    }


def _release_fields(
    repository: Repository, release: Release, deliveries: Deliveries
) -> dict[str, Any]:
    return {
        "version": release.version,
        "sequence": release.sequence,
        "image_size_bytes": release.image_size_bytes,
        "signed": _is_signed(repository, release),
        "published": [
            {
                "broker": broker,
                "at": _iso(item.at_s),
                "state": item.state,
                "deployment": item.deployment,
                "groups": msgspec.to_builtins(item.groups),
            }
            for broker, item in _of(release, deliveries)
        ],
    }


def _is_signed(repository: Repository, release: Release) -> bool:
    roles = repository.roles.of(release.model)
    return roles.signed_release(release.model, release.version) is not None


def _of(release: Release, deliveries: Deliveries) -> Deliveries:
    return [(broker, item) for broker, item in deliveries if item.sequence == release.sequence]


def _offer_line(offer: Offer | None) -> str:
    if offer is None:
        return "nothing offered"
    return f"offered: {offer.version}, {offer.state}, {_groups(offer.groups)}"


def _release_lines(repository: Repository, release: Release, deliveries: Deliveries) -> list[str]:
    signed = _is_signed(repository, release)
    lines = [
        f"  {release.version:<16} sequence {release.sequence:<6} {size(release.image_size_bytes)}"
        + ("" if signed else ", not signed (any more)")
    ]
    lines += [
        f"    {datetime.fromtimestamp(item.at_s, UTC):%Y-%m-%d %H:%M UTC}  {broker}: {item.state},"
        f" {_groups(item.groups)}"
        for broker, item in _of(release, deliveries)
    ]
    return lines


def _groups(groups: Sequence[Group]) -> str:
    return "; ".join(
        f"{group.name} ({described(group)})"
        + ("" if group.state == "active" else f" {group.state}")
        for group in groups
    )


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
