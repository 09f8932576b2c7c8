"""Who is in a simulated fleet: ids, tags, and which rules of the script are about whom. Pure.

Shares are exact: of 20 devices, a share of 0.3 is six, whichever the seed chooses. What one rule
chooses does not depend on other rules, so a fleet stays the same when a rule is added.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.fleet.simulate.script import (
    Chosen,
    FaultRule,
    ReleaseRule,
    Script,
    is_named,
)
from slotcast_schemas import fields
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert

DEVICES_MAX: Final = 20_000
"""The most devices of one process: each has a connection, and a process so many open files."""
_SHARE_OFF_MAX: Final = 1e-6
"""By how much the shares of a tag's values may miss one."""
_PREFIX: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}\Z")


@dataclass(frozen=True, slots=True)
class TagShares:
    """One tag, and which share of the devices has which of its values."""

    name: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What one device is like.

    Attributes:
        seed: of all that happens by chance on it.
        releases, faults: the rules that are about it, in the script's order.
    """

    device: str
    tags: dict[str, str]
    seed: int
    releases: tuple[ReleaseRule, ...] = ()
    faults: tuple[FaultRule, ...] = ()

    def fault(self, kind: str) -> FaultRule | None:
        """Give the last rule of a kind."""
        return next((rule for rule in reversed(self.faults) if rule.kind == kind), None)


def parse_tags(given: Sequence[str]) -> tuple[TagShares, ...]:
    """Read `NAME=VALUE:SHARE,VALUE:SHARE`; a single value needs no share.

    Raises:
        UsageError: one is not of that form, or its shares do not add up to 1.
    """
    found = tuple(_parse_tag(text) for text in given)
    names = [tag.name for tag in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--tag: {name!r} is given more than once")
    return found


def _parse_tag(text: str) -> TagShares:
    name, equals, rest = text.partition("=")
    wanted = "--tag: expected NAME=VALUE or NAME=VALUE:SHARE,VALUE:SHARE with shares that add to 1"
    if not name or not equals or not rest:
        raise UsageError(f"{wanted}, got {text!r}")
    parts = rest.split(",")
    if len(parts) == 1 and ":" not in rest:
        values: tuple[tuple[str, float], ...] = ((rest, 1.0),)
    else:
        values = tuple(_parse_value(part, text, wanted) for part in parts)
    if abs(sum(share for _, share in values) - 1.0) > _SHARE_OFF_MAX:
        raise UsageError(f"{wanted}, got {text!r}")
    convert({name: values[0][0]}, fields.Tags, "--tag")
    return TagShares(name, values)


def _parse_value(part: str, text: str, wanted: str) -> tuple[str, float]:
    value, colon, share = part.rpartition(":")
    try:
        number = float(share)
    except ValueError:
        number = -1.0
    if not colon or not value or not 0.0 <= number <= 1.0:
        raise UsageError(f"{wanted}, got {text!r}")
    return value, number


def draw_population(
    count: int, prefix: str, tags: Sequence[TagShares], script: Script, seed: int
) -> list[Traits]:
    """Draw a fleet; the same arguments give the same one.

    Args:
        count: how many devices.
        prefix: what their ids begin with.
        tags: what tags they have.
        script: the rules.
        seed: chooses who is what.

    Raises:
        UsageError: a number or a prefix that cannot be.
    """
    if not 1 <= count <= DEVICES_MAX:
        raise UsageError(f"--devices: expected 1 to {DEVICES_MAX}, got {count}")
    if not _PREFIX.match(prefix):
        raise UsageError(
            "--prefix: expected up to 48 of A-Z, a-z, 0-9, '.', '_', '-', beginning with a letter"
            f" or digit, got {prefix!r:.80}"
        )
    width = len(str(count))
    ids = [f"{prefix}-{number:0{width}}" for number in range(1, count + 1)]
    tagged: dict[str, dict[str, str]] = {device: {} for device in ids}
    for tag in tags:
        values = _spread(tag, count)
        _rng(seed, "tag", tag.name).shuffle(values)
        for device, value in zip(ids, values, strict=True):
            tagged[device][tag.name] = value
    releases = [
        _choose(rule, tagged, seed, f"release {n}") for n, rule in enumerate(script.releases)
    ]
    faults = [_choose(rule, tagged, seed, f"fault {n}") for n, rule in enumerate(script.faults)]
    return [
        Traits(
            device=device,
            tags=tagged[device],
            seed=_rng(seed, "device", device).getrandbits(48),
            releases=tuple(
                rule for rule, who in zip(script.releases, releases, strict=True) if device in who
            ),
            faults=tuple(
                rule for rule, who in zip(script.faults, faults, strict=True) if device in who
            ),
        )
        for device in ids
    ]


def _rng(seed: int, *about: str) -> random.Random:
    """Give chance of its own to each thing, so that none depends on another."""
    digest = hashlib.sha256("\0".join((str(seed), *about)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8]))  # noqa: S311 - a simulation, not secrets


def _spread(tag: TagShares, count: int) -> list[str]:
    """Give a value for each device, by shares: what rounding leaves over goes to the largest."""
    counts = {value: int(share * count) for value, share in tag.values}
    by_rest = sorted(tag.values, key=lambda pair: pair[1] * count - int(pair[1] * count))
    while sum(counts.values()) < count:
        value, _ = by_rest.pop() if by_rest else tag.values[0]
        counts[value] += 1
    return [value for value, number in counts.items() for _ in range(number)]


def _choose(rule: Chosen, tagged: dict[str, dict[str, str]], seed: int, about: str) -> set[str]:
    """Choose the devices that a rule is about."""
    able = [
        device
        for device, tags in tagged.items()
        if is_named(device, rule) and rule.tags.items() <= tags.items()
    ]
    return set(_rng(seed, about).sample(able, round(rule.share * len(able))))
