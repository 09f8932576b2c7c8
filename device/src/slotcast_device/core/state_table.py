"""Which state may follow which: the table that the code obeys and the docs are drawn from.

An event without a row is an error of the caller and leaves the state as it was: the core says so
in the log, takes back what the event had changed, and goes on.
`python -m slotcast_device.core.state_table` prints the diagram in docs/states.md (Mermaid).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from slotcast_schemas.states import State


class Happening(StrEnum):
    """What moves an update on."""

    OFFERED = "a release to install is offered"
    HELD = "the update must wait"
    SETTLED = "the notice asks for nothing new"
    REFUSED = "the notice or release is refused"
    CANCELED = "the publisher cancels"
    COLLECTED = "every needed chunk is on disk"
    BUILT = "every file in standby is verified"
    FIT = "the probe passes"
    SWITCHED = "current opens the new release"
    PASSED = "the trial passes"
    UNFIT = "probe or trial fails"
    RECALLED = "a person asks to go back"
    BROKEN = "storage, payload or transfer fails"


FETCHING: Final = frozenset({State.DOWNLOADING, State.DOWNLOADED, State.VERIFIED})
"""The states in which an update is under way, and `current` still opens the old release."""
SWITCHED: Final = frozenset({State.ACTIVATING, State.TRIAL})
"""The states in which `current` opens the new release, or is about to."""

_H = Happening
"""A short name, so that a row of the table is a line."""
_OPEN: Final[Mapping[Happening, State]] = {
    _H.OFFERED: State.DOWNLOADING,
    _H.HELD: State.QUEUED,
    _H.SETTLED: State.IDLE,
    _H.REFUSED: State.REJECTED,
    _H.CANCELED: State.CANCELED,
    _H.BROKEN: State.FAILED,
    _H.RECALLED: State.TRIAL,
}
"""What a notice, or a person, may do to a state in which nothing is under way.

A recall puts the active release on trial with its verdict set: the way back is then the same, and
as safe, as after a failed trial. It may also come while chunks of another release are collected:
the standby slot still holds the old release then, so going back does not wait for them.
"""

_UNDER_WAY: Final[Mapping[Happening, State]] = {
    _H.OFFERED: State.DOWNLOADING,
    _H.HELD: State.QUEUED,
    _H.SETTLED: State.IDLE,
    _H.CANCELED: State.CANCELED,
    _H.BROKEN: State.FAILED,
    _H.REFUSED: State.REJECTED,
}
"""What a notice, or a failure, may do to an update that is under way and has not switched."""

FOLLOWS: Final[Mapping[State, Mapping[Happening, State]]] = {
    State.IDLE: _OPEN,
    State.QUEUED: _OPEN,
    State.COMMITTED: _OPEN,
    State.ROLLED_BACK: _OPEN,
    State.FAILED: _OPEN,
    State.REJECTED: _OPEN,
    State.CANCELED: _OPEN,
    State.DOWNLOADING: {
        **_UNDER_WAY,
        _H.COLLECTED: State.DOWNLOADED,
        _H.RECALLED: State.TRIAL,
    },
    State.DOWNLOADED: {**_UNDER_WAY, _H.BUILT: State.VERIFIED},
    State.VERIFIED: {
        **_UNDER_WAY,
        _H.FIT: State.ACTIVATING,
        _H.UNFIT: State.FAILED,
    },
    State.ACTIVATING: {
        _H.SWITCHED: State.TRIAL,
        _H.BROKEN: State.FAILED,
        _H.UNFIT: State.ROLLED_BACK,
    },
    State.TRIAL: {
        _H.PASSED: State.COMMITTED,
        _H.UNFIT: State.ROLLED_BACK,
        _H.CANCELED: State.ROLLED_BACK,
    },
}
"""The table: for each state, what may happen to an update in it, and the state that follows."""


class IllegalMove(Exception):
    """An event came in a state that has no row for it: a defect of this software."""


def follow(state: State, happening: Happening) -> State:
    """Give the next state.

    Raises:
        IllegalMove: the table has no such row.
    """
    try:
        return FOLLOWS[state][happening]
    except KeyError:
        raise IllegalMove(f"{state}: {happening.name} has no row in the table") from None


def diagram() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2"]
    for state, row in FOLLOWS.items():
        lines += [f"    {state} --> {after}: {why.name}" for why, after in row.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(diagram())
