"""Which conditions hold that need a person. No I/O; facts, limits and the time are arguments.

A condition that held goes on being *near* until it is clearly over: between the limit that raises
an alarm and the one that clears it, nothing changes. How long it must last is in `kinds`,
and heeded by `board`; the limits are those of `alarm_settings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.fleet.alarms.facts import (
    BrokerFacts,
    DeviceFacts,
    Expiring,
    Facts,
    ReleaseFacts,
)
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.database.signed_words import refused_words
from slotcast_publisher.fleet.figures.shares import Share, is_surely_above
from slotcast_schemas.plural import part_of
from slotcast_schemas.reasons import Reason

DISK_NEAR: Final = 1.25
"""A disk is fine again with so many times the room that is too little."""

CLOCK_NEAR: Final = 0.5
"""A clock is fine again when it is off by this part of what is too much."""

SHARE_NEAR: Final = 0.5
"""A release is fine again when the share that fails is this part of the limit."""

TWINS_S: Final = 3_600.0
"""So long after two devices were noticed under one id do they count as there."""

REFUSED_S: Final = 3_600.0
"""So long after a report was refused does somebody count as there who sends them."""

LIFE_PART: Final = 0.25
"""Of what is renewed by itself: the part of its life that is left when that is overdue. The service
renews at half."""

_CONFIDENCE: Final = 0.95
"""How sure it must be that a share of failures is above the limit, from 0 to 1."""
_DAY_S: Final = 86_400.0
_REASONS_SHOWN_MAX: Final = 3
"""The most reasons of failures that an alarm names."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition, and what it is about.

    Attributes:
        kind: the kind of alarm that it calls for.
        subject: what it is about, such as a device's id; each once for a kind.
        text: a sentence for people.
        holds: False where it is near: a standing alarm stays, and none is raised.
        names: `device`, `model`, `rollout`, `broker`, as far as it is about one.
    """

    kind: AlarmKind
    subject: str
    text: str
    holds: bool = True
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What holds now, and what could not be looked at."""

    findings: tuple[Finding, ...]
    unknown: frozenset[AlarmKind]


def judge(facts: Facts, limits: AlarmSettings) -> Judgement:
    """Say which conditions hold.

    Args:
        facts: as of now.
        limits: what is too much; kinds that are off are as if all was well.
    """
    unknown = _unknown(facts)
    findings = tuple(
        finding
        for kind, rule in _RULES.items()
        if kind not in limits.off and kind not in unknown
        for finding in rule(facts, limits)
    )
    return Judgement(findings, unknown)


def _unknown(facts: Facts) -> frozenset[AlarmKind]:
    found: set[AlarmKind] = set()
    if facts.devices is None:
        found |= {
            AlarmKind.DEVICE_SILENT,
            AlarmKind.DISK_LOW,
            AlarmKind.CLOCK_OFF,
            AlarmKind.ID_SHARED,
            AlarmKind.REPORTS_REFUSED,
        }
    if not facts.is_heard:
        found.add(AlarmKind.DEVICE_SILENT)  # it is us who do not hear
    if facts.releases is None:
        found.add(AlarmKind.RELEASE_FAILING)
    if facts.rollouts is None:
        found.add(AlarmKind.ROLLOUT_PAUSED)
    if facts.signatures is None:
        found.add(AlarmKind.SIGNATURE_EXPIRING)
    if facts.certificates is None:
        found.add(AlarmKind.CERTIFICATE_EXPIRING)
    if facts.supports is None:
        found.add(AlarmKind.SUPPORT_ENDING)
    return frozenset(found)


# --- devices --------------------------------------------------------------------------------------


def _silent(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    for device in facts.devices or ():
        silent_s = facts.now_s - device.seen_s
        if not device.online and silent_s > limits.silent_s:
            yield _of_device(
                AlarmKind.DEVICE_SILENT, device, f"offline, and not heard of for {_time(silent_s)}"
            )


def _disk_low(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    low = limits.disk_free_min_bytes
    for device in facts.devices or ():
        free = device.disk_free_bytes
        if free is None or free >= low * DISK_NEAR:
            continue
        text = f"{_size(free)} free on its disk, below {_size(low)}"
        yield _of_device(AlarmKind.DISK_LOW, device, text, holds=free < low)


def _clock_off(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    for device in facts.devices or ():
        off_s = abs(device.clock_off_s or 0.0)
        is_said = device.clock not in {"ok", ""}
        if not is_said and off_s <= limits.clock_off_max_s * CLOCK_NEAR:
            continue
        yield _of_device(
            AlarmKind.CLOCK_OFF,
            device,
            _clock_words(device),
            holds=is_said or off_s > limits.clock_off_max_s,
        )


def _clock_words(device: DeviceFacts) -> str:
    off_s = device.clock_off_s
    if off_s is None or (device.clock not in {"ok", ""} and abs(off_s) < 1):
        return f"its clock is {device.clock}, by its own word"
    side = "ahead" if off_s > 0 else "behind"
    return f"its clock is {_time(abs(off_s))} {side}"


def _id_shared(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    del limits
    for device in facts.devices or ():
        if device.twins_seen_s is None or facts.now_s - device.twins_seen_s > TWINS_S:
            continue
        why = f": {device.twins_why}" if device.twins_why else ""
        yield _of_device(AlarmKind.ID_SHARED, device, f"two devices use this id{why}")


def _refused(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    del limits
    for device in facts.devices or ():
        if device.refused_s is None or facts.now_s - device.refused_s > REFUSED_S:
            continue
        text = f"a report in its name was refused: {refused_words(device.refused_why)}"
        yield _of_device(AlarmKind.REPORTS_REFUSED, device, text)


def _of_device(kind: AlarmKind, device: DeviceFacts, text: str, *, holds: bool = True) -> Finding:
    return Finding(kind, device.id, f"{device.id}: {text}", holds, {"device": device.id})


# --- releases and rollouts ------------------------------------------------------------------------


def _failing(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    for release in facts.releases or ():
        share = Share(release.failed, release.ended)
        holds = release.failed >= limits.failing_devices_min and is_surely_above(
            share, limits.failing_share, _CONFIDENCE
        )
        if not holds and share.value <= limits.failing_share * SHARE_NEAR:
            continue
        yield Finding(
            AlarmKind.RELEASE_FAILING,
            f"{release.model} {release.version}",
            f"{release.model} {release.version}:"
            f" {part_of(share.hits, share.of, 'device')} did not take it ({_by_reason(release)})",
            holds,
            _names(model=release.model, rollout=release.rollout),
        )


def _by_reason(release: ReleaseFacts) -> str:
    most = sorted(release.reasons, key=lambda pair: (-pair[1], pair[0]))
    shown = [f"{reason} {count}" for reason, count in most[:_REASONS_SHOWN_MAX]]
    return ", ".join([*shown, *(["..."] if len(most) > _REASONS_SHOWN_MAX else [])])


def _paused(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    del limits
    for rollout in facts.rollouts or ():
        who = f" {rollout.who}" if rollout.who else ""
        why = f": {rollout.why}" if rollout.why else ""
        yield Finding(
            AlarmKind.ROLLOUT_PAUSED,
            f"{rollout.model}/{rollout.name}",
            f"{rollout.name} of {rollout.model} was paused by {rollout.by}{who}{why}",
            names=_names(model=rollout.model, rollout=rollout.name),
        )


# --- what ends ------------------------------------------------------------------------------------


def _signatures(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    return _ending(
        AlarmKind.SIGNATURE_EXPIRING,
        facts.signatures or (),
        facts.now_s,
        limits.signature_left_days * _DAY_S,
    )


def _certificates(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    return _ending(
        AlarmKind.CERTIFICATE_EXPIRING,
        facts.certificates or (),
        facts.now_s,
        limits.certificate_left_days * _DAY_S,
    )


def _supports(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    for one in facts.supports or ():
        left_s = one.until_s - facts.now_s
        if left_s >= limits.support_left_days * _DAY_S:
            continue
        ends = f"ends in {_time(left_s)}" if left_s > 0 else f"has ended, {_time(-left_s)} ago"
        who = "a device runs" if one.devices == 1 else f"{one.devices} devices run"
        yield Finding(
            AlarmKind.SUPPORT_ENDING,
            f"{one.model} {one.version}",
            f"{who} {one.model} {one.version}, whose support {ends}",
            names=_names(model=one.model),
        )


def _ending(
    kind: AlarmKind, things: Iterable[Expiring], now_s: float, left_max_s: float
) -> Iterator[Finding]:
    for thing in things:
        left_s = thing.expires_s - now_s
        if left_s <= 0:
            yield Finding(kind, thing.name, f"{thing.name} has expired, {_time(-left_s)} ago")
        elif left_s < min(left_max_s, thing.life_s * LIFE_PART):
            yield Finding(kind, thing.name, f"{thing.name} expires in {_time(left_s)}")


# --- brokers and the database ---------------------------------------------------------------------


def _broker_rule(
    kind: AlarmKind, is_meant: Callable[[BrokerFacts], bool]
) -> Callable[[Facts, AlarmSettings], Iterator[Finding]]:
    def rule(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
        del limits
        for broker in facts.brokers:
            if broker.reason and is_meant(broker):
                text = f"{broker.name}: {broker.detail or broker.reason}"
                yield Finding(kind, broker.name, text, names={"broker": broker.name})

    return rule


def _database(facts: Facts, limits: AlarmSettings) -> Iterator[Finding]:
    del limits
    if facts.database:
        yield Finding(AlarmKind.DATABASE_FAILING, "database", facts.database)


# --- all of them ----------------------------------------------------------------------------------

_RULES: Final[Mapping[AlarmKind, Callable[[Facts, AlarmSettings], Iterator[Finding]]]] = {
    AlarmKind.DEVICE_SILENT: _silent,
    AlarmKind.DISK_LOW: _disk_low,
    AlarmKind.CLOCK_OFF: _clock_off,
    AlarmKind.ID_SHARED: _id_shared,
    AlarmKind.REPORTS_REFUSED: _refused,
    AlarmKind.RELEASE_FAILING: _failing,
    AlarmKind.ROLLOUT_PAUSED: _paused,
    AlarmKind.SIGNATURE_EXPIRING: _signatures,
    AlarmKind.CERTIFICATE_EXPIRING: _certificates,
    AlarmKind.SUPPORT_ENDING: _supports,
    AlarmKind.BROKER_REFUSING: _broker_rule(
        AlarmKind.BROKER_REFUSING, lambda broker: broker.reason != Reason.LINK_DOWN
    ),
    AlarmKind.BROKER_UNREACHABLE: _broker_rule(
        AlarmKind.BROKER_UNREACHABLE, lambda broker: broker.reason == Reason.LINK_DOWN
    ),
    AlarmKind.DATABASE_FAILING: _database,
}
"""The rule of each kind."""


def _names(**names: str) -> dict[str, str]:
    return {name: value for name, value in names.items() if value}


def _time(seconds: float) -> str:
    """Give a time as people say it, in its largest unit."""
    for name, size in (("days", _DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _size(size_bytes: int) -> str:
    for name, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.0f} {name}"
    return f"{size_bytes} bytes"
