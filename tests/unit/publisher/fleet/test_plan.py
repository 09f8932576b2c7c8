"""The plan that a person writes: what it may say, and what is said to them where it is wrong."""

from __future__ import annotations

import re

import pytest

from slotcast_publisher.fleet.rollout.plan import Plan, read_plan
from slotcast_publisher.fleet.rollout.starting_plan import starting_plan
from slotcast_schemas.describe import keys_of
from slotcast_schemas.errors import UsageError
from tests.support.rollouts import CANARY, HEAD, REST, plan_of


def test_the_plan_to_start_from_is_a_plan_and_says_what_the_defaults_are() -> None:
    plan = read_plan(starting_plan("detector", "2.0+build.7"), "plan.toml")
    assert (plan.model, plan.version, plan.name) == (
        "detector",
        "2.0+build.7",
        "detector-2.0.build.7",
    )
    assert [group.name for group in plan.groups] == ["canary", "everyone"]
    least = plan_of(REST)
    assert plan.limits == least.limits
    assert (plan.success_share, plan.soak_s, plan.unseen_s) == (
        least.success_share,
        least.soak_s,
        least.unseen_s,
    )


def test_every_key_has_a_meaning() -> None:
    keys = keys_of(Plan)
    assert len(keys) > 40
    assert all(key.meaning.endswith(".") for key in keys)


def test_a_limit_is_switched_off_by_none() -> None:
    limits = plan_of('[limits]\nmax_failed_share = "none"\n' + REST).limits
    assert limits.max_failed_share is None
    assert limits.max_error_share == 0.02


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sucess_share = 0.9\n" + REST,
            "is not known; did you mean 'success_share'",
        ),
        ("success_share = 2\n" + REST, "success_share: expected a number of at most 1, got 2"),
        ("soak_s = -1\n" + REST, "soak_s: expected a number of at least 0, got -1"),
        ("[limits]\nconfidence = 'none'\n" + REST, "limits.confidence: expected a number"),
        ("[limits]\nmax_latency = 3\n" + REST, "'max_latency' is not known"),
        ("", "expected the key 'groups', which is missing"),
        ("groups = []\n", "groups: expected at least 1 entries, got 0 entries"),
        (REST + REST, r"groups\[0\] \(rest\): takes every device, so 'rest' after it gets none"),
        (CANARY + CANARY, r"groups\[1\] \(canary\): the name is taken by another group"),
        (REST + CANARY, "'canary' after it gets none; give it tags, ids or percent, or put it"),
        (REST + "steps = [50, 10, 100]\n", r"expected rising numbers that end with 100"),
        (REST + "steps = [10, 50]\n", r"rest\)\.steps: expected rising numbers that end with 100"),
        (REST + "gate = {persons = true}\n", r"groups\[0\].gate: the key 'persons' is not known"),
        ('windows = ["Mon 8-16"]\n' + REST, "plan.toml: update window: expected such as"),
        (REST + 'windows = ["xx"]\n', "plan.toml: update window: expected such as"),
        ('on_broken_limit = "go_back"\n' + REST, "needs go_back_to, a release signed beforehand"),
        ('stepping_stones = ["2.0"]\n' + REST, "expected each release once, got 2.0, 2.0"),
        ('go_back_to = "2.0"\n' + REST, "expected another release than those rolled out, got 2.0"),
        (f"{REST}ids = {[f'device-{i:040}' for i in range(400)]}\n", "choose devices by a tag"),
        ("= 3", "plan.toml is not TOML"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_in_words_that_say_where_and_what(
    text: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        plan_of(text)
    assert str(caught.value).startswith("plan.toml")


@pytest.mark.parametrize("name", ["a/b", "../x", "", "-x", "a" * 49, "a~2"])
def test_names_stand_in_file_names_and_statuses(name: str) -> None:
    with pytest.raises(UsageError, match=r"plan\.toml: name"):
        read_plan(HEAD.replace('"r1"', f'"{name}"') + REST, "plan.toml")


def test_a_plan_of_any_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(UsageError, match="expected at most 262144 bytes"):
        plan_of("#" * 300_000)


def test_the_starting_plan_has_every_key_with_its_meaning_and_each_may_be_switched_on() -> None:
    text = starting_plan("detector", "2.0")
    flat = " ".join(line.removeprefix("#").strip() for line in text.splitlines())
    for key in keys_of(Plan):
        name = key.name.removeprefix("limits.").removeprefix("groups[].")
        assert re.search(rf"^(# )?{re.escape(name)} = ", text, re.MULTILINE), key.name
        assert key.meaning in flat, key.name

    lines = text.splitlines()
    off = [n for n, line in enumerate(lines) if re.match(r"# [a-z_.]+ = ", line)]
    assert len(off) > 25
    for number in off:  # each by itself is a plan that can be read
        if '= "none"' in lines[number] and number < lines.index("[limits]"):
            continue
        one = [*lines[:number], lines[number].removeprefix("# "), *lines[number + 1 :]]
        read_plan("\n".join(one), lines[number])


def test_a_small_fleet_has_more_canaries_and_counts_failures() -> None:
    small = read_plan(starting_plan("detector", "2.0", devices=20), "plan.toml")
    large = read_plan(starting_plan("detector", "2.0", devices=2000), "plan.toml")
    assert (small.groups[0].percent, large.groups[0].percent) == (25.0, 5.0)
    assert (small.limits.stop_after_failures, large.limits.stop_after_failures) == (2, None)
