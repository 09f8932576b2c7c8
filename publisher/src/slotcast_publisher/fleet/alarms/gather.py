"""Gathers what alarms are judged by: from the database, the repository, and brokers' certificates.

The database chooses the devices of which something may be wrong, by the same limits as the rules:
of a hundred thousand that are well, none is read.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from sqlalchemy import Connection, and_, func, or_, select

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.certificates.broker_files import (
    BROKER_FOLDER,
    LISTENERS,
    BrokerFiles,
    ListenerName,
)
from slotcast_publisher.certificates.issued_record import CertificateRecord
from slotcast_publisher.certificates.profiles import common_name
from slotcast_publisher.fleet.alarms import rules
from slotcast_publisher.fleet.alarms.facts import (
    DeviceFacts,
    Expiring,
    PausedRollout,
    ReleaseFacts,
    RunningRelease,
    SupportFacts,
)
from slotcast_publisher.fleet.database.tables import device_models, devices, rollouts
from slotcast_publisher.fleet.rollout.observations import FAILED, NOT_ITS_FAULT
from slotcast_publisher.fleet.rollout.state_table import RolloutState
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Expiry
from slotcast_publisher.trust.role_signing import Roles
from slotcast_schemas.broker import tls_context
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.plain_files import read_regular
from slotcast_schemas.states import State
from slotcast_schemas.x509_errors import UNREADABLE

DEVICES_MAX: Final = 20_000
"""The most devices with something wrong that are read at one look."""

_ROLLOUTS_MAX: Final = 1_000
"""The most paused rollouts that are read at one look."""
_RUNNING_MAX: Final = 1_000
"""The most releases on devices that are read at one look, those on most devices."""

_CONNECT_S: Final = 10.0
"""The seconds that a broker has to show its certificate."""
_DAY_S: Final = 86_400.0


def read_devices(connection: Connection, limits: AlarmSettings, now_s: float) -> list[DeviceFacts]:
    """Give the devices of which something may be wrong, those unheard of for longest first.

    Args:
        connection: to the database.
        limits: what is too much.
        now_s: the clock, seconds since 1970.
    """
    d = devices.c
    is_suspect = or_(
        and_(d.online.is_(False), d.seen_s < now_s - limits.silent_s),
        and_(d.software != "", d.disk_free_bytes < limits.disk_free_min_bytes * rules.DISK_NEAR),
        and_(d.clock != "ok", d.clock != ""),
        func.abs(d.clock_off_s) > limits.clock_off_max_s * rules.CLOCK_NEAR,
        d.twins_seen_s > now_s - rules.TWINS_S,
        d.refused_s > now_s - rules.REFUSED_S,
    )
    query = (
        select(
            d.id, d.seen_s, d.online, d.clock, d.clock_off_s, d.software, d.disk_free_bytes,
            d.twins_seen_s, d.twins_why, d.refused_s, d.refused_why,
        ).where(is_suspect).order_by(d.seen_s, d.id).limit(DEVICES_MAX)
    )  # fmt: skip
    return [
        DeviceFacts(
            id=row.id,
            seen_s=row.seen_s,
            online=row.online,
            clock=row.clock,
            clock_off_s=row.clock_off_s,
            disk_free_bytes=row.disk_free_bytes if row.software else None,
            twins_seen_s=row.twins_seen_s,
            twins_why=row.twins_why,
            refused_s=row.refused_s,
            refused_why=row.refused_why,
        )
        for row in connection.execute(query)
    ]


def read_releases(connection: Connection) -> list[ReleaseFacts]:
    """Give of each model what the newest release came to that devices were offered."""
    m = device_models.c
    newest = (
        select(m.model, func.max(m.target_sequence).label("sequence"))
        .where(m.target_sequence > 0)
        .group_by(m.model)
        .subquery()
    )
    has_it = and_(
        m.active_sequence >= m.target_sequence,
        m.state.not_in([str(State.TRIAL.value), str(State.ACTIVATING.value)]),
    )
    query = (
        select(
            m.model, m.target_version, m.deployment, m.state, m.reason, has_it.label("has_it"),
            func.count().label("devices"),
        )
        .join(newest, and_(m.model == newest.c.model, m.target_sequence == newest.c.sequence))
        .where(or_(has_it, m.state.in_([state.value for state in FAILED])))
        .group_by(m.model, m.target_version, m.deployment, m.state, m.reason, has_it)
    )  # fmt: skip
    ended: dict[tuple[str, str], int] = defaultdict(int)
    reasons: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    named: dict[tuple[str, str], str] = {}
    for row in connection.execute(query):
        release = row.model, row.target_version
        named[release] = row.deployment or named.get(release, "")
        if row.has_it or row.reason not in NOT_ITS_FAULT:
            ended[release] += row.devices
        if not row.has_it and row.reason not in NOT_ITS_FAULT:
            reasons[release][row.reason] += row.devices
    return [
        ReleaseFacts(*release, named[release], count, tuple(reasons[release].items()))
        for release, count in ended.items()
    ]


def read_running(connection: Connection) -> list[RunningRelease]:
    """Give which releases run on devices, and on how many, the most first."""
    m = device_models.c
    query = (
        select(m.model, m.active_version, func.count().label("devices"))
        .where(m.active_sequence > 0)
        .group_by(m.model, m.active_version)
        .order_by(func.count().desc(), m.model, m.active_version)
        .limit(_RUNNING_MAX)
    )
    return [RunningRelease(r.model, r.active_version, r.devices) for r in connection.execute(query)]


def supports(running: Sequence[RunningRelease], repo: Repository) -> Iterator[SupportFacts]:
    """Give until when what devices run is supported, where its publisher has said so.

    Args:
        running: which releases.
        repo: that holds them; of one that it does not hold nothing is known.
    """
    for one in running:
        try:
            release = repo.store.folder(one.model, one.version).load()
        except SlotcastError:
            continue
        if release.supported_until:
            yield SupportFacts(one.model, one.version, release.supported_until, one.devices)


def still_offered(releases: Sequence[ReleaseFacts], repo: Repository) -> list[ReleaseFacts]:
    """Leave out what failed once and is offered no more; whoever did not fail needs no look.

    Args:
        releases: what each came to.
        repo: what is offered.
    """
    return [release for release in releases if not release.failed or _is_offered(release, repo)]


def _is_offered(release: ReleaseFacts, repo: Repository) -> bool:
    try:
        offer = repo.present_offer(release.model)
    except SlotcastError:
        return True  # what is offered cannot be told; what devices say can
    return offer is not None and offer.version == release.version and offer.state != "canceled"


def read_rollouts(connection: Connection) -> list[PausedRollout]:
    """Give the rollouts that are paused."""
    query = (
        select(rollouts.c.model, rollouts.c.name, rollouts.c.record)
        .where(rollouts.c.state == str(RolloutState.PAUSED))
        .limit(_ROLLOUTS_MAX)
    )
    return [_paused(row.model, row.name, row.record) for row in connection.execute(query)]


def _paused(model: str, name: str, record: str) -> PausedRollout:
    try:
        pause = json.loads(record).get("pause") or {}
        by, who, why = (str(pause.get(key, "")) for key in ("by", "who", "why"))
        return PausedRollout(model, name, by, who, why)
    except (ValueError, AttributeError):
        return PausedRollout(model, name, "somebody")


# --- what expires ---------------------------------------------------------------------------------


def signatures(repo: Repository) -> Iterator[Expiring]:
    """Give until when each role's signature counts; a role that cannot be read is left out."""
    yield from _signed(repo.roles.shared, {"root"}, "", repo.settings.expiry)
    sets = [(repo.roles.own(model), f" of {model}") for model in repo.roles.separate_models()]
    if repo.roles.shared_models():
        sets.append((repo.roles.shared, ""))
    for roles, whose in sets:
        yield from _signed(roles, roles.signed_names() - {"root"}, whose, repo.settings.expiry)


def _signed(roles: Roles, names: set[str], whose: str, expiry: Expiry) -> Iterator[Expiring]:
    for name in sorted(names):
        try:
            expires_s = roles.expires(name).timestamp()
        except SlotcastError:
            continue  # whoever uses it says so
        days = _life_days(name, expiry)
        yield Expiring(f"the signature of {name}{whose}", expires_s, days * _DAY_S)


def _life_days(role: str, expiry: Expiry) -> float:
    known = {
        "root": expiry.root_days,
        "targets": expiry.targets_days,
        "offers": expiry.offers_days,
        "snapshot": expiry.snapshot_days,
        "timestamp": expiry.timestamp_days,
    }
    return known.get(role, expiry.release_days)


def certificates(repo: Path, brokers: Sequence[Broker]) -> Iterator[Expiring]:
    """Give until when certificates count: those of files, and what brokers show.

    Args:
        repo: the repository's folder.
        brokers: where.
    """
    files = {
        repo / "devices" / "ca.pem": "the CA of devices",
        repo / "certificates" / "renewals-ca.pem": "the CA that devices' renewals are signed with",
        repo / "certificates" / "publishers-ca.pem": "the CA of publishers",
        repo / "certificates" / "brokers-ca.pem": "the CA of brokers",
        repo / BROKER_FOLDER / "server.crt": "the broker's certificate",
    }
    for broker in brokers:
        for path, what in ((broker.ca, "the CA"), (broker.certificate, "our certificate")):
            if path:
                files.setdefault(repo / path, f"{what} for {broker.address.name}")
    for file, what in files.items():
        yield from _in_file(file, f"{what} ({file.name})")
    yield from _of_devices(repo)
    for listener in LISTENERS:
        yield from _lists_of(BrokerFiles(repo), listener)
    for broker in brokers:
        yield from _shown_by(broker, repo)


def _of_devices(repo: Path) -> Iterator[Expiring]:
    """Give the devices whose last certificate is in the second half of its life, or over."""
    try:
        found = CertificateRecord(repo).last_of_devices().values()
    except SlotcastError:
        return  # whoever makes certificates says so
    now_s = time.time()
    for one in itertools.islice((i for i in found if now_s > (i.starts + i.ends) / 2), DEVICES_MAX):
        yield Expiring(f"the certificate of device {one.name}", one.ends, one.ends - one.starts)


def _lists_of(files: BrokerFiles, listener: ListenerName) -> Iterator[Expiring]:
    """Give until when lists of revoked certificates count: past it, nobody is let in."""
    for found in files.revocation_lists(listener):
        if found.next_update_utc is not None:
            life_s = (found.next_update_utc - found.last_update_utc).total_seconds()
            title = f"the list of revoked certificates of {listener} (signed by {_name(found)})"
            yield Expiring(title, found.next_update_utc.timestamp(), life_s)


def _name(found: x509.CertificateRevocationList) -> str:
    return common_name(found.issuer) or "nobody"


def _in_file(path: Path, name: str) -> Iterator[Expiring]:
    """Give the certificate of a file that ends first; whoever needs a file says that it is gone."""
    try:
        found = x509.load_pem_x509_certificates(read_regular(path))
    except (OSError, *UNREADABLE):
        return
    yield _expiring(name, min(found, key=lambda one: one.not_valid_after_utc))


def _shown_by(broker: Broker, repo: Path) -> Iterator[Expiring]:
    """Give the certificate that a broker shows; one that cannot be asked says nothing here."""
    address = broker.address
    if not address.is_tls:
        return
    files = (
        repo / given if given else None for given in (broker.ca, broker.certificate, broker.key)
    )
    try:
        context = tls_context(*files)
        with (
            socket.create_connection((address.host, address.port), _CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=address.host) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
        if shown:
            name = f"the certificate of {address.name}"
            yield _expiring(name, x509.load_der_x509_certificate(shown))
    except (OSError, *UNREADABLE, SlotcastError):
        return


def _expiring(name: str, certificate: x509.Certificate) -> Expiring:
    ends: datetime = certificate.not_valid_after_utc
    life_s = (ends - certificate.not_valid_before_utc).total_seconds()
    return Expiring(name, ends.timestamp(), life_s)
