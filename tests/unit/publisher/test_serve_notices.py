"""The deciding part of `serve` that keeps notices on a broker."""

from __future__ import annotations

import itertools
import random

import pytest

from slotcast_publisher.serve.catalog import Announcement
from slotcast_publisher.serve.notices import (
    UNKNOWN_MAX,
    Announce,
    AnnounceTimes,
    LookAgain,
    NoticeKind,
    Notices,
    Order,
    WatchDevices,
)

PACE = AnnounceTimes()
OURS = Announcement(b"notice 1", "offer 1")


def notices(**offered: Announcement) -> Notices:
    return Notices(PACE, random.Random(1), offered or {"clf": OURS})


def all_due(core: Notices, until_s: float) -> list[tuple[float, Order]]:
    found: list[tuple[float, Order]] = []
    while (deadline_s := core.deadline_s()) is not None and deadline_s <= until_s:
        found += [(deadline_s, order) for order in core.due(deadline_s)]
    return found


def announced(orders: list[tuple[float, Order]]) -> list[bytes]:
    return [order.data for _, order in orders if isinstance(order, Announce)]


@pytest.fixture
def on_retaining() -> Notices:
    """After a connection to a broker that still has our notice."""
    core = notices()
    core.connected(retains=None)
    core.subscribed(0.0)
    core.seen("clf", NoticeKind.OURS, 0.1, retained=True)
    return core


def test_a_notice_that_the_broker_has_is_left_alone(on_retaining: Notices) -> None:
    assert on_retaining.keeps is True
    assert all_due(on_retaining, until_s=1e6) == []


def test_a_notice_that_the_broker_lost_is_announced_again(on_retaining: Notices) -> None:
    on_retaining.lost()
    on_retaining.connected(retains=None)
    on_retaining.subscribed(100.0)
    assert on_retaining.due(100.0) == []
    assert announced(all_due(on_retaining, until_s=103.0)) == [b"notice 1"]


def test_nothing_is_announced_while_there_is_no_connection(on_retaining: Notices) -> None:
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 1")}, 5.0)
    on_retaining.lost()
    assert on_retaining.deadline_s() is None
    assert on_retaining.due(1e6) == []


def test_an_outdated_notice_is_replaced_once() -> None:
    core = notices()
    core.connected(retains=None)
    core.subscribed(0.0)
    core.seen("clf", NoticeKind.OTHER, 0.1, retained=True)
    assert announced(all_due(core, until_s=50.0)) == [b"notice 1"]
    core.seen("clf", NoticeKind.OURS, 3.0, retained=False)
    assert announced(all_due(core, until_s=1e6)) == []


def test_a_newer_notice_of_the_same_keys_is_left_alone() -> None:
    core = notices()
    core.connected(retains=None)
    core.subscribed(0.0)
    core.seen("clf", NoticeKind.NEWER, 0.1, retained=True)
    assert all_due(core, until_s=1e6) == []


def test_somebody_who_keeps_replacing_our_notice_makes_the_waits_grow(
    on_retaining: Notices,
) -> None:
    times = []
    now_s = 10.0
    for _ in range(6):
        on_retaining.seen("clf", NoticeKind.OTHER, now_s, retained=False)
        ((now_s, _),) = all_due(on_retaining, until_s=1e6)
        times.append(now_s)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert waits[-1] > 8 * waits[0]


def test_a_fresh_signature_over_the_same_offer_goes_out_at_once(on_retaining: Notices) -> None:
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 1")}, 5.0)
    assert announced([(5.0, order) for order in on_retaining.due(5.0)]) == [b"notice 2"]


def test_a_new_offer_is_left_to_the_publish_that_made_it(on_retaining: Notices) -> None:
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 2")}, 5.0)
    assert on_retaining.due(5.0 + PACE.new_offer_s - 1) == []
    on_retaining.seen("clf", NoticeKind.OURS, 50.0, retained=False)
    assert all_due(on_retaining, until_s=1e6) == []


def test_a_new_offer_whose_notice_came_before_it_was_looked_at_is_not_announced_again(
    on_retaining: Notices,
) -> None:
    on_retaining.seen("clf", NoticeKind.NEWER, 4.0, retained=False, data=b"notice 2")
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 2")}, 5.0)
    assert all_due(on_retaining, until_s=1e6) == []


def test_a_notice_that_was_replaced_before_it_was_looked_at_is_announced_again(
    on_retaining: Notices,
) -> None:
    on_retaining.seen("clf", NoticeKind.NEWER, 4.0, retained=False, data=b"notice 2")
    on_retaining.seen("clf", NoticeKind.OTHER, 4.5, retained=False, data=b"notice 0")
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 2")}, 5.0)
    assert announced(all_due(on_retaining, until_s=5.0 + PACE.new_offer_s)) == [b"notice 2"]


def test_where_nobody_knows_whether_notices_are_kept_one_that_came_live_is_announced_again() -> (
    None
):
    core = notices()
    core.connected(retains=None)
    core.seen("clf", NoticeKind.NEWER, 0.5, retained=False, data=b"notice 2")
    core.changed({"clf": Announcement(b"notice 2", "offer 2")}, 1.0)
    assert announced(all_due(core, until_s=70.0)) == [b"notice 2"]


def test_a_new_offer_that_nobody_announces_is_announced_in_the_end(on_retaining: Notices) -> None:
    on_retaining.changed({"clf": Announcement(b"notice 2", "offer 2")}, 5.0)
    assert announced(all_due(on_retaining, until_s=5.0 + PACE.new_offer_s)) == [b"notice 2"]


def test_a_broker_that_retains_but_has_nothing_yet_is_found_out() -> None:
    core = notices()
    core.connected(retains=None)
    core.subscribed(0.0)
    orders = [order for _, order in all_due(core, until_s=2.0)]
    assert orders == [Announce("clf", b"notice 1"), LookAgain()]
    core.subscribed(2.5)
    core.seen("clf", NoticeKind.OURS, 2.6, retained=True)
    assert core.keeps is True
    assert all_due(core, until_s=1e6) == []


@pytest.fixture
def on_forgetful() -> Notices:
    """After a connection to a broker that turned out to keep nothing."""
    core = notices()
    core.connected(retains=None)
    core.subscribed(0.0)
    all_due(core, until_s=2.0)
    core.seen("clf", NoticeKind.OURS, 2.1, retained=False)
    core.subscribed(2.5)
    orders = [order for _, order in all_due(core, until_s=5.0)]
    assert WatchDevices() in orders
    assert core.keeps is False
    return core


def test_a_device_that_comes_to_a_forgetful_broker_is_told(on_forgetful: Notices) -> None:
    on_forgetful.due(20.0)
    on_forgetful.device_online(20.0)
    assert announced(all_due(on_forgetful, until_s=20.5)) == [b"notice 1"]


def test_a_thousand_devices_that_come_at_once_are_told_once(on_forgetful: Notices) -> None:
    on_forgetful.due(20.0)
    for number in range(1000):
        on_forgetful.device_online(20.0 + number / 10_000)
    assert announced(all_due(on_forgetful, until_s=30.0)) == [b"notice 1"]


def test_a_forgetful_broker_hears_the_notice_again_and_again(on_forgetful: Notices) -> None:
    heard = announced(all_due(on_forgetful, until_s=3600.0))
    assert 3600 / PACE.repeat_s[1] - 1 <= len(heard) <= 3600 / PACE.repeat_s[0] + 1


def test_a_device_that_comes_to_a_retaining_broker_costs_nothing(on_retaining: Notices) -> None:
    on_retaining.device_online(20.0)
    assert all_due(on_retaining, until_s=1e6) == []


def test_a_model_that_is_withdrawn_for_good_is_not_announced_any_more(
    on_forgetful: Notices,
) -> None:
    on_forgetful.changed({}, 10.0)
    assert all_due(on_forgetful, until_s=1e6) == []


# --- a model that is offered for the first time ---------------------------------------------------

NEW = Announcement(b"notice of seg", "offer of seg")


@pytest.mark.parametrize("is_known_first", [True, False])
def test_what_a_push_has_announced_itself_is_not_announced_again(*, is_known_first: bool) -> None:
    core = notices(clf=OURS)
    core.connected(retains=None)
    core.subscribed(0.0)
    core.seen("clf", NoticeKind.OURS, 0.1, retained=True)
    if is_known_first:
        core.changed({"clf": OURS, "seg": NEW}, 10.0)
        core.seen("seg", NoticeKind.OURS, 12.0, retained=False, data=NEW.notice)
    else:
        core.seen_unknown("seg", NEW.notice)
        core.changed({"clf": OURS, "seg": NEW}, 12.0)
    assert all_due(core, until_s=1e6) == []


@pytest.mark.parametrize("is_known_first", [True, False])
@pytest.mark.parametrize("is_kept", [True, False])
def test_whether_the_first_notice_is_kept_is_looked_for(
    *, is_known_first: bool, is_kept: bool
) -> None:
    core = Notices(PACE, random.Random(1), {})
    core.connected(retains=None)
    core.subscribed(0.0)
    if is_known_first:
        core.changed({"seg": NEW}, 10.0)
        core.seen("seg", NoticeKind.OURS, 12.0, retained=False, data=NEW.notice)
    else:
        core.seen_unknown("seg", NEW.notice)
        core.changed({"seg": NEW}, 12.0)
    assert core.due(12.0) == [LookAgain()]
    core.subscribed(12.1)
    if is_kept:
        core.seen("seg", NoticeKind.OURS, 12.2, retained=True, data=NEW.notice)
        assert all_due(core, until_s=1e6) == []
    else:
        found = all_due(core, until_s=200.0)
        assert isinstance(found[0][1], WatchDevices)
        assert announced(found)


def test_a_false_notice_of_a_model_to_come_changes_nothing() -> None:
    core = Notices(PACE, random.Random(1), {})
    core.connected(retains=None)
    core.seen_unknown("seg", b"somebody's")
    for number in range(2 * UNKNOWN_MAX):
        core.seen_unknown(f"m{number}", b"a flood")
    core.changed({"seg": NEW}, 12.0)
    ((due_s, order), *_) = all_due(core, until_s=100.0)
    assert (due_s, order) == (72.0, Announce("seg", NEW.notice))
