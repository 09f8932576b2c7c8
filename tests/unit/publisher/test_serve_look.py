"""When a look at what a broker keeps is over, and how a gap in what it sent is told."""

from __future__ import annotations

import pytest

from slotcast_publisher.delivery.packet_ids import PacketIds
from slotcast_publisher.serve.look import KeptLook, LookStep


def a_look() -> KeptLook:
    """A look whose only SUBSCRIBE has number 1, at 0 s."""
    look = KeptLook(5.0, 0.0)
    look.ask(1)
    return look


def test_a_look_ends_by_its_proof() -> None:
    look = a_look()
    look.came("fleet/a", 1.0)
    assert look.next_step(60.0) is LookStep.WAIT, "SUBSCRIBE is not answered"
    look.answer(1, 60.0)
    assert [look.next_step(at) for at in (60.0, 64.9, 65.0)] == [
        LookStep.WAIT,
        LookStep.WAIT,
        LookStep.PROVE,
    ]
    look.begin_proof(65.0)
    assert look.next_step(65.1) is LookStep.WAIT
    look.came("fleet/a", 65.2)
    look.ask_proof(2)
    assert look.is_proof(2)
    assert look.retained == 1, "what proves is none of those looked for, however soon it comes"
    assert look.next_step(65.2) is LookStep.END
    assert look.is_over
    assert look.next_step(99.0) is LookStep.WAIT, "it ends once"


def test_a_look_ends_where_nobody_answers_its_proof() -> None:
    look = a_look()
    look.came("fleet/a", 1.0)
    look.answer(1, 1.0)
    look.begin_proof(6.0)
    look.ask_proof(2)
    assert [look.next_step(at) for at in (10.9, 11.0)] == [LookStep.WAIT, LookStep.END]


def test_a_look_at_a_broker_that_keeps_nothing_needs_no_proof() -> None:
    look = a_look()
    look.answer(1, 1.0)
    assert [look.next_step(at) for at in (5.9, 6.0)] == [LookStep.WAIT, LookStep.END]


@pytest.mark.parametrize(
    ("came", "missing"),
    [
        ([], 0),
        ([7], 0),
        ([1, 2, 3], 0),
        ([1, 2, 6], 3),
        ([65_534, 65_535, 1, 2], 0),
        ([65_534, 2], 2),
        ([1, 5, 2, 9], 0),
        ([1, 40_000], 0),
        ([3, 3], 0),
    ],
)
def test_a_gap_in_numbers_that_go_up_is_what_is_missing(came: list[int], missing: int) -> None:
    ids = PacketIds()
    for number in came:
        ids.saw(number)
    assert ids.missing == missing
