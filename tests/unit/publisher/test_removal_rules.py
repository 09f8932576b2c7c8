"""What is taken off a broker when: after the grace, and never what a device may be fetching."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from slotcast_publisher.delivery.removal_rules import RemovalPlan, Stocked, Unused, plan_removal

GRACE_S = 100.0


def item(number: int, *, is_ours: bool = True) -> Stocked:
    return Stocked(bytes([number]) * 32, 10, 1, 1000, is_ours)


def plan(
    now_s: float,
    known: dict[str, Unused] | None = None,
    *,
    stock: Sequence[Stocked] = (item(1), item(2)),
    used: Collection[bytes] = (item(1).sha256,),
    fetched: Collection[bytes] = (),
) -> RemovalPlan:
    return plan_removal(stock, used, known or {}, fetched, now_s=now_s, grace_s=GRACE_S)


def test_what_became_unused_waits_for_the_grace_and_then_goes() -> None:
    first = plan(1000.0)
    assert (first.remove, first.next_s) == ((), 1100.0)
    assert plan(1099.0, first.unused).remove == ()
    last = plan(1100.0, first.unused)
    assert last.remove == (item(2),)
    assert (last.unused, last.next_s) == ({}, None)


def test_what_is_offered_again_is_kept_and_waits_anew_afterwards() -> None:
    first = plan(1000.0)
    again = plan(1050.0, first.unused, used={item(1).sha256, item(2).sha256})
    assert (again.remove, again.unused) == ((), {})
    assert plan(1120.0, again.unused).next_s == 1220.0


def test_what_a_device_fetches_stays_for_as_long_as_it_does() -> None:
    first = plan(1000.0)
    spared = plan(5000.0, first.unused, fetched={item(2).sha256})
    assert (spared.remove, spared.fetched) == ((), (item(2),))
    assert plan(5001.0, spared.unused).remove == (item(2),)


def test_what_a_device_asked_for_waits_from_then_on() -> None:
    asked = {item(2).sha256.hex(): Unused(since_s=1000.0, wanted_s=1080.0)}
    assert plan(1150.0, asked).remove == ()
    assert plan(1180.0, asked).remove == (item(2),)


def test_a_payload_that_others_made_is_never_taken_off() -> None:
    foreign = item(3, is_ours=False)
    first = plan(1000.0, stock=[foreign])
    assert plan(9999.0, first.unused, stock=[foreign]).remove == ()


def test_a_clock_that_went_back_begins_the_wait_anew() -> None:
    first = plan(1_000_000.0)
    assert plan(1000.0, first.unused).remove == ()
    assert plan(1000.0, first.unused).next_s == 1100.0


def test_nothing_used_fetched_or_young_is_ever_removed() -> None:
    """Any history: a payload goes only after a whole grace in which nobody needed it."""
    rng = random.Random(3)
    for _ in range(300):
        known: dict[str, Unused] = {}
        needed_s = dict.fromkeys(range(6), 0.0)
        there = set(range(6))
        now_s = 0.0
        for _step in range(40):
            now_s += rng.uniform(0, 60)
            used = {n for n in there if rng.random() < 0.3}
            fetched = {n for n in there if rng.random() < 0.2}
            needed_s.update(dict.fromkeys(used, now_s))
            found = plan_removal(
                [item(n) for n in sorted(there)],
                {item(n).sha256 for n in used},
                known,
                {item(n).sha256 for n in fetched},
                now_s=now_s,
                grace_s=GRACE_S,
            )
            known = found.unused
            for gone in found.remove:
                number = gone.sha256[0]
                assert number not in used | fetched
                assert now_s - needed_s[number] >= GRACE_S
                there.remove(number)
