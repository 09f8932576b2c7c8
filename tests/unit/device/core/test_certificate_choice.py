"""Which certificate a broker is shown, and when the next one is asked for."""

from __future__ import annotations

import pytest

from slotcast_device.core.certificate_choice import (
    ASK_AGAIN_S,
    SET_ASIDE_S,
    CertificateChoice,
    HeldCertificate,
    RenewalTimes,
)

DAY_S = 86_400.0
NOW_S = 1000 * DAY_S


def held(serial: str, *, until_day: float = 90, is_new: bool = False) -> HeldCertificate:
    return HeldCertificate(serial, f"/{serial}.pem", NOW_S, NOW_S + until_day * DAY_S, is_new)


def serial(found: HeldCertificate | None) -> str:
    return "" if found is None else found.serial


def test_the_first_is_shown_until_a_broker_refuses_it_and_again_after_a_while() -> None:
    choice, both = CertificateChoice(), [held("new", is_new=True), held("old")]
    assert serial(choice.choose("b", both, NOW_S, 0)) == "new"
    choice.refused("b", both[0], 10)
    assert serial(choice.choose("b", both, NOW_S, 11)) == "old"
    assert serial(choice.choose("another broker", both, NOW_S, 11)) == "new"
    assert serial(choice.choose("b", both, NOW_S, 10 + SET_ASIDE_S)) == "new"


def test_a_single_one_is_shown_whatever_the_broker_says_of_it() -> None:
    choice, only = CertificateChoice(), [held("only")]
    for mono_s in range(5):
        assert serial(choice.choose("b", only, NOW_S, mono_s)) == "only"
        choice.refused("b", only[0], mono_s)


def test_where_all_are_refused_each_is_tried_in_turn() -> None:
    choice, both = CertificateChoice(), [held("new"), held("old")]
    shown = []
    for mono_s in range(6):
        found = choice.choose("b", both, NOW_S, mono_s)
        assert found is not None
        shown.append(found.serial)
        choice.refused("b", found, mono_s)
    assert shown == ["new", "old", "new", "old", "new", "old"]


def test_one_that_has_ended_is_passed_over_while_another_counts() -> None:
    choice, both = CertificateChoice(), [held("ended", until_day=1), held("counts")]
    assert serial(choice.choose("b", both, NOW_S + 2 * DAY_S, 0)) == "counts"
    assert serial(choice.choose("b", both, NOW_S + 200 * DAY_S, 0)) == "ended"
    assert serial(choice.choose("b", [], NOW_S, 0)) == ""


@pytest.mark.parametrize(("place", "left_days"), [(0.0, 36.0), (1.0, 27.0)])
def test_devices_ask_in_the_last_third_of_a_life_each_at_its_own_time(
    place: float, left_days: float
) -> None:
    times, one = RenewalTimes(place), held("one", until_day=90)
    end_s = one.ends_s
    assert not times.is_due(one, end_s - (left_days + 0.01) * DAY_S, 0)
    assert times.is_due(one, end_s - (left_days - 0.01) * DAY_S, 0)


def test_a_device_that_gets_no_answer_asks_again_after_an_hour_and_not_before() -> None:
    times, one = RenewalTimes(0.5), held("one")
    times.asked(100)
    assert not times.is_due(one, one.ends_s - 1, 100 + ASK_AGAIN_S - 1)
    assert times.is_due(one, one.ends_s - 1, 100 + ASK_AGAIN_S)
