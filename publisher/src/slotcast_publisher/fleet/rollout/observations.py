"""What a rollout is decided by: what devices said last, what is offered, who has agreed.

A device's state is its last status, nothing else; the shell drops older ones by their counter. So
a status that is lost, late or doubled changes nothing that counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from slotcast_publisher.fleet.figures.comparison import FiguresPair
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures
from slotcast_schemas.messages.offer import Offer
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.reasons import Actor, Reason
from slotcast_schemas.states import State


class DeviceOutcome(StrEnum):
    """What a release came to on one device."""

    SUCCEEDED = "succeeded"
    """It runs there, and is committed."""
    FAILED = "failed"
    """It was refused, failed, or was rolled back."""
    UNDER_WAY = "under_way"
    """It is being fetched, built, tried, or is on trial."""
    HELD = "held"
    """The device's owner lets it wait: a window, consent, a hook, a costly link."""
    EXPECTED = "expected"
    """The device has not answered to this offer yet."""


SETTLED: Final = frozenset({DeviceOutcome.SUCCEEDED, DeviceOutcome.FAILED})
"""Outcomes that stay until the next attempt."""
_UNDER_WAY: Final = frozenset(
    {State.DOWNLOADING, State.DOWNLOADED, State.VERIFIED, State.ACTIVATING, State.TRIAL}
)
FAILED: Final = frozenset({State.FAILED, State.ROLLED_BACK, State.REJECTED})
"""States in which an update ended badly."""
NOT_ITS_FAULT: Final = frozenset(
    {
        Reason.CANCELED,
        Reason.BY_HAND,
        Reason.SET_BACK,
        Reason.SWITCHED_BY_HAND,
        Reason.EXPIRED,
        Reason.REPLAYED,
    }
)
"""Reasons of an end that say nothing of the release: the publisher took it back, a person went
back, or the notice was too old."""
_ACTORS: Final = {str(reason): reason.actor for reason in Reason}
_SWITCHED: Final = frozenset({State.TRIAL, State.COMMITTED, State.IDLE})


@dataclass(frozen=True, slots=True)
class HeldRelease:
    """A release that the repository holds.

    Attributes:
        sequence: what devices compare.
    """

    version: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Device:
    """One device, as it is known.

    Attributes:
        seen_s: when something of it came last, seconds since 1970 by the clock of this machine.
        status: of the model, from its last status; None if it never said anything of it.
        figures: what it reported of each release, by the release's sequence.
    """

    id: str
    seen_s: int
    online: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    status: ModelStatus | None = None
    figures: Mapping[int, ReleaseFigures] = field(default_factory=dict)

    @property
    def runs(self) -> int:
        """The sequence that its `current` opens; 0 for none."""
        status = self.status
        return 0 if status is None or status.active is None else status.active.sequence

    def has_committed(self, sequence: int) -> bool:
        """Whether this release, or a later one, has passed its trial and serves."""
        status = self.status
        if status is None or self.runs < sequence:
            return False
        return status.floor >= self.runs or status.state not in {State.ACTIVATING, State.TRIAL}

    def has_switched_to(self, sequence: int) -> bool:
        """Whether this release serves, on trial or for good."""
        return self.runs == sequence and self.status is not None and self.status.state in _SWITCHED

    def outcome(self, sequence: int, deployment: str) -> DeviceOutcome:
        """Say what a release came to here, by its sequence and the deployment that offered it."""
        if self.has_committed(sequence):
            return DeviceOutcome.SUCCEEDED
        status = self.status
        target = None if status is None else status.target
        if status is None or target is None or target.sequence != sequence:
            return DeviceOutcome.EXPECTED
        if status.state in _UNDER_WAY:
            return DeviceOutcome.UNDER_WAY
        if target.deployment != deployment:
            return DeviceOutcome.EXPECTED  # an answer to an earlier attempt
        if status.state in FAILED:
            return (
                DeviceOutcome.EXPECTED if status.reason in NOT_ITS_FAULT else DeviceOutcome.FAILED
            )
        is_owners = _ACTORS.get(status.reason) is Actor.OWNER
        return (
            DeviceOutcome.HELD
            if status.state is State.QUEUED and is_owners
            else DeviceOutcome.EXPECTED
        )

    def pair(self, sequence: int) -> FiguresPair | None:
        """Give its figures of a release beside those of the newest one before; None without."""
        new = self.figures.get(sequence)
        if new is None or not new.requests:
            return None
        before = max((s for s in self.figures if s < sequence), default=None)
        return FiguresPair(new, None if before is None else self.figures[before])


Answer = Literal["yes", "no", "not_yet"]
"""What a gate says."""


@dataclass(frozen=True, slots=True)
class GateAnswer:
    """What a command or a URL said.

    Attributes:
        question: the key of `look_results.AskGate` that it answers.
        kind: `command` or `url`.
        why: what it said, for people.
    """

    question: str
    kind: str
    answer: Answer
    why: str = ""


@dataclass(frozen=True, slots=True)
class Now:
    """The time, by the clock of this machine, which may jump.

    Attributes:
        wall_s: seconds since 1970.
        offset_s: what the plan's time zone is ahead of UTC now.
    """

    wall_s: int
    offset_s: int = 0


@dataclass(frozen=True, slots=True)
class Observations:
    """All that a rollout is decided by, as of now.

    Attributes:
        devices: those that have the model, or any that might get it; each once, by id.
        releases: what the repository holds of the model, by version.
        offer: the one that is signed for the model; None for none.
        answers: of gates, the last ones.
        is_prepared: the deltas are made, or as many as can be.
        knows_since_s: when what devices say began to be written down, seconds since 1970: what was
            known before is lost, and comes in again one device after the other.
        taken_over_by: the rollout that the present offer is of, where that one took this one's
            place; empty where none did. Its releases may be this one's, too: as stepping stones.
    """

    devices: Sequence[Device]
    releases: Mapping[str, HeldRelease]
    offer: Offer | None = None
    answers: Sequence[GateAnswer] = ()
    is_prepared: bool = True
    knows_since_s: int = 0
    taken_over_by: str = ""

    def listening_since_s(self, since_s: int, now_s: int) -> int:
        """Give since when devices are listened to whose words are still known.

        Args:
            since_s: since when there was no gap in listening.
            now_s: the time; what was made after it was made before the clock was set back.
        """
        return max(since_s, self.knows_since_s) if self.knows_since_s <= now_s else since_s
