"""The first screen: does anything need a person, who is there, what runs."""

from __future__ import annotations

from typing import Any

from slotcast_publisher.fleet.alarms.board import CROWD, Alarm
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.database.fleet_counts import (
    CountedState,
    CountedVersion,
    PresenceCounts,
)
from slotcast_publisher.fleet.web.screens.fleet_view import FleetScreen, fleet_screen
from slotcast_publisher.fleet.web.screens.rollout_view import ICON, ICON_PAUSED
from tests.support import rollout_views as views

PRESENCE = PresenceCounts(devices=1000, online=920, unseen=20, shared_ids=0, clocks_off=0)
STATES = (
    CountedState("clf", "COMMITTED", "committed", 700),
    CountedState("clf", "FAILED", "too_slow", 20),
    CountedState("clf", "FAILED", "disk_full", 3),
    CountedState("ocr", "QUEUED", "paused", 100),
)


def alarm(kind: AlarmKind, subject: str, **changes: Any) -> Alarm:
    return Alarm(kind=kind, subject=subject, raised_s=5.0, updated_s=5.0, **changes)


def screen(**changes: Any) -> FleetScreen:
    fields: dict[str, Any] = {
        "presence": PRESENCE,
        "states": STATES,
        "versions": (),
        "alarms": (),
        "rollouts": (),
    }
    return fleet_screen(**fields | changes)


def test_where_nothing_is_wrong_the_sentence_says_so() -> None:
    found = screen()

    assert found.sentence == "Nothing needs a person. 920 of 1,000 devices are online."
    alone = screen(
        presence=PresenceCounts(devices=1, online=1, unseen=0, shared_ids=0, clocks_off=0)
    )
    assert alone.sentence == "Nothing needs a person. 1 of 1 device is online."
    assert (found.tone, found.icon, found.title) == ("", ICON, "Fleet")


def test_an_empty_fleet_says_that_it_is_empty() -> None:
    found = screen(presence=PresenceCounts(0, 0, 0, 0, 0), states=())

    assert found.sentence == "No device has reported yet."
    assert found.rows == ()


def test_a_paused_rollout_is_told_by_title_and_icon_and_leads_to_its_screen() -> None:
    paused = alarm(
        AlarmKind.ROLLOUT_PAUSED, "detector/d-3.3.0", text="paused", names={"rollout": "d-3.3.0"}
    )
    found = screen(alarms=[paused], rollouts=[views.paused()])

    assert found.icon == ICON_PAUSED
    assert found.title == "PAUSED detector 3.3.0"
    (need,) = found.needs
    assert (need.word, need.href) == ("PAUSED", "/rollouts/d-3.3.0")
    assert found.sentence.startswith("1 thing needs a person.")


def test_a_gate_that_waits_for_a_person_needs_one_though_it_is_no_alarm() -> None:
    groups = (views.canary(state="AT_GATE", failed=0, waits_for=("person",)),)
    found = screen(rollouts=[views.running(groups=groups)])

    (need,) = found.needs
    assert (need.word, need.link) == ("AT_GATE", "Look and open the gate")
    assert "34 of 39 reachable" in need.text


def test_many_at_once_are_one_line_with_a_link_to_all_of_them() -> None:
    many = tuple(f"cam-{n}" for n in range(10))
    found = screen(alarms=[alarm(AlarmKind.DEVICE_SILENT, CROWD, count=83, subjects=many)])

    (need,) = found.needs
    assert need.text.startswith("83 devices are offline, and were not heard of for long: cam-0, ")
    assert need.href == "/devices?presence=not-seen"
    assert need.link == "See 83 devices"


def test_every_kind_of_alarm_has_a_shape_and_a_word() -> None:
    found = screen(alarms=[alarm(kind, "x", names={"device": "a/b"}) for kind in AlarmKind])

    assert len(found.needs) == len(AlarmKind)
    assert all(need.shape and need.word for need in found.needs)
    assert any(need.href == "/devices/a%2Fb" for need in found.needs)


def test_states_are_counted_by_model_over_their_reasons() -> None:
    found = screen()

    clf, ocr = found.rows
    assert (clf.model, clf.devices.count) == ("clf", 723)
    by_state = {cell.state: cell for cell in clf.cells}
    assert by_state["FAILED"].count == 23
    assert by_state["FAILED"].href == "/devices?model=clf&state=FAILED"
    assert found.all_row is not None
    assert found.all_row.devices.count == 823
    assert ocr.devices.count == 100
    assert "CANCELED" not in found.states


def test_a_state_that_nobody_knows_has_a_column_of_its_own() -> None:
    assert (
        screen(states=(*STATES, CountedState("clf", "DREAMING", "x", 1))).states[-1] == "DREAMING"
    )


def test_presence_is_three_parts_of_one_whole() -> None:
    strip = screen().strip

    assert strip.online + strip.offline + strip.unseen == strip.devices


def test_the_release_in_a_rollout_stands_out_and_old_ones_are_counted_together() -> None:
    counts = [CountedVersion("detector", "3.3.0", 9, 39)]
    counts += [CountedVersion("detector", f"3.{n}.0", n, 100) for n in range(6, 0, -1)]
    (row,) = screen(versions=counts, rollouts=[views.running()]).versions

    assert row.kinds[0] == "f-new"
    assert [cell.state for cell in row.cells] == ["3.3.0", "3.6.0", "3.5.0", "3.4.0", "older"]
    assert row.cells[-1].count == 300
    assert row.devices == 639
    assert sum(part.count for part in row.bar) == 639


def test_a_rollout_under_way_is_a_line() -> None:
    (row,) = screen(rollouts=[views.paused()]).rollouts

    assert row.progress == "canary 34 of 45"
    assert row.now.startswith("by itself: Latency p95 went from")
    assert screen(rollouts=[views.paused(state="FINISHED", pause=None)]).rollouts == ()
