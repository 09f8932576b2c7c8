"""One process at a time holds a lease, and one that lost it can record nothing."""

from __future__ import annotations

from random import Random

import pytest

from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.lease import LeaseLost, check, hold, release

NAME = "rollouts"
FOR_S = 30.0


def take(database: Database, holder: str, now_s: float) -> int | None:
    with database.transaction() as connection:
        return hold(connection, NAME, holder, now_s, FOR_S)


def may(database: Database, holder: str, term: int, now_s: float) -> bool:
    try:
        with database.transaction() as connection:
            check(connection, NAME, holder, term, now_s)
    except LeaseLost:
        return False
    return True


def give_back(database: Database, holder: str, term: int) -> None:
    with database.transaction() as connection:
        release(connection, NAME, holder, term)


def test_one_process_holds_it_and_keeps_it_while_it_asks_in_time(database: Database) -> None:
    assert take(database, "a", 0) == 1
    assert take(database, "b", 10) is None
    assert take(database, "a", 29) == 1
    assert take(database, "b", 58) is None
    assert may(database, "a", 1, 58)
    assert not may(database, "b", 1, 58)


def test_a_process_that_went_silent_loses_it_and_may_decide_nothing_more(
    database: Database,
) -> None:
    assert take(database, "a", 0) == 1
    assert not may(database, "a", 1, 30), "its time is over, though nobody has taken it yet"
    assert take(database, "b", 30) == 2
    assert not may(database, "a", 1, 31)
    assert not may(database, "a", 1, 5), "also by a clock that went back"
    assert take(database, "a", 31) is None


def test_who_comes_back_after_its_end_has_a_new_term(database: Database) -> None:
    assert take(database, "a", 0) == 1
    assert take(database, "a", 100) == 2
    assert not may(database, "a", 1, 101)


def test_what_is_given_back_is_free_at_once_and_only_its_holder_can(database: Database) -> None:
    assert take(database, "a", 0) == 1
    give_back(database, "b", 1)
    give_back(database, "a", 7)
    assert take(database, "b", 1) is None
    give_back(database, "a", 1)
    assert not may(database, "a", 1, 1)
    assert take(database, "b", 1) == 2


@pytest.mark.parametrize("seed", range(20))
def test_never_may_two_decide_in_one_term_whatever_their_clocks_say(
    database: Database, seed: int
) -> None:
    """Three processes with clocks that are off and stand still at times."""
    random = Random(seed)
    offsets_s = {holder: random.uniform(-60, 60) for holder in "abc"}
    terms: dict[str, int] = {}
    decided: list[tuple[int, str]] = []
    now_s = 1000.0
    for _ in range(60):
        now_s += random.expovariate(1 / 10)
        holder = random.choice("abc")
        its_s = now_s + offsets_s[holder]
        if random.random() < 0.5:
            term = take(database, holder, its_s)
            terms |= {} if term is None else {holder: term}
        elif holder in terms and may(database, holder, terms[holder], its_s):
            decided.append((terms[holder], holder))
    assert decided
    assert decided == sorted(decided), "terms only grow"
    assert len(set(decided)) == len({term for term, _ in decided}), "one holder for each term"
