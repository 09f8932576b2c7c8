"""Who is in a simulated fleet: exact shares, and the same ones for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from slotcast_publisher.fleet.simulate.population import Traits, draw_population, parse_tags
from slotcast_publisher.fleet.simulate.script import Script, parse_script
from slotcast_schemas.errors import UsageError

RULES = b"""
[[releases]]
versions = ["2.0"]
tags = { board = "rev-b" }
share = 0.5
latency_factor = 3
[[faults]]
kind = "dies"
share = 0.1
[[faults]]
kind = "wrong_clock"
ids = ["cam-00*"]
off_s = -60
"""
BOARDS = parse_tags(["board=rev-a:0.7,rev-b:0.3", "site=north"])


def fleet(
    script: Script | None = None, *, count: int = 200, seed: int = 1, prefix: str = "cam"
) -> list[Traits]:
    return draw_population(count, prefix, BOARDS, script or parse_script(RULES, "s"), seed)


def test_shares_are_exact() -> None:
    found = fleet()
    assert Counter(traits.tags["board"] for traits in found) == {"rev-a": 140, "rev-b": 60}
    assert {traits.tags["site"] for traits in found} == {"north"}
    slow = [traits for traits in found if traits.releases]
    assert len(slow) == 30
    assert {traits.tags["board"] for traits in slow} == {"rev-b"}
    assert sum(traits.fault("dies") is not None for traits in found) == 20
    wrong = {traits.device for traits in found if traits.fault("wrong_clock")}
    assert wrong == {f"cam-00{n}" for n in range(1, 10)}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 19, 101])
def test_every_device_has_one_value_of_each_tag_whatever_rounding_leaves(count: int) -> None:
    tags = parse_tags(["x=a:0.333333333,b:0.333333333,c:0.333333334"])
    found = draw_population(count, "d", tags, Script(), 1)
    counts = Counter(traits.tags["x"] for traits in found)
    assert sum(counts.values()) == count == len({traits.device for traits in found})
    assert max(counts.values()) - min(counts[v] for v in "abc") <= 1


def test_the_seed_chooses_and_the_same_one_chooses_the_same() -> None:
    assert fleet() == fleet()
    assert fleet() != fleet(seed=2)
    assert len({traits.seed for traits in fleet()}) == 200


def test_a_rule_that_is_added_leaves_the_others_as_they_are() -> None:
    more = parse_script(RULES + b'[[faults]]\nkind = "bad_link"\nshare = 0.5\n', "s")
    for before, after in zip(fleet(), fleet(more), strict=True):
        assert after.faults[: len(before.faults)] == before.faults
        assert (after.tags, after.seed, after.releases) == (
            before.tags,
            before.seed,
            before.releases,
        )


@pytest.mark.parametrize(
    "text",
    [
        "board",
        "board=",
        "=a",
        "b=x:0.5,y:0.4",
        "b=x:0.5,y",
        "b=x:2",
        "b=x:-1,y:2",
        "b=:1",
        "b=x:nan",
    ],
)
def test_a_tag_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--tag"):
        parse_tags([text])


def test_a_tag_twice_and_a_wrong_number_or_prefix_are_refused() -> None:
    with pytest.raises(UsageError, match="more than once"):
        parse_tags(["a=1", "a=2"])
    with pytest.raises(UsageError, match="--devices"):
        fleet(count=0)
    with pytest.raises(UsageError, match="--prefix"):
        fleet(prefix="a/b")
