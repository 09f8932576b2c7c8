"""What the list of devices is asked for, as it stands in an address."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from slotcast_publisher.fleet.web.screens.device_filter import (
    FIELDS,
    QUERY_MAX_CHARS,
    TERMS_MAX,
    DeviceFilter,
    filter_of,
    read_filter,
    wanted_of,
)
from slotcast_publisher.fleet.web.screens.devices_screen import place_words, read_place
from slotcast_schemas.errors import UsageError

NOW_S = 1_790_000_000
DAY_S = 86400


@pytest.mark.parametrize(
    ("q", "field", "value"),
    [
        ("cam-04", "words", ("cam-04",)),
        ("site=plant-7", "tags", {"site": "plant-7"}),
        ("failed", "state", "FAILED"),
        ("too_slow", "reason", "too_slow"),
        ("3.2.1", "version", "3.2.1"),
        ("v3.2.1", "version", "3.2.1"),
        ("=", "words", ("=",)),
    ],
)
def test_one_field_finds_ids_tags_states_reasons_and_versions(
    q: str, field: str, value: object
) -> None:
    assert getattr(read_filter(DeviceFilter(q=q)), field) == value


def test_words_are_combined() -> None:
    wanted = wanted_of(DeviceFilter(q="cam site=7 FAILED", model="clf", group="canary"), NOW_S)

    assert (wanted.words, wanted.tags, wanted.state) == (("cam",), {"site": "7"}, "FAILED")
    assert (wanted.model, wanted.group) == ("clf", "canary")


def test_presence_is_online_offline_or_not_seen() -> None:
    assert wanted_of(DeviceFilter(presence="online"), NOW_S).online is True
    offline = wanted_of(DeviceFilter(presence="offline"), NOW_S)
    assert (offline.online, offline.seen_since_s) == (False, NOW_S - 7 * DAY_S)
    unseen = wanted_of(DeviceFilter(presence="not-seen"), NOW_S)
    assert (unseen.online, unseen.unseen_since_s) == (False, NOW_S - 7 * DAY_S)


def test_a_filter_is_kept_by_its_address() -> None:
    asked = DeviceFilter(q='a&b="c"', model="clf", state="FAILED", tag="k=v", rollout="r~2")

    given = dict(parse_qsl(urlsplit(asked.address()).query))

    assert filter_of(given) == asked


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"state": "OFFLINE"}, {"presence": "offline"}),
        ({"state": "online"}, {"presence": "online"}),
        ({"state": "Not seen"}, {"presence": "not-seen"}),
        ({"state": "failed"}, {"state": "FAILED"}),
        ({"state": "offline", "presence": "online"}, {"presence": "online"}),
        ({"presence": "OFFLINE"}, {"presence": "offline"}),
        ({"presence": "not seen"}, {"presence": "not-seen"}),
        ({"reason": "TOO_SLOW"}, {"reason": "too_slow"}),
        ({"reason": "too slow"}, {"reason": "too_slow"}),
        ({"note": "Shared-ID"}, {"note": "shared-id"}),
    ],
)
def test_words_are_understood_as_people_write_them(
    given: dict[str, str], meant: dict[str, str]
) -> None:
    asked = filter_of(given)

    assert asked == DeviceFilter(**meant)
    assert read_filter(asked).problems == ()


def test_what_cannot_be_meant_is_said() -> None:
    asked = DeviceFilter(
        state="BROKEN", tag="site", presence="gone", reason="too_slwo", note="x", q="a " * 20
    )

    problems = read_filter(asked).problems

    assert len(problems) == 6
    assert "No reason named too_slwo is known here." in problems
    assert "No state is named BROKEN." in problems
    assert len(read_filter(asked).words) == TERMS_MAX


def test_what_an_address_says_is_bounded() -> None:
    asked = filter_of({"q": "x" * 10_000, "model": "m" * 10_000, "evil": "1"})

    assert len(asked.q) == len(asked.model) == QUERY_MAX_CHARS


def test_the_same_devices_are_listed_by_a_command() -> None:
    asked = DeviceFilter(q="site=7", state="FAILED", presence="not-seen")

    assert asked.command("/srv/my repo") == (
        "slotcast fleet '/srv/my repo' --state FAILED --tag site=7 --offline --unseen-since 7d"
    )
    asked = DeviceFilter(q="CAM 04", rollout="spring", group="canary", note="shared-id")
    assert asked.command("repo") == (
        "slotcast fleet repo --rollout spring --group canary --search CAM --search 04 --shared-id"
    )


EACH = {
    "q": "CAM -1",
    "model": "clf",
    "version": "7.0",
    "state": "COMMITTED",
    "reason": "committed",
    "presence": "online",
    "tag": "site=north",
    "rollout": "spring",
    "group": "canary",
    "note": "shared-id",
}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_of_the_list_stands_in_its_command(name: str) -> None:
    any_device = DeviceFilter().command("repo")
    assert DeviceFilter(**{name: EACH[name]}).command("repo") != any_device


def test_a_page_goes_on_where_the_one_before_ended() -> None:
    assert read_place(place_words([12, "cam-1"])) == [12, "cam-1"]
    assert read_place("") is None
    for text in ("{", "[[1]]", "[null]", '{"a": 1}', "[1" + "," * 500):
        with pytest.raises(UsageError, match="begin anew"):
            read_place(text)
