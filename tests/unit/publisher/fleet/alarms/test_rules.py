"""Which conditions call for an alarm, by story; what is near the limit changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.fleet.alarms.facts import (
    BrokerFacts,
    DeviceFacts,
    Expiring,
    Facts,
    PausedRollout,
    ReleaseFacts,
    SupportFacts,
)
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.alarms.rules import Finding, judge

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
MB = 1024 * 1024


def found(kind: AlarmKind, limits: AlarmSettings | None = None, **facts: Any) -> list[Finding]:
    """Judge facts; give what was found of one kind, and see that nothing else was."""
    findings = judge(Facts(NOW_S, **facts), limits or AlarmSettings()).findings
    assert {finding.kind for finding in findings} <= {kind}
    return list(findings)


def device(**facts: Any) -> DeviceFacts:
    return DeviceFacts(**{"id": "cam-1", "seen_s": NOW_S, "online": True, **facts})


def heard(*devices: DeviceFacts) -> dict[str, Any]:
    return {"devices": devices, "is_heard": True}


def test_a_release_that_devices_run_whose_support_ends_is_named_until_none_runs_it() -> None:
    def running(left_days: float, devices: int = 3) -> dict[str, Any]:
        return {"supports": [SupportFacts("clf", "1.0", NOW_S + left_days * DAY_S, devices)]}

    kind = AlarmKind.SUPPORT_ENDING
    assert found(kind, **running(31)) == []
    (soon,) = found(kind, **running(9))
    assert soon.text == "3 devices run clf 1.0, whose support ends in 9 days"
    assert soon.names == {"model": "clf"}
    (over,) = found(kind, **running(-2, devices=1))
    assert over.text == "a device runs clf 1.0, whose support has ended, 2 days ago"
    assert found(kind, supports=[]) == []
    assert kind in judge(Facts(NOW_S), AlarmSettings()).unknown
    assert found(kind, AlarmSettings(support_left_days=5), **running(9)) == []


def test_a_device_that_is_offline_for_a_day_is_silent() -> None:
    seen_s = NOW_S - 2 * DAY_S
    gone = device(online=False, seen_s=seen_s)
    recent = device(id="cam-2", online=False, seen_s=NOW_S - DAY_S + 1)
    quiet = device(id="cam-3", online=True, seen_s=seen_s)
    (finding,) = found(AlarmKind.DEVICE_SILENT, **heard(gone, recent, quiet))
    assert finding.text == "cam-1: offline, and not heard of for 2 days"
    assert finding.names == {"device": "cam-1"}


def test_while_we_do_not_hear_no_device_is_called_silent_and_none_is_back() -> None:
    gone = device(online=False, seen_s=0)
    judged = judge(Facts(NOW_S, devices=[gone], is_heard=False), AlarmSettings())
    assert (judged.findings, AlarmKind.DEVICE_SILENT in judged.unknown) == ((), True)


@pytest.mark.parametrize(
    ("free_mb", "holds"), [(0, True), (255, True), (257, False), (319, False), (321, None)]
)
def test_a_disk_is_low_until_there_is_clearly_more_room(free_mb: int, holds: bool | None) -> None:
    findings = found(AlarmKind.DISK_LOW, **heard(device(disk_free_bytes=free_mb * MB)))
    assert [finding.holds for finding in findings] == ([] if holds is None else [holds])


def test_a_device_that_does_not_say_its_room_has_enough() -> None:
    assert not found(AlarmKind.DISK_LOW, **heard(device(disk_free_bytes=None)))


@pytest.mark.parametrize(
    ("clock", "off_s", "holds", "words"),
    [
        ("ok", 301, True, "its clock is 5 minutes ahead"),
        ("ok", -7_300, True, "its clock is 2 hours behind"),
        ("ok", 200, False, "its clock is 3 minutes ahead"),
        ("ok", 149, None, ""),
        ("ok", None, None, ""),
        ("behind", None, True, "its clock is behind, by its own word"),
        ("ahead", 0, True, "its clock is ahead, by its own word"),
    ],
)
def test_a_clock_is_off_by_ours_or_by_its_own_word(
    clock: str, off_s: float | None, holds: bool | None, words: str
) -> None:
    findings = found(AlarmKind.CLOCK_OFF, **heard(device(clock=clock, clock_off_s=off_s)))
    said = [(finding.holds, finding.text) for finding in findings]
    assert said == ([] if holds is None else [(holds, f"cam-1: {words}")])


def test_two_devices_of_one_id_are_said_with_how_they_were_told_apart() -> None:
    now = device(twins_seen_s=NOW_S - 60, twins_why="two sessions alternate")
    before = device(id="cam-2", twins_seen_s=NOW_S - 3_700)
    (finding,) = found(AlarmKind.ID_SHARED, **heard(now, before))
    assert finding.text == "cam-1: two devices use this id: two sessions alternate"


def test_a_refused_report_is_said_for_an_hour_with_the_reason() -> None:
    now = device(refused_s=NOW_S - 60, refused_why="bad_signature")
    before = device(id="cam-2", refused_s=NOW_S - 3_700, refused_why="unsigned")
    (finding,) = found(AlarmKind.REPORTS_REFUSED, **heard(now, before, device(id="cam-3")))
    assert finding.text == (
        "cam-1: a report in its name was refused: not signed by the key that the device is enrolled"
        " with"
    )
    assert finding.names == {"device": "cam-1"}


@pytest.mark.parametrize(
    ("failed", "ended", "holds"),
    [
        (1, 1, False),  # one is chance, and above the half
        (1, 3, False),
        (2, 2, True),
        (2, 40, False),  # 5 % of it: as much as is allowed
        (12, 40, True),
        (1, 100, None),
        (0, 0, None),
    ],
)
def test_a_release_fails_beyond_chance_or_not(failed: int, ended: int, holds: bool | None) -> None:
    release = ReleaseFacts("clf", "2.0", "r-1", ended, (("too_slow", failed),) if failed else ())
    findings = found(AlarmKind.RELEASE_FAILING, releases=[release])
    assert [finding.holds for finding in findings] == ([] if holds is None else [holds])


def test_a_failing_release_names_its_reasons_model_and_rollout() -> None:
    reasons = (("errors", 1), ("too_slow", 9), ("probe_crashed", 1), ("golden_mismatch", 1))
    release = ReleaseFacts("clf", "2.0", "r-1", 40, reasons)
    (finding,) = found(AlarmKind.RELEASE_FAILING, releases=[release])
    assert finding.text == (
        "clf 2.0: 12 of 40 devices did not take it (too_slow 9, errors 1, golden_mismatch 1, ...)"
    )
    assert (finding.subject, finding.names) == ("clf 2.0", {"model": "clf", "rollout": "r-1"})


def test_a_paused_rollout_says_who_paused_it_and_why() -> None:
    paused = PausedRollout("clf", "r-1", "limit", "", "error share 0.3 > 0.02")
    by_hand = PausedRollout("clf", "r-2", "person", "anna")
    one, two = found(AlarmKind.ROLLOUT_PAUSED, rollouts=[paused, by_hand])
    assert one.text == "r-1 of clf was paused by limit: error share 0.3 > 0.02"
    assert two.text == "r-2 of clf was paused by person anna"
    assert one.names == {"model": "clf", "rollout": "r-1"}


@pytest.mark.parametrize(
    ("left_days", "life_days", "words"),
    [
        (29, 3650, "x expires in 29 days"),
        (31, 3650, None),
        (0.3, 1, None),  # `serve` renews at half of a day
        (0.2, 1, "x expires in 5 hours"),
        (14, 60, "x expires in 14 days"),
        (16, 60, None),
        (-1, 60, "x has expired, 24 hours ago"),
    ],
)
def test_what_is_renewed_often_is_near_its_end_later(
    left_days: float, life_days: float, words: str | None
) -> None:
    thing = Expiring("x", NOW_S + left_days * DAY_S, life_days * DAY_S)
    signed = found(AlarmKind.SIGNATURE_EXPIRING, signatures=[thing])
    shown = found(AlarmKind.CERTIFICATE_EXPIRING, certificates=[thing])
    assert [f.text for f in signed] == [f.text for f in shown] == ([words] if words else [])


def test_a_broker_that_refuses_is_told_from_one_that_is_away() -> None:
    full = BrokerFacts("b:1", "broker_refused", "refused a message: Quota exceeded")
    away = BrokerFacts("b:2", "link_down", "no answer")
    findings = judge(Facts(NOW_S, brokers=[full, away, BrokerFacts("b:3")]), AlarmSettings())
    assert [(f.kind, f.text, f.names) for f in findings.findings] == [
        (AlarmKind.BROKER_REFUSING, "b:1: refused a message: Quota exceeded", {"broker": "b:1"}),
        (AlarmKind.BROKER_UNREACHABLE, "b:2: no answer", {"broker": "b:2"}),
    ]


def test_a_database_that_cannot_be_written_is_told_and_the_rest_is_unknown() -> None:
    judged = judge(Facts(NOW_S, database="no room for fleet.db"), AlarmSettings())
    assert [f.text for f in judged.findings] == ["no room for fleet.db"]
    assert judged.unknown == set(AlarmKind) - {
        AlarmKind.DATABASE_FAILING,
        AlarmKind.BROKER_REFUSING,
        AlarmKind.BROKER_UNREACHABLE,
    }


def test_a_kind_that_is_off_finds_nothing() -> None:
    limits = AlarmSettings(off=("disk_low",))
    assert not found(AlarmKind.DISK_LOW, limits, **heard(device(disk_free_bytes=1)))
