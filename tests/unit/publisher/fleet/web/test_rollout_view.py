"""The screen of a rollout: its sentence, its groups, its limits, its failures."""

from __future__ import annotations

from typing import Any

import pytest

from slotcast_publisher.fleet.steering.overview_types import PauseView
from slotcast_publisher.fleet.web.screens.distribution_view import latency_view
from slotcast_publisher.fleet.web.screens.failures_view import failures_of, settled_words
from slotcast_publisher.fleet.web.screens.limits_view import limit_rows
from slotcast_publisher.fleet.web.screens.rollout_view import (
    ICON,
    ICON_PAUSED,
    rollout_screen,
)
from tests.support import rollout_views as views


def screen(view: Any) -> Any:
    return rollout_screen(view, views.plan())


def test_a_pause_says_in_one_sentence_which_figure_and_how_far() -> None:
    found = screen(views.paused())

    assert found.answer.state == "PAUSED"
    assert found.answer.tone == "warn"
    assert found.answer.sentence == (
        "by itself: Latency p95 went from 12.1 ms to 31.9 ms in canary on the same 43 devices,"
        " 2.64 × where 1.50 × is allowed."
    )
    assert found.icon == ICON_PAUSED
    assert found.title == "PAUSED detector 3.3.0"
    assert "No device of ten-percent and everyone was let in." in found.answer.notes


def test_a_pause_by_single_devices_says_how_many_and_not_the_sum_that_is_within_the_limit() -> None:
    found_limit = views.limit(
        "max_latency_p95_ratio", 1.37, 1.5, observed=7, over=3, broken=True, devices_allowed=0.05
    )
    sentence = screen(views.paused(limits=(found_limit,))).answer.sentence

    assert sentence == (
        "by itself: Latency p95 in canary: 3 of 7 devices are above 1.50 × by themselves (5 % of"
        " devices allowed); it went from 12.1 ms to 31.9 ms, 1.37 × over all of them."
    )
    assert "1.50 × is allowed" not in sentence


@pytest.mark.parametrize(
    ("by", "who", "why", "sentence"),
    [
        ("person", "olga", "lunch", "by olga: lunch"),
        ("person", "olga", "", "by olga."),
        ("gate", "", "canary: url says no: stop", "by a gate: canary: url says no: stop"),
        ("offer", "", "", "in the signed offer, and not by us."),
    ],
)
def test_a_pause_says_who_paused_it(by: Any, who: str, why: str, sentence: str) -> None:
    view = views.paused(pause=PauseView(by=by, who=who, why=why, limits=()))

    assert screen(view).answer.sentence == sentence


def test_while_all_is_well_the_same_place_says_so() -> None:
    found = screen(views.running())

    assert found.answer.tone == ""
    assert found.icon == ICON
    assert found.answer.sentence == (
        "canary: 34 of 39 reachable devices have committed, every limit holds."
    )


def test_a_gate_that_waits_for_a_person_is_the_first_thing_said() -> None:
    groups = (views.canary(state="AT_GATE", failed=0, waits_for=("person",)),)
    found = screen(views.running(groups=groups))

    assert (found.answer.state, found.answer.tone) == ("AT_GATE", "warn")
    assert found.answer.sentence.startswith("canary waits for a person: 34 of 39 reachable")


def test_who_is_not_driven_is_told() -> None:
    found = screen(views.running(driven=False, looked_s=3700))

    assert "Nobody has looked at it for 1 h 1 min: does `slotcast serve` run?" in found.answer.notes


def test_each_count_is_a_link_to_the_devices_behind_it() -> None:
    canary, ten_percent, everyone = screen(views.paused()).cards

    assert [(c.state, c.devices) for c in canary.counts] == [
        ("COMMITTED", 34),
        ("TRIAL", 5),
        ("ROLLED_BACK", 4),
        ("FAILED", 2),
        ("not seen", 3),
    ]
    assert canary.counts[2].href == (
        "/devices?model=detector&rollout=d-3.3.0&group=canary&state=ROLLED_BACK"
    )
    assert canary.done == "34 of 45"
    assert canary.gate == "opened by a person, after 4 h of SOAKING"
    assert "ring=canary" in canary.who
    assert "10 % by hash" in ten_percent.who
    assert "all others" in everyone.who
    assert everyone.gate == ""
    assert ten_percent.done == "0 of 100"


def test_what_was_delivered_stands_beside_what_whole_images_would_be() -> None:
    canary = screen(views.paused()).cards[0]

    assert canary.delivered == "39 have it, for 28.5 MB; whole images would be 43.7 MB."


def test_broken_limits_come_first_and_one_across_the_line_is_not_sure_yet() -> None:
    found = {row.key: row for row in screen(views.paused()).limits}

    assert list(found) == ["max_latency_p95_ratio", "max_failed_share", "max_memory_ratio"]
    assert [row.verdict for row in found.values()] == ["broken", "not sure yet", "holds"]
    assert (found["max_memory_ratio"].old, found["max_memory_ratio"].new) == ("212 MB", "224 MB")
    assert found["max_latency_p95_ratio"].margin == "1.14 × over"
    assert found["max_failed_share"].on == "6 of 40 devices that ended"


def test_a_limit_that_a_person_accepted_stands_in_nobodys_way() -> None:
    accepted = views.limit("max_memory_ratio", 3.0, 1.25, broken=True, accepted=True)
    (row,) = limit_rows([accepted], [], "canary")

    assert row.verdict == "accepted"
    assert not row.is_broken


def test_a_limit_of_another_group_is_shown_only_where_it_is_broken() -> None:
    other = views.limit("max_memory_ratio", 1.0, 1.25, group="ten-percent")
    broken = views.limit("max_memory_ratio", 2.0, 1.25, group="ten-percent", broken=True)

    assert limit_rows([other], [], "canary") == []
    assert [row.group for row in limit_rows([broken], [], "canary")] == ["ten-percent"]


def test_limits_that_nothing_can_be_said_of_are_named() -> None:
    assert "Errors (limit 2 %)" in screen(views.paused()).unread


def test_two_distributions_stand_beside_each_other_and_as_a_table() -> None:
    found = latency_view(views.paused(), "canary")

    assert found is not None
    assert "limit 18.1 ms" in found.plot  # 1.5 times the old p95
    assert [(row.old, row.new) for row in found.rows] == [("100.0%", "0.0%"), ("0.0%", "100.0%")]
    assert found.slow[0].ratio == "2.83 ×"
    assert latency_view(views.paused(), "everyone") is None


def test_a_failure_opens_to_the_evidence_of_one_device_what_failed_first() -> None:
    (found,) = failures_of(views.paused())

    assert [(check.name, check.passed) for check in found.checks] == [
        ("golden", False),
        ("memory", True),
    ]
    assert found.device_href == "/devices/cam-0388"
    assert settled_words(views.paused()) == "6 of 40 devices that ended"
    assert settled_words(views.running()) == "None of 34 devices has failed."


def test_names_of_devices_are_no_addresses_of_their_own() -> None:
    view = views.paused(failures=(views.failure(device="../../x?y#z"),))

    assert failures_of(view)[0].device_href == "/devices/..%2F..%2Fx%3Fy%23z"
