"""What the screen of a release is made of: the repository's word of it, and the fleet's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, and_, func, select

from slotcast_publisher.errors import NotFound, RepositoryDamaged
from slotcast_publisher.fleet.database import notes
from slotcast_publisher.fleet.database.figures_blob import unpack
from slotcast_publisher.fleet.database.fleet_counts import (
    CountedVersion,
    devices_with_figures,
    version_counts,
)
from slotcast_publisher.fleet.database.fleet_figures import release_sums
from slotcast_publisher.fleet.database.kept_counts import (
    RunningCount,
    running_by_group,
    running_by_tag,
    tag_keys,
)
from slotcast_publisher.fleet.database.tables import device_models, metrics_releases, rollouts
from slotcast_publisher.fleet.figures.comparison import FiguresPair
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_publisher.fleet.steering.rollout_files import RolloutFiles
from slotcast_publisher.inspection import inspect_notice
from slotcast_publisher.repository import Repository
from slotcast_publisher.store import PayloadRecord
from slotcast_schemas.messages import Offer, Release
from slotcast_schemas.trust import OFFERS_ROLE, release_role

PAIRS_MAX: Final = 500
"""So many devices that have figures of both are held against themselves."""
PREDECESSORS: Final = 4
"""So many releases before this one are shown beside it."""
PLACES_MAX: Final = 40
"""The most groups, and the most values of a tag, that are listed."""
KEYS_MAX: Final = 12
"""The most tags that can be chosen."""
ROLLOUTS_MAX: Final = 10
"""The most rollouts of a model that are looked at for this release, the last ones."""
_BAD: Final = ("FAILED", "ROLLED_BACK", "REJECTED")


@dataclass(frozen=True, slots=True)
class SignedRole:
    """A role of The Update Framework that this release rests on.

    Attributes:
        name: of the role.
        version: of its newest metadata.
        keys: ids of those that signed it.
        threshold: how many have to.
        expires: until when it counts.
    """

    name: str
    version: int
    keys: tuple[str, ...]
    threshold: int
    expires: datetime


@dataclass(frozen=True, slots=True)
class RolloutOf:
    """A rollout that brings this release."""

    name: str
    state: str


@dataclass(frozen=True, slots=True)
class ReleaseScreenData:
    """All that is known of a release.

    Attributes:
        release: as it is signed.
        payloads: that were built, or that the offer has.
        offer: what is offered for the model now; None for nothing.
        verdict: of the notice that devices get, as devices judge it; empty where this release is
            not offered.
        roles: who signed.
        releases: all of the model, the newest first; this one too.
        sums: figures over all devices, by sequence.
        ever: how many devices reported figures, by sequence.
        versions: how many devices run which release.
        bad: devices that say now that they did not take a release, by its sequence.
        pairs: devices with figures of this release and of the one before.
        groups: where it runs, by group.
        keys: names of tags, the most common first.
        key: the tag by which `tags` are.
        tags: where it runs, by the values of that tag.
        rollouts: that bring it, the newest first.
        notes: of persons, the newest first.
    """

    release: Release
    payloads: Sequence[PayloadRecord]
    offer: Offer | None
    verdict: str
    roles: Sequence[SignedRole]
    releases: Sequence[Release]
    sums: Mapping[int, ReleaseFigures]
    ever: Mapping[int, int]
    versions: Sequence[CountedVersion]
    bad: Mapping[int, int]
    pairs: Sequence[FiguresPair]
    groups: Sequence[RunningCount]
    keys: Sequence[str]
    key: str
    tags: Sequence[RunningCount]
    rollouts: Sequence[RolloutOf]
    notes: Sequence[notes.Note]

    @property
    def is_offered(self) -> bool:
        """Whether this is what devices are asked to run."""
        return self.offer is not None and self.offer.version == self.release.version

    @property
    def before(self) -> Release | None:
        """The newest release before this one."""
        return next((r for r in self.releases if r.sequence < self.release.sequence), None)


def release_facts(
    connection: Connection,
    repo: Repository,
    files: RolloutFiles,
    model: str,
    version: str,
    key: str = "",
) -> ReleaseScreenData:
    """Read what is known of a release.

    Args:
        connection: to the fleet's database.
        repo: the repository.
        files: its rollouts.
        model: of the release.
        version: of the release.
        key: the tag by which it is said where the release runs; where devices have no such tag, the
            most common one.

    Raises:
        NotFound: there is no such release.
        RepositoryDamaged: it cannot be read.
    """
    if model not in repo.store.models() or version not in repo.store.versions(model):
        raise NotFound(
            f"no release {version!r:.80} of {model!r:.80}; `slotcast list` names those that are"
        )
    folder = repo.store.folder(model, version)
    release = folder.load()
    offer = repo.present_offer(model)
    all_releases = sorted(
        (each.load() for each in repo.store.releases(model)), key=lambda each: -each.sequence
    )
    before = next((r for r in all_releases if r.sequence < release.sequence), None)
    keys = tag_keys(connection, model, limit=KEYS_MAX)
    chosen = key if key in keys else next(iter(keys), "")
    place = model, release.sequence
    is_offered = offer is not None and offer.version == version
    return ReleaseScreenData(
        release=release,
        payloads=folder.payloads(),
        offer=offer,
        verdict=_verdict(repo, model) if is_offered else "",
        roles=tuple(signed_roles(repo, model)),
        releases=all_releases,
        sums={each.sequence: each.figures for each in release_sums(connection, model)},
        ever=devices_with_figures(connection, model),
        versions=version_counts(connection, model),
        bad=_bad_by_sequence(connection, model),
        pairs=() if before is None else _pairs(connection, release, before.sequence),
        groups=running_by_group(connection, *place, limit=PLACES_MAX),
        keys=keys,
        key=chosen,
        tags=running_by_tag(connection, *place, chosen, limit=PLACES_MAX) if chosen else (),
        rollouts=_rollouts(connection, files, model, version),
        notes=notes.notes_of(connection, "release", notes.release_subject(model, version)),
    )


def signed_roles(repo: Repository, model: str) -> list[SignedRole]:
    """Say who signed what of a model's release counts.

    Args:
        repo: the repository.
        model: one of its models.
    """
    roles = repo.roles.of(model)
    found = []
    for name in (release_role(model), OFFERS_ROLE, "snapshot", "timestamp", "targets", "root"):
        try:
            metadata, role = roles.newest(name), roles.role_of(name)
        except (NotFound, RepositoryDamaged):
            continue  # nothing of it is signed yet
        signed: Any = metadata.signed
        found.append(
            SignedRole(
                name,
                signed.version,
                tuple(sorted(set(metadata.signatures) & set(role.keyids))),
                role.threshold,
                signed.expires,
            )
        )
    return found


def _verdict(repo: Repository, model: str) -> str:
    """Say what a device would make of the notice."""
    try:
        return inspect_notice(repo.notice_bytes(model), repo.roles.oldest_root()).verdict
    except NotFound:
        return ""


# --- the fleet's word -----------------------------------------------------------------------------


def _bad_by_sequence(connection: Connection, model: str) -> dict[int, int]:
    m = device_models.c
    query = (
        select(m.target_sequence, func.count())
        .where(m.model == model, m.state.in_(_BAD))
        .group_by(m.target_sequence)
    )
    return {int(sequence): int(count) for sequence, count in connection.execute(query)}


def _pairs(connection: Connection, release: Release, before: int) -> list[FiguresPair]:
    """Read the figures of devices that ran both releases, in an order that stays the same."""
    new, old = metrics_releases.alias("new"), metrics_releases.alias("old")
    same = and_(old.c.device == new.c.device, old.c.model == new.c.model, old.c.sequence == before)
    query = (
        select(new.c.figures, old.c.figures)
        .select_from(new.join(old, same))
        .where(new.c.model == release.model, new.c.sequence == release.sequence)
        .order_by(new.c.device)
        .limit(PAIRS_MAX)
    )
    return [FiguresPair(unpack(mine), unpack(other)) for mine, other in connection.execute(query)]


def _rollouts(
    connection: Connection, files: RolloutFiles, model: str, version: str
) -> list[RolloutOf]:
    """Find the rollouts that bring a release, by their plans."""
    r = rollouts.c
    recent = connection.execute(
        select(r.name, r.state)
        .where(r.model == model)
        .order_by(r.updated_s.desc())
        .limit(ROLLOUTS_MAX)
    )
    found = []
    for row in recent.all():
        with suppress(NotFound, RepositoryDamaged):  # its files are gone: it brings nothing
            if version in files.load(row.name).plan.versions:
                found.append(RolloutOf(row.name, row.state))
    return found
