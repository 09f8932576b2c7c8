"""Whether a larger share of failures is the release's fault or chance."""

from __future__ import annotations

import math
import random

import pytest

from slotcast_device.trial.shares import SURE, SUSPECT, Share, doubt

CLEAN = Share(0, 10_000)
NONE = Share(0, 0)


def test_a_share_within_its_limit_is_never_doubted() -> None:
    assert doubt(Share(1, 100), CLEAN, 0.01) == 0.0
    assert doubt(Share(1000, 10_000), Share(90, 1000), 0.01) == 0.0


@pytest.mark.parametrize("old", [CLEAN, NONE])
def test_one_failure_is_never_sure_and_many_are(old: Share) -> None:
    for of in range(1, 100):
        assert doubt(Share(1, of), old, 0.01) <= 2 * SUSPECT < SURE
    assert doubt(Share(1, 40), old, 0.01) > SUSPECT
    assert doubt(Share(6, 40), old, 0.01) > SURE


def test_without_figures_of_an_old_release_few_requests_above_the_limit_hold_a_trial_open() -> None:
    """Two of nineteen come by chance once in sixty trials of an application that fails 1 %."""
    assert SUSPECT < doubt(Share(2, 19), NONE, 0.01) < SURE
    assert SUSPECT < doubt(Share(3, 250), NONE, 0.01) < SURE
    assert doubt(Share(19, 190), NONE, 0.01) > SURE


@pytest.mark.parametrize("of", [4, 40, 400, 4000])
def test_what_is_told_from_the_limit_alone_is_the_binomial_tail_or_a_little_less(of: int) -> None:
    allowed = 0.01
    for failed in range(int(of * allowed) + 1, int(of * allowed) + 30):
        if failed > of:
            break
        tail = math.fsum(
            math.comb(of, k) * allowed**k * (1 - allowed) ** (of - k)
            for k in range(failed, min(of, failed + 60) + 1)
        )
        told = doubt(Share(failed, of), NONE, allowed)
        if failed > 1 and told > 2 * SUSPECT:
            assert told <= -math.log(tail) + 1e-6 < told + 0.1


def test_where_none_is_allowed_one_is_too_many_unless_the_old_release_was_hardly_looked_at() -> (
    None
):
    assert doubt(Share(1, 500), CLEAN, 0.0) == math.inf
    assert doubt(Share(1, 500), NONE, 0.0) == math.inf
    assert doubt(Share(1, 60), Share(0, 30), 0.0) < SUSPECT
    assert doubt(Share(25, 60), Share(0, 30), 0.0) > SURE


@pytest.mark.parametrize(("rate", "old_of"), [(0.05, 60), (0.05, 1000), (0.2, 300)])
def test_releases_that_are_alike_are_hardly_ever_told_apart(rate: float, old_of: int) -> None:
    """Each is looked at at every request up to two thousand, as often as no trial is."""
    rng = random.Random(1)
    wrong = 0
    for _ in range(300):
        old = Share(sum(rng.random() < rate for _ in range(old_of)), old_of)
        failed = 0
        for of in range(1, 2001):
            failed += rng.random() < rate
            if of % 20 == 0 and doubt(Share(failed, of), old, 0.01) > SURE:
                wrong += 1
                break
    assert wrong <= 3


@pytest.mark.parametrize(("rate", "more"), [(0.0, 0.05), (0.05, 0.2), (0.2, 0.3)])
def test_a_release_that_fails_clearly_more_is_told_within_some_hundred_requests(
    rate: float, more: float
) -> None:
    rng = random.Random(2)
    for _ in range(200):
        old = Share(sum(rng.random() < rate for _ in range(500)), 500)
        failed = of = 0
        while doubt(Share(failed, of), old, 0.01) <= SURE:
            failed, of = failed + sum(rng.random() < rate + more for _ in range(5)), of + 5
            assert of < 600
