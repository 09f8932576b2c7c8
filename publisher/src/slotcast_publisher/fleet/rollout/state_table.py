"""Which state of a rollout, and of a group, may follow which: the tables that the engine obeys.

`python -m slotcast_publisher.fleet.rollout.state_table` prints the diagrams in docs/fleet.md
(Mermaid); a test keeps that page in step.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar


class RolloutState(StrEnum):
    """Where a rollout stands."""

    DRAFT = "DRAFT"
    """A plan that nobody has started."""
    PREPARING = "PREPARING"
    """Deltas are made for what devices run."""
    READY = "READY"
    """The first group may be let in, and its window is not open yet."""
    RUNNING = "RUNNING"
    """Groups are let in, one after the other."""
    PAUSED = "PAUSED"
    """No device may begin; a person, a limit or a gate said so. Only a person lets it go on."""
    FINISHED = "FINISHED"
    """Every group has passed; devices that come later follow."""
    STOPPED = "STOPPED"
    """Canceled, gone back, or another release took its place."""


class GroupState(StrEnum):
    """Where one group of a rollout stands."""

    WAITING = "WAITING"
    """Its turn has not come; none of its devices may begin."""
    RUNNING = "RUNNING"
    """Its devices are let in, all at once or in steps."""
    SOAKING = "SOAKING"
    """Enough of them have committed, and they are watched for a while."""
    AT_GATE = "AT_GATE"
    """A person, a command or a URL has to agree."""
    PASSED = "PASSED"
    """The next group may be let in."""
    PAUSED = "PAUSED"
    """It was let in, and the rollout is paused."""


class RolloutEvent(StrEnum):
    """What moves a rollout on."""

    STARTED = "a person starts it"
    PREPARED = "deltas are made, or their time is over"
    OPENED = "the first group is let in"
    ADOPTED = "the signed offer has gone further than what was recorded"
    HELD = "a person, a limit or a gate pauses it"
    RESUMED = "a person lets it go on"
    PREPARED_AGAIN = "a person lets it go on before a group was let in"
    PASSED = "every group has passed"
    RETRIED = "a person has failed devices try again"
    CANCELED = "a person, or a limit, takes it back"
    WENT_BACK = "the old content is offered again"
    SUPERSEDED = "a newer release was offered"


class GroupEvent(StrEnum):
    """What moves a group on."""

    OPENED = "its first devices are let in"
    REACHED = "enough devices have committed"
    FELL = "not enough devices have committed any more"
    SOAKED = "it was watched long enough"
    AGREED = "its gate is open, or it has none"
    FOUND_PASSED = "the signed offer lets a later group in"
    HELD = "the rollout is paused"
    RELEASED = "the rollout goes on"
    BEGUN_ANEW = "the next release of the rollout begins"


OVER: Final = frozenset({RolloutState.DRAFT, RolloutState.FINISHED, RolloutState.STOPPED})
"""States in which a rollout is not under way."""

_R, _E = RolloutState, RolloutEvent
"""Short names, so that a row of the table is a line."""
_ENDED: Final = {_E.CANCELED: _R.STOPPED, _E.SUPERSEDED: _R.STOPPED}
"""What ends a rollout at any time."""

ROLLOUT: Final[Mapping[RolloutState, Mapping[RolloutEvent, RolloutState]]] = {
    _R.DRAFT: {**_ENDED, _E.STARTED: _R.PREPARING, _E.ADOPTED: _R.RUNNING},
    _R.PREPARING: {
        **_ENDED,
        _E.PREPARED: _R.READY,
        _E.HELD: _R.PAUSED,
        _E.ADOPTED: _R.RUNNING,
    },
    _R.READY: {**_ENDED, _E.OPENED: _R.RUNNING, _E.HELD: _R.PAUSED, _E.ADOPTED: _R.RUNNING},
    _R.RUNNING: {
        **_ENDED,
        _E.HELD: _R.PAUSED,
        _E.PASSED: _R.FINISHED,
        _E.RETRIED: _R.RUNNING,
        _E.WENT_BACK: _R.STOPPED,
    },
    _R.PAUSED: {
        **_ENDED,
        _E.RESUMED: _R.RUNNING,
        _E.PREPARED_AGAIN: _R.PREPARING,
        _E.RETRIED: _R.PAUSED,
        _E.WENT_BACK: _R.STOPPED,
    },
    _R.FINISHED: {
        _E.CANCELED: _R.STOPPED,
        _E.HELD: _R.PAUSED,
        _E.RETRIED: _R.FINISHED,
        _E.WENT_BACK: _R.STOPPED,
        _E.SUPERSEDED: _R.FINISHED,
    },
    _R.STOPPED: {_E.WENT_BACK: _R.STOPPED},
}
"""The table of rollouts: for each state, what may happen in it, and the state that follows."""

_G, _H = GroupState, GroupEvent
"""Short names, so that a row of the table is a line."""

GROUP: Final[Mapping[GroupState, Mapping[GroupEvent, GroupState]]] = {
    _G.WAITING: {_H.OPENED: _G.RUNNING, _H.FOUND_PASSED: _G.PASSED},
    _G.RUNNING: {_H.REACHED: _G.SOAKING, _H.HELD: _G.PAUSED, _H.FOUND_PASSED: _G.PASSED},
    _G.SOAKING: {
        _H.FELL: _G.RUNNING,
        _H.SOAKED: _G.AT_GATE,
        _H.HELD: _G.PAUSED,
        _H.FOUND_PASSED: _G.PASSED,
    },
    _G.AT_GATE: {
        _H.FELL: _G.RUNNING,
        _H.AGREED: _G.PASSED,
        _H.HELD: _G.PAUSED,
        _H.FOUND_PASSED: _G.PASSED,
    },
    _G.PAUSED: {_H.RELEASED: _G.RUNNING, _H.FOUND_PASSED: _G.PASSED},
    _G.PASSED: {_H.BEGUN_ANEW: _G.WAITING},
}
"""The table of groups, likewise."""

OPENED: Final = frozenset(GroupState) - {GroupState.WAITING}
"""The states of a group whose devices were let in, all or some of them."""


class IllegalMove(Exception):
    """An event came in a state that has no row for it: a defect of this software."""


S = TypeVar("S", RolloutState, GroupState)
E = TypeVar("E", RolloutEvent, GroupEvent)


def follow_rollout(state: RolloutState, event: RolloutEvent) -> RolloutState:
    """Give a rollout's next state.

    Raises:
        IllegalMove: the table has no such row.
    """
    if event not in ROLLOUT[state]:
        raise IllegalMove(f"rollout: {state}: {event.name} has no row in the table")
    return ROLLOUT[state][event]


def follow_group(state: GroupState, event: GroupEvent) -> GroupState:
    """Give a group's next state.

    Raises:
        IllegalMove: the table has no such row.
    """
    if event not in GROUP[state]:
        raise IllegalMove(f"group: {state}: {event.name} has no row in the table")
    return GROUP[state][event]


def diagram(table: Mapping[S, Mapping[E, S]]) -> str:
    """Draw a table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, row in table.items():
        lines += [f"    {state} --> {after}: {why.name}" for why, after in row.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(f"{diagram(ROLLOUT)}\n{diagram(GROUP)}")
