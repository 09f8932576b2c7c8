"""The table of states: what it allows, what it forbids, and what is drawn from it."""

from __future__ import annotations

import random

import pytest

from slotcast_device.core.events import Now
from slotcast_device.core.record import UpdateRecord
from slotcast_device.core.state import ModelState, Update
from slotcast_device.core.state_table import FOLLOWS, Happening, IllegalMove, diagram, follow
from slotcast_schemas.backoff import Backoff
from slotcast_schemas.states import SETTLED, State

ALL = [(state, happening) for state in State for happening in Happening]


def test_every_state_has_a_row() -> None:
    assert set(FOLLOWS) == set(State)


@pytest.mark.parametrize(("state", "happening"), ALL)
def test_a_move_is_in_the_table_or_leaves_the_record_as_it_was(
    state: State, happening: Happening
) -> None:
    record = UpdateRecord("clf", Backoff(random.Random(1)))
    update = Update(version="1", sequence=1, release_sha256=b"", state=state, reason="before")
    record.recovered(ModelState(model="clf", update=update), {})
    before = record.state
    if happening in FOLLOWS[state]:
        record.move(happening, "after", Now(0.0, 7))
        assert record.phase is FOLLOWS[state][happening]
        assert record.reason == "after"
    else:
        with pytest.raises(IllegalMove, match=state):
            record.move(happening, "after", Now(0.0, 7))
        assert record.state == before


def test_a_release_serves_only_after_it_was_collected_built_and_found_fit() -> None:
    path = [Happening.OFFERED, Happening.COLLECTED, Happening.BUILT, Happening.FIT]
    state = State.IDLE
    for happening in path:
        state = follow(state, happening)
    assert state is State.ACTIVATING
    into = {s for s, row in FOLLOWS.items() if State.ACTIVATING in row.values()}
    assert into == {State.VERIFIED}
    into = {s for s, row in FOLLOWS.items() if State.COMMITTED in row.values()}
    assert into == {State.TRIAL}


def test_every_state_can_be_left_and_every_ending_reached() -> None:
    assert all(FOLLOWS[state] for state in State)
    reached = {after for row in FOLLOWS.values() for after in row.values()}
    assert reached >= SETTLED


def test_once_switched_no_notice_moves_the_update_but_a_cancel() -> None:
    notices = {Happening.OFFERED, Happening.HELD, Happening.SETTLED, Happening.REFUSED}
    for state in (State.ACTIVATING, State.TRIAL):
        assert not notices & set(FOLLOWS[state])


def test_the_diagram_has_an_arrow_for_each_row_and_no_other() -> None:
    first, *lines = diagram().splitlines()
    assert first == "stateDiagram-v2", "the word by which Mermaid knows what to draw"
    arrows = [line.strip() for line in lines]
    rows = [
        f"{state} --> {after}: {why.name}"
        for state, row in FOLLOWS.items()
        for why, after in row.items()
    ]
    assert arrows == rows
