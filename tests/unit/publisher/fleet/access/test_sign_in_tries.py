"""How often a password may be tried, by a clock that the test sets."""

from __future__ import annotations

import pytest

from slotcast_publisher.fleet.access.sign_in_tries import (
    PAUSE_S,
    PER_ADDRESS_MAX,
    PER_NAME_MAX,
    SignInTries,
)


def fail(tries: SignInTries, name: str, address: str, count: int, now_s: float = 0.0) -> int:
    return [tries.failed(name, address, now_s) for _ in range(count)][-1]


def test_a_person_who_mistypes_waits_after_the_last_try_and_then_begins_anew() -> None:
    tries = SignInTries()
    assert fail(tries, "olga", "10.0.0.1", PER_NAME_MAX - 1) == 1
    assert tries.wait_s("olga", "10.0.0.1", 0.0) == 0
    assert fail(tries, "olga", "10.0.0.1", 1) == 0
    assert tries.wait_s("olga", "10.0.0.1", 60.0) == PAUSE_S - 60
    assert tries.wait_s("olga", "10.0.0.1", PAUSE_S) == 0
    assert fail(tries, "olga", "10.0.0.1", 1, PAUSE_S) == PER_NAME_MAX - 1


def test_nobody_keeps_another_person_out() -> None:
    tries = SignInTries()
    fail(tries, "olga", "10.0.0.66", PER_NAME_MAX)
    assert tries.wait_s("olga", "10.0.0.1", 1.0) == 0


def test_one_password_with_many_names_stops_at_the_address() -> None:
    tries = SignInTries()
    for number in range(PER_ADDRESS_MAX):
        assert tries.wait_s(f"user-{number}", "10.0.0.66", 0.0) == 0
        tries.failed(f"user-{number}", "10.0.0.66", 0.0)
    assert tries.wait_s("somebody-else", "10.0.0.66", 1.0) > 0


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_what_one_client_can_choose_among_counts_as_one(
    one: str, other: str, are_one: bool
) -> None:
    tries = SignInTries()
    fail(tries, "olga", one, PER_NAME_MAX)
    assert (tries.wait_s("Olga ", other, 1.0) > 0) == are_one


def test_a_sign_in_forgets_the_failures_of_the_name_and_not_those_of_the_address() -> None:
    tries = SignInTries()
    fail(tries, "olga", "10.0.0.1", PER_NAME_MAX - 1)
    tries.succeeded("olga", "10.0.0.1")
    assert fail(tries, "olga", "10.0.0.1", 1) == PER_NAME_MAX - 1
    for _ in range(PER_ADDRESS_MAX):  # between two tries at others, one's own password
        fail(tries, "other", "10.0.0.1", 1)
        tries.succeeded("olga", "10.0.0.1")
    assert tries.wait_s("third", "10.0.0.1", 1.0) > 0


def test_a_flood_of_names_fills_no_memory() -> None:
    tries = SignInTries(keys_max=100)
    for number in range(1000):
        tries.failed(f"user-{number}", f"10.0.{number // 256}.{number % 256}", 0.0)
    assert len(tries._failures) == 100
