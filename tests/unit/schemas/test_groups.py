"""Which group of an offer a device belongs to."""

from __future__ import annotations

import hashlib

import pytest

from slotcast_schemas.groups import group_of, matches, place
from slotcast_schemas.messages.offer import Group
from tests.support.messages import offer

DEVICES = [f"device-{number:04}" for number in range(2000)]


def test_a_group_that_gives_nothing_matches_every_device() -> None:
    assert matches(Group(name="all"), "d", {})


def test_every_tag_must_be_equal() -> None:
    group = Group(name="g", tags={"site": "north", "camera": "v2"})
    assert matches(group, "d", {"site": "north", "camera": "v2", "more": "x"})
    assert not matches(group, "d", {"site": "north"})
    assert not matches(group, "d", {"site": "north", "camera": "v3"})


def test_a_list_of_ids_names_just_those() -> None:
    group = Group(name="g", ids=("a", "b"))
    assert [device for device in "abc" if matches(group, device, {})] == ["a", "b"]
    assert not matches(Group(name="none", ids=()), "a", {})


def test_all_that_a_group_gives_must_be_true() -> None:
    group = Group(name="g", tags={"site": "north"}, ids=("a",), percent=100)
    assert matches(group, "a", {"site": "north"})
    assert not matches(group, "a", {})
    assert not matches(group, "b", {"site": "north"})
    assert not matches(Group(name="g", ids=("a",), percent=0), "a", {})


@pytest.mark.parametrize("percent", [0, 10, 50, 99.5, 100])
def test_a_percentage_takes_about_that_share_of_a_fleet(percent: float) -> None:
    group = Group(name="g", percent=percent, salt="s")
    share = sum(matches(group, device, {}) for device in DEVICES) / len(DEVICES) * 100
    assert share == pytest.approx(percent, abs=3)
    if percent in {0, 100}:
        assert share == percent


def test_a_growing_percentage_keeps_the_devices_it_had() -> None:
    def chosen(percent: float) -> set[str]:
        group = Group(name="g", percent=percent, salt="s")
        return {device for device in DEVICES if matches(group, device, {})}

    assert chosen(10) < chosen(25) < chosen(100)


def test_another_salt_chooses_other_devices() -> None:
    def chosen(salt: str) -> set[str]:
        group = Group(name="g", percent=10, salt=salt)
        return {device for device in DEVICES if matches(group, device, {})}

    assert len(chosen("one") & chosen("two")) < 60


def test_the_place_in_the_fleet_is_as_the_wire_document_says() -> None:
    digest = hashlib.sha256(b"2026-11\x00cam-1").digest()
    assert place("cam-1", "2026-11") == int.from_bytes(digest[:6], "big") / 2**48 * 100


def test_the_first_group_that_matches_is_the_one() -> None:
    groups = (Group(name="north", tags={"site": "north"}), Group(name="a", ids=("a",)))
    given = offer(groups=groups)
    first, second, third = (
        group_of(given, "a", {"site": "north"}),
        group_of(given, "a", {}),
        group_of(given, "b", {}),
    )
    assert first is groups[0]
    assert second is groups[1]
    assert third is None
