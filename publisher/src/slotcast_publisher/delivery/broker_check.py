"""Tries at a broker all that publishing and devices need of one, and sums up what was found."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from slotcast_publisher.delivery.broker_trials import (
    BROKER,
    PUBLISHER,
    BrokerCheck,
    Connect,
    Trials,
)
from slotcast_publisher.delivery.readback import ReadbackWaits
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown, SlotcastError
from slotcast_schemas.topics import Topics

Verdict = Literal["ready", "limited", "unfit"]


class BrokerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one broker.

    Attributes:
        verdict: `ready`; `limited`: works, more slowly or with `slotcast serve` beside it;
            `unfit`: something is missing without which `publish` is not done.
        largest_message_bytes: the largest that was kept and given back; None if none was tried.
    """

    broker: str
    protocol: str
    verdict: Verdict
    largest_message_bytes: int | None
    checks: tuple[BrokerCheck, ...]


def check_broker(
    name: str,
    connect: Connect,
    topics: Topics,
    *,
    chunk_size_bytes: int,
    waits: ReadbackWaits,
    beside: Sequence[BrokerCheck] = (),
) -> BrokerReport:
    """Try everything; what a failed trial makes pointless is left out.

    Args:
        name: the broker's.
        connect: opens a connection, also to one that keeps no retained messages.
        topics: below the prefix that is used there.
        chunk_size_bytes: of the releases to be published.
        waits: for what is read back.
        beside: what was found without asking the broker.
    """
    trials = Trials(name, connect, topics, chunk_size_bytes=chunk_size_bytes, waits=waits)
    connection = _connection(connect)
    checks = [*beside, connection, *(_made(trials) if connection.result == "ok" else ())]
    return BrokerReport(
        broker=name,
        protocol=connection.detail.removeprefix("MQTT ") if connection.result == "ok" else "",
        verdict=_verdict(checks),
        largest_message_bytes=trials.largest_bytes,
        checks=tuple(checks),
    )


def check_password(broker: Broker, settings_file: Path) -> list[BrokerCheck]:
    """Say who else can read the password of a broker; nothing where it has none, or nobody can.

    Args:
        broker: whose address may have a password.
        settings_file: of the repository, which has the addresses; it need not be there.
    """
    if broker.address.password is None:
        return []
    found = []
    if broker.address.shows_password:
        found.append(("goes over the network as it is", "use mqtts:// there, and change it"))
    try:
        is_open = bool(settings_file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        is_open = False
    if is_open:
        found.append((f"lies in {settings_file}, which others can read", "chmod go-rwx it"))
    return [
        BrokerCheck(name="password", result="limited", detail=f"it {what}", who=PUBLISHER, act=act)
        for what, act in found
    ]


def _made(trials: Trials) -> Iterator[BrokerCheck]:
    """Make the trials in order; what was retained is removed in any case."""
    first = _trial("messages", trials.messages)
    yield first
    if first.result == "missing":
        return
    try:
        yield _trial("retained", trials.retained)
        if trials.keeps:
            yield _trial("wildcards", trials.wildcard_subscriptions)
            yield _trial("retained_count", trials.count)
            yield _trial("filters", trials.filters)
            yield _trial("subscriptions", trials.subscriptions)
            yield _trial("message_size", trials.message_size)
            yield _trial("notice", trials.notice)
            yield _trial("device_topics", trials.device_topics)
    finally:
        removal = _trial("removal", trials.remove)
    yield removal


def _trial(name: str, trial: Callable[[str], BrokerCheck]) -> BrokerCheck:
    """Make a trial; a connection that is lost, or refused, is what it found."""
    try:
        return trial(name)
    except (LinkDown, BrokerRefused) as exc:
        act = "look into the broker's log, and at its limits and access rules"
        return BrokerCheck(name=name, result="missing", detail=str(exc), who=BROKER, act=act)


def _connection(connect: Connect) -> BrokerCheck:
    try:
        with connect() as link:
            return BrokerCheck(name="connection", result="ok", detail=f"MQTT {link.protocol}")
    except SlotcastError as exc:
        act = "check the address, and that the broker runs and is reached from here"
        if isinstance(exc, BrokerRefused):
            act = "check user, password, certificates, and that the broker has QoS 1"
        return BrokerCheck(
            name="connection", result="missing", detail=str(exc), who=PUBLISHER, act=act
        )


def _verdict(checks: list[BrokerCheck]) -> Verdict:
    results = {check.result for check in checks}
    if "missing" in results:
        return "unfit"
    return "limited" if "limited" in results else "ready"
