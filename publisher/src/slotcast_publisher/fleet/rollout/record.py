"""What is known of one rollout, durably: where it stands, group by group, and who paused it.

The signed offer is the truth about what devices may do, and the record follows it
(`group_progress`); a record that is lost is made anew from plan and offer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.state_table import (
    GroupEvent,
    GroupState,
    RolloutEvent,
    RolloutState,
    follow_group,
    follow_rollout,
)

PausedBy = Literal["person", "limit", "gate", "offer"]
"""Who paused a rollout; `offer`: it was found paused, or changed by hand, in the signed offer."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a rollout is paused.

    Attributes:
        by: what kind of thing paused it.
        who: the person, where it was one.
        why: a sentence for people, with the figures.
        limits: the limits that were broken, as `GROUP/LIMIT`; who resumes accepts them.
    """

    by: PausedBy
    who: str = ""
    why: str = ""
    limits: tuple[str, ...] = ()


class GroupRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where one group stands.

    Attributes:
        percent: how much of it is let in, 0 to 100.
        step: which of the plan's steps it is at, from 0 on.
        opened_s: when it was first let in, seconds since 1970; 0 if it was not.
        reached: whether enough devices of the present step had committed at the last look.
        soaked_s: how long it was watched since enough devices have committed.
        agreed: which of its gates have said yes.
        turn: grows whenever what its gates were asked about has changed; an answer to an older
            question does not count.
    """

    name: str
    state: GroupState = GroupState.WAITING
    percent: float = 0.0
    step: int = 0
    opened_s: int = 0
    reached: bool = False
    soaked_s: float = 0.0
    agreed: tuple[str, ...] = ()
    turn: int = 0

    def moved(self, event: GroupEvent, **changes: object) -> GroupRecord:
        """Give it after an event; what it was watched for counts no more once it falls back."""
        state = follow_group(self.state, event)
        if event in {GroupEvent.FELL, GroupEvent.HELD, GroupEvent.OPENED}:
            return self.watched_anew(state=state, **changes)
        return self.changed(state=state, **changes)

    def changed(self, **changes: object) -> GroupRecord:
        """Give it with other values."""
        return msgspec.structs.replace(self, **changes)

    def watched_anew(self, **changes: object) -> GroupRecord:
        """Give it with other values, and nothing of what it was watched for, or asked about."""
        given = {"reached": False, "soaked_s": 0.0, "agreed": (), "turn": self.turn + 1}
        return self.changed(**given, **changes)

    def begun_anew(self) -> GroupRecord:
        """Give it as if it had never been let in: the next release begins."""
        return GroupRecord(
            name=self.name,
            state=follow_group(self.state, GroupEvent.BEGUN_ANEW),
            turn=self.turn + 1,
        )


class RolloutRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout stands.

    Attributes:
        leg: which of the plan's releases is rolled out, from 0 on; the last is the plan's own.
        attempt: raised to have failed devices try again.
        pause: set while PAUSED.
        accepted: limits that a person has seen broken and let pass, as `GROUP/LIMIT`.
        accepted_failures: how many failed devices a person has seen.
        behind: devices that have not committed the stepping stone before; held back by id.
        going_back: whether the old content is what is offered now.
        why: of an end, a sentence for people.
        answered: the last requests of persons, so that a request that comes twice counts once.
        seen_offer: fingerprint of the signed offer that this record was made beside.
        looked_s: when it was looked at last, seconds since 1970; 0 for never.
        listening_since_s: since when devices could be heard without a gap.
        preparing_since_s: since when deltas are waited for; 0 while they are not.
        back_to: the release of the old content that a person chose to go back to; the plan's
            `go_back_to` where empty.
    """

    name: str
    state: RolloutState = RolloutState.DRAFT
    leg: int = 0
    attempt: int = 1
    groups: tuple[GroupRecord, ...] = ()
    pause: Pause | None = None
    accepted: tuple[str, ...] = ()
    accepted_failures: int = 0
    behind: tuple[str, ...] = ()
    going_back: bool = False
    why: str = ""
    answered: tuple[str, ...] = ()
    seen_offer: str = ""
    looked_s: int = 0
    listening_since_s: int = 0
    preparing_since_s: int = 0
    back_to: str = ""

    @property
    def deployment(self) -> str:
        """What devices report as their deployment: one name for each attempt."""
        return self.name if self.attempt == 1 else f"{self.name}~{self.attempt}"

    def gate_question(self, group: GroupRecord) -> str:
        """Give the key of the question whether a group may pass: another one each time."""
        return f"{self.deployment}/{self.leg}/{group.name}/{group.turn}"

    def moved(self, event: RolloutEvent, **changes: object) -> RolloutRecord:
        """Give it after an event."""
        return msgspec.structs.replace(self, state=follow_rollout(self.state, event), **changes)

    def changed(self, **changes: object) -> RolloutRecord:
        """Give it with other values, in the same state."""
        return msgspec.structs.replace(self, **changes)

    def with_groups(self, groups: Iterable[GroupRecord]) -> RolloutRecord:
        """Give it with other groups, in the order of the plan."""
        return msgspec.structs.replace(self, groups=tuple(groups))

    def with_group(self, group: GroupRecord) -> RolloutRecord:
        """Give it with one group changed, found by its name."""
        return self.with_groups(group if g.name == group.name else g for g in self.groups)


def way_back(plan: Plan, record: RolloutRecord) -> str | None:
    """Give the release of the old content that is offered to go back; None for none."""
    return record.back_to or plan.go_back_to


def new_record(plan: Plan) -> RolloutRecord:
    """Make the record of a plan that nobody has started."""
    groups = tuple(GroupRecord(name=group.name) for group in plan.groups)
    return RolloutRecord(name=plan.name, groups=groups)
