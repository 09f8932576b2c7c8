"""The kinds of alarms, and how long a condition must last before one is raised or cleared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class AlarmKind(StrEnum):
    """What can need a person."""

    DEVICE_SILENT = "device_silent"
    """A device is offline, and nothing was heard of it for long."""
    DISK_LOW = "disk_low"
    """A device has too little room for another release."""
    CLOCK_OFF = "clock_off"
    """A device's clock is wrong: it may refuse good signatures, or take old ones."""
    ID_SHARED = "id_shared"
    """Two devices use one id, and push each other off the broker."""
    REPORTS_REFUSED = "reports_refused"
    """Somebody reports as a device, and has not its key or shows what it said before."""
    RELEASE_FAILING = "release_failing"
    """More devices fail to take the offered release than chance explains."""
    ROLLOUT_PAUSED = "rollout_paused"
    """A rollout waits until a person lets it go on."""
    SIGNATURE_EXPIRING = "signature_expiring"
    """A role's signature ends soon, and nothing has renewed it."""
    CERTIFICATE_EXPIRING = "certificate_expiring"
    """A certificate ends soon; then connections fail."""
    SUPPORT_ENDING = "support_ending"
    """Devices run a release whose support ends soon, or has ended."""
    BROKER_REFUSING = "broker_refusing"
    """A broker answers and refuses: rights, quotas, or it is full."""
    BROKER_UNREACHABLE = "broker_unreachable"
    """A broker does not answer."""
    DATABASE_FAILING = "database_failing"
    """The fleet's database cannot be written: history is being lost, rollouts stand still."""


@dataclass(frozen=True, slots=True)
class KindFacts:
    """What is the same for all alarms of a kind.

    Attributes:
        about: what its subject is: the name of a field of the log, or empty.
        raise_after_s: how long the condition must hold before an alarm is raised. What begins
            within that time is seen together, and counted in one alarm if it is much.
        clear_after_s: how long it must have ended before the alarm is cleared.
    """

    about: str
    raise_after_s: float
    clear_after_s: float


FACTS: Final = {
    AlarmKind.DEVICE_SILENT: KindFacts("device", 60.0, 0.0),
    AlarmKind.DISK_LOW: KindFacts("device", 60.0, 300.0),
    AlarmKind.CLOCK_OFF: KindFacts("device", 60.0, 300.0),
    AlarmKind.ID_SHARED: KindFacts("device", 0.0, 0.0),
    AlarmKind.REPORTS_REFUSED: KindFacts("device", 0.0, 0.0),
    AlarmKind.RELEASE_FAILING: KindFacts("model", 0.0, 300.0),
    AlarmKind.ROLLOUT_PAUSED: KindFacts("rollout", 0.0, 0.0),
    AlarmKind.SIGNATURE_EXPIRING: KindFacts("", 0.0, 0.0),
    AlarmKind.CERTIFICATE_EXPIRING: KindFacts("", 0.0, 0.0),
    AlarmKind.SUPPORT_ENDING: KindFacts("model", 0.0, 0.0),
    AlarmKind.BROKER_REFUSING: KindFacts("broker", 60.0, 120.0),
    AlarmKind.BROKER_UNREACHABLE: KindFacts("broker", 120.0, 120.0),
    AlarmKind.DATABASE_FAILING: KindFacts("", 30.0, 60.0),
}
"""One row for each kind."""
