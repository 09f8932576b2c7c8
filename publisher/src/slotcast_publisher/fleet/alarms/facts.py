"""What alarms are judged by, as of one moment; times are seconds since 1970, by our own clock.

What is None could not be looked at: nothing is raised or cleared by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """A device of which something may be wrong.

    Attributes:
        seen_s: when something of it came last.
        clock: the word of its own status.
        clock_off_s: its clock less ours; None where that is not known.
        disk_free_bytes: None where it does not say.
        twins_seen_s: when two devices were last noticed under its id; None for never.
        twins_why: how they were told apart.
        refused_s: when a report in its name was last refused; None for never.
        refused_why: the word for it.
    """

    id: str
    seen_s: float
    online: bool = False
    clock: str = "ok"
    clock_off_s: float | None = None
    disk_free_bytes: int | None = None
    twins_seen_s: float | None = None
    twins_why: str = ""
    refused_s: float | None = None
    refused_why: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What the offered release of a model came to.

    Attributes:
        rollout: the name of its deployment; empty for none.
        ended: devices that took it or did not.
        reasons: of those that did not, how many by the reason.
    """

    model: str
    version: str
    rollout: str
    ended: int
    reasons: tuple[tuple[str, int], ...]

    @property
    def failed(self) -> int:
        """Devices that did not take it."""
        return sum(count for _, count in self.reasons)


@dataclass(frozen=True, slots=True)
class PausedRollout:
    """A rollout that does not go on.

    Attributes:
        by: `person`, `limit`, `gate` or `offer`.
        who: the person, where it was one.
        why: a sentence, with the figures.
    """

    model: str
    name: str
    by: str
    who: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Expiring:
    """What counts until some time: a role's signature, or a certificate.

    Attributes:
        name: what it is, for people.
        expires_s: when it ends.
        life_s: how long it counts in all.
    """

    name: str
    expires_s: float
    life_s: float


@dataclass(frozen=True, slots=True)
class RunningRelease:
    """A release, and how many devices run it."""

    model: str
    version: str
    devices: int


@dataclass(frozen=True, slots=True)
class SupportFacts:
    """A release that devices run, and that its publisher supports until some time.

    Attributes:
        until_s: when its support ends.
        devices: how many run it.
    """

    model: str
    version: str
    until_s: float
    devices: int


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """How a broker stands with `serve`.

    Attributes:
        reason: the word for what is wrong; empty where nothing is.
        detail: the words for it.
    """

    name: str
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is looked at.

    Attributes:
        devices: those of which something may be wrong, at least; None: not known.
        is_heard: whether everything is heard that devices say, and has been for long enough.
        releases: of each model, the offered one.
        supports: releases that devices run and whose support has an end.
        database: the words for why the database cannot be written; empty where it can.
    """

    now_s: float
    devices: Sequence[DeviceFacts] | None = None
    is_heard: bool = False
    releases: Sequence[ReleaseFacts] | None = None
    rollouts: Sequence[PausedRollout] | None = None
    signatures: Sequence[Expiring] | None = None
    certificates: Sequence[Expiring] | None = None
    supports: Sequence[SupportFacts] | None = None
    brokers: Sequence[BrokerFacts] = ()
    database: str = ""
