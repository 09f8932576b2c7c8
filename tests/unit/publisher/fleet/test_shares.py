"""How sure a share is: the numbers that people know, and verdicts that wait for enough."""

from __future__ import annotations

import pytest

from slotcast_publisher.fleet.figures.shares import (
    Share,
    difference,
    is_surely_above,
    wilson,
)


def test_wilsons_interval_is_that_of_the_books() -> None:
    # Newcombe, Two-sided confidence intervals for the single proportion, 1998, table I.
    assert wilson(81, 263, 0.95).low == pytest.approx(0.2553, abs=1e-4)
    assert wilson(81, 263, 0.95).high == pytest.approx(0.3662, abs=1e-4)
    assert wilson(15, 148, 0.95).low == pytest.approx(0.0624, abs=1e-4)
    assert wilson(0, 20, 0.95).low == 0.0
    assert wilson(0, 20, 0.95).high == pytest.approx(0.1611, abs=1e-4)
    assert wilson(1, 29, 0.95).low == pytest.approx(0.0061, abs=1e-4)


def test_of_none_nothing_is_known() -> None:
    assert (wilson(0, 0, 0.95).low, wilson(0, 0, 0.95).high) == (0.0, 1.0)
    assert not is_surely_above(Share(0, 0), 0.0, 0.95)


@pytest.mark.parametrize(
    ("hits", "of", "limit", "verdict"),
    [
        (1, 3, 0.05, False),  # one failure of three in a group of 200 says nothing yet
        (12, 40, 0.05, True),
        (3, 10, 0.05, True),  # a third of the canaries
        (2, 10, 0.05, False),
        (1, 1, 0.05, False),
        (2, 2, 0.05, True),
        (1, 10_000, 0.0, True),  # where none is allowed, one is too many
        (6, 100, 0.05, False),
        (600, 10_000, 0.05, True),
    ],
)
def test_a_share_is_judged_only_where_chance_does_not_explain_it(
    hits: int, of: int, limit: float, *, verdict: bool
) -> None:
    assert is_surely_above(Share(hits, of), limit, 0.95) is verdict


def test_a_wilson_bound_above_the_limit_alone_is_no_verdict() -> None:
    assert wilson(1, 3, 0.95).low > 0.05
    assert not is_surely_above(Share(1, 3), 0.05, 0.95)


def test_a_difference_of_shares_is_newcombes() -> None:
    # Newcombe 1998 (difference of independent proportions), table II: 56/70 - 48/80, method 10.
    bounds = difference(Share(56, 70), Share(48, 80), 0.95)
    assert bounds.low == pytest.approx(0.0524, abs=1e-4)
    assert bounds.high == pytest.approx(0.3339, abs=1e-4)
