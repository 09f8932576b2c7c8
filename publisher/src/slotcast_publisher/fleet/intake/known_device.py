"""What of a device has to be known to take its next message. Read from the database, then pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from slotcast_publisher.fleet.database.kept_counts import ModelStanding
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State

SESSIONS_MAX: Final = 4
"""The number of runs of a device's software that are remembered, to know one again that comes
back."""

Step = tuple[str, str, int, int, str]
"""Where a model stands, as far as the history goes: state, reason, sequence that runs, sequence
that is wanted, deployment."""


def step_of(status: ModelStatus) -> Step:
    """Say where a model stands; two statuses of one step differ in progress and figures only."""
    target = status.target
    return (
        State(status.state).value,
        status.reason,
        0 if status.active is None else status.active.sequence,
        0 if target is None else target.sequence,
        "" if target is None else target.deployment,
    )


def wanted_by(step: Step) -> int:
    """Give the sequence of the release that is wanted."""
    return step[3]


@dataclass(slots=True)
class DeviceRecord:
    """One device, as it is known; `taking` changes it.

    Attributes:
        is_new: whether nothing was known of it.
        seen_s: when something of it came, by the clock of this machine; 0 for never.
        counter: the highest of its statuses; None before the first.
        digest: of that status, 8 bytes, to tell one that is doubled from one that contradicts.
        status_session: of the presence, when that status came.
        status_at_s: when it was sent, by the device's clock.
        status_heard_s: when it came, by the clock of this machine.
        online: by the last presence.
        online_since_s: when it said so first, by the clock of this machine.
        presence_at_s: when its connection began, by the device's clock; None before the first.
        sessions: runs of its software that said that they are online, the last one last.
        metrics_counter: the highest of its metrics; None before the first.
        metrics_seen: which were seen below that (`counters.take_number`).
        metrics_session: as `status_session`.
        metrics_at_s: as `status_at_s`.
        metrics_heard_s: as `status_heard_s`.
        metrics_lost: summaries that the device had to forget before they could be sent.
        metrics_era: how often its counter of metrics has begun anew.
        figures_spent: requests that it spoke of, less those that it may have answered since.
        figures_at_s: when that was so, by the clock of this machine.
        twins_seen_s: when two devices were last seen to have this id; None for never.
        twins_why: by what, for people.
        began_anew_s: when its counter began from the beginning again; None for never.
        models: where each of its models stands.
        counted: as what its models are counted in the database.
        tags: as the database has them, in JSON.
        key_id: of the key that signed what the counters count; empty for none yet.
        signed: what the signature of its last status says (`report_proof.SignedWord`).
        refused_s: when a report in its name was last refused; None for never.
        refused_why: for what (`messages.Drop`).
        refused_count: how many were.
    """

    id: str
    is_new: bool = False
    seen_s: float = 0.0
    counter: int | None = None
    digest: bytes = b""
    status_session: str = ""
    status_at_s: int = 0
    status_heard_s: float = 0.0
    online: bool = False
    online_since_s: float = 0.0
    presence_at_s: int | None = None
    sessions: tuple[str, ...] = ()
    metrics_counter: int | None = None
    metrics_seen: int = 0
    metrics_session: str = ""
    metrics_at_s: int = 0
    metrics_heard_s: float = 0.0
    metrics_lost: int = 0
    metrics_era: int = 0
    figures_spent: float = 0.0
    figures_at_s: float = 0.0
    twins_seen_s: float | None = None
    twins_why: str = ""
    began_anew_s: float | None = None
    models: dict[str, Step] = field(default_factory=dict)
    counted: set[ModelStanding] = field(default_factory=set)
    tags: str = ""
    key_id: str = ""
    signed: str = ""
    refused_s: float | None = None
    refused_why: str = ""
    refused_count: int = 0

    @property
    def session(self) -> str:
        """The run of its software that said last that it is online; empty if none ever did."""
        return self.sessions[-1] if self.sessions else ""

    def note_refused(self, now_s: float, why: str) -> None:
        """A report came in its name that was not believed.

        Args:
            now_s: the clock of this machine, in seconds since 1970.
            why: the word for it.
        """
        self.refused_s, self.refused_why = now_s, why
        self.refused_count += 1

    def note_twins(self, now_s: float, why: str) -> None:
        """Two devices were seen to have this id.

        Args:
            now_s: the clock of this machine, in seconds since 1970.
            why: by what, for people.
        """
        self.twins_seen_s, self.twins_why = now_s, why
