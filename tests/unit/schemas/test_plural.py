"""Numbers of things in words."""

from __future__ import annotations

import pytest

from slotcast_schemas.plural import part_of, several, word_for


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0 devices have"),
        (1, "1 device has"),
        (2, "2 devices have"),
        (1000, "1,000 devices have"),
    ],
)
def test_one_is_said_without_an_s(number: int, said: str) -> None:
    has = word_for(number, "has", "have")
    assert f"{several(number, 'device')} {has}" == said
    assert f"{part_of(1, number, 'device')} {has}" == f"1 of {said}"
