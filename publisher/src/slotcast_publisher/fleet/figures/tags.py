"""Which tag parts the good devices from the bad ones, beyond chance.

Every tag that devices have is tried, so some would seem to matter by chance alone: with a hundred
tags, five at a level of 0.05. The level is shared among those that could reach it at all (Tarone,
A Modified Bonferroni Method for Discrete Data, 1990): a tag of one device each, such as a serial
number, can prove nothing and costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from slotcast_publisher.fleet.figures.shares import Share, chance_of_parting

Tag = tuple[str, str]
"""The name of a tag and its value."""


@dataclass(frozen=True, slots=True)
class Parting:
    """Devices with a tag are bad more often than those without.

    Attributes:
        tags: the tag; several where the very same devices have them all.
        inside: the bad ones of those that have it.
        outside: the bad ones of those that do not.
        chance: that a part of the fleet drawn blindly is so bad, times the number of tags that
            could have been found.
    """

    tags: tuple[Tag, ...]
    inside: Share
    outside: Share
    chance: float


def parted_by(
    devices: Mapping[str, Mapping[str, str]], bad: AbstractSet[str], confidence: float
) -> list[Parting]:
    """Find the tags whose devices are bad more often than chance explains, the surest first.

    Args:
        devices: the tags of each device, by its id.
        bad: ids of the bad ones; others than those of `devices` are left out.
        confidence: that none of what is found is chance, all tags taken together.
    """
    everyone, bad = devices.keys(), devices.keys() & bad
    same: dict[frozenset[str], list[Tag]] = defaultdict(list)
    for tag, holders in _having(devices).items():
        if len(holders) < len(everyone):
            same[frozenset(holders)].append(tag)
    level = 1.0 - confidence
    tests = _tests([len(having) for having in same], len(bad), len(everyone), level)
    found = []
    for having, tags in same.items():
        inside = Share(len(having & bad), len(having))
        chance = chance_of_parting(inside.hits, inside.of, len(bad), len(everyone))
        if inside.hits and chance * tests <= level:
            outside = Share(len(bad) - inside.hits, len(everyone) - inside.of)
            found.append(Parting(tuple(sorted(tags)), inside, outside, chance * tests))
    return sorted(found, key=lambda parting: (parting.chance, parting.tags))


def _having(devices: Mapping[str, Mapping[str, str]]) -> dict[Tag, set[str]]:
    having: dict[Tag, set[str]] = defaultdict(set)
    for device, tags in devices.items():
        for tag in tags.items():
            having[tag].add(device)
    return having


def _tests(sizes: list[int], bad: int, everyone: int, level: float) -> int:
    """By how many the level is shared: the least k of which no more than k can reach level / k."""
    least = {size: chance_of_parting(min(size, bad), size, bad, everyone) for size in set(sizes)}
    chances = [least[size] for size in sizes]
    return next(
        (k for k in range(1, len(sizes) + 1) if sum(c <= level / k for c in chances) <= k),
        max(1, len(sizes)),
    )
