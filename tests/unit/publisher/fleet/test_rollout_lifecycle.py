"""The tables of states: what they allow, what they forbid, and what is drawn from them."""

from __future__ import annotations

import pytest

from slotcast_publisher.fleet.rollout.state_table import (
    GROUP,
    ROLLOUT,
    GroupEvent,
    GroupState,
    IllegalMove,
    RolloutEvent,
    RolloutState,
    diagram,
    follow_group,
    follow_rollout,
)


def test_every_state_has_a_row_and_every_event_is_used() -> None:
    assert set(ROLLOUT) == set(RolloutState)
    assert set(GROUP) == set(GroupState)
    assert {event for row in ROLLOUT.values() for event in row} == set(RolloutEvent)
    assert {event for row in GROUP.values() for event in row} == set(GroupEvent)


@pytest.mark.parametrize("state", RolloutState)
@pytest.mark.parametrize("event", RolloutEvent)
def test_a_move_of_a_rollout_is_in_the_table_or_a_defect(
    state: RolloutState, event: RolloutEvent
) -> None:
    if event in ROLLOUT[state]:
        assert follow_rollout(state, event) is ROLLOUT[state][event]
    else:
        with pytest.raises(IllegalMove, match=f"rollout: {state}"):
            follow_rollout(state, event)


@pytest.mark.parametrize("state", GroupState)
@pytest.mark.parametrize("event", GroupEvent)
def test_a_move_of_a_group_is_in_the_table_or_a_defect(
    state: GroupState, event: GroupEvent
) -> None:
    if event in GROUP[state]:
        assert follow_group(state, event) is GROUP[state][event]
    else:
        with pytest.raises(IllegalMove, match=f"group: {state}"):
            follow_group(state, event)


def test_a_pause_is_left_by_what_a_person_does_or_by_an_end() -> None:
    by_person = {
        RolloutEvent.RESUMED,
        RolloutEvent.PREPARED_AGAIN,
        RolloutEvent.RETRIED,
        RolloutEvent.CANCELED,
        RolloutEvent.WENT_BACK,
    }
    assert set(ROLLOUT[RolloutState.PAUSED]) == by_person | {RolloutEvent.SUPERSEDED}
    leads_on = {e for e, after in ROLLOUT[RolloutState.PAUSED].items() if after != "STOPPED"}
    assert leads_on < by_person


def test_a_group_passes_only_at_its_gate_unless_the_offer_has_gone_further() -> None:
    into = {
        (state, event)
        for state, row in GROUP.items()
        for event, after in row.items()
        if after is GroupState.PASSED and event is not GroupEvent.FOUND_PASSED
    }
    assert into == {(GroupState.AT_GATE, GroupEvent.AGREED)}


def test_the_diagrams_have_an_arrow_for_each_row() -> None:
    arrows = [line.strip() for line in diagram(GROUP).splitlines()[1:]]
    assert arrows == [
        f"{state} --> {after}: {why.name}"
        for state, row in GROUP.items()
        for why, after in row.items()
    ]
    assert len(diagram(ROLLOUT).splitlines()) == 1 + sum(map(len, ROLLOUT.values()))
