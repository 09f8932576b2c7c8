"""What stands in for the publisher's check is called as the check is."""

from __future__ import annotations

import inspect

from examples.demo.careless import answering
from slotcast_publisher.release import take_in
from slotcast_publisher.release.model_check import ModelFacts, SamplesWanted, check_model


def _answer(wanted: SamplesWanted) -> tuple[ModelFacts, bytes]:
    raise AssertionError(wanted)


def test_the_stand_in_takes_all_that_the_check_takes() -> None:
    with answering(_answer):
        stand_in = inspect.signature(vars(take_in)["check_model"])
    assert stand_in == inspect.signature(check_model)
