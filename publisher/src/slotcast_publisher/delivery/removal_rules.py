"""Decides which payloads are taken off a broker. No I/O; the clock is an argument (ADR 0064).

Brokers keep every retained message until somebody removes it. A payload that no offer names is
needed by nobody who hears the present notices; a device that heard an earlier one may still be
fetching it, such as one that refuses the present offer. So what became unused waits for a time of
grace, and what a device says that it fetches, or asks for, waits longer.
The time of grace is a key of `settings`; how often this is done is decided by `serve.service`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import msgspec


class Unused(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that no offer uses.

    Attributes:
        since_s: when that was first seen, seconds since 1970.
        wanted_s: when a device last asked for it since.
    """

    since_s: float
    wanted_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Stocked:
    """A payload that a broker keeps, as far as is known.

    Attributes:
        sha256: names it.
        chunks: how many chunks it has.
        parts: how many parts its map has.
        size_bytes: of all chunks; None for one that this repository does not know.
        is_ours: whether this repository made it, so that it may be taken off.
    """

    sha256: bytes
    chunks: int
    parts: int
    size_bytes: int | None
    is_ours: bool


@dataclass(frozen=True, slots=True)
class RemovalPlan:
    """What is to be done with a broker's payloads.

    Attributes:
        remove: those to take off now.
        fetched: those that would be due, and are spared for a device that fetches them.
        unused: the new record of what is unused, by hex digest; without what is removed.
        next_s: when something will be due, if nothing changes; None for never.
    """

    remove: tuple[Stocked, ...]
    fetched: tuple[Stocked, ...]
    unused: dict[str, Unused]
    next_s: float | None


def plan_removal(
    stock: Sequence[Stocked],
    used: Collection[bytes],
    known: Mapping[str, Unused],
    fetched: Collection[bytes],
    *,
    now_s: float,
    grace_s: float,
) -> RemovalPlan:
    """Say what may be taken off a broker.

    Args:
        stock: what it keeps.
        used: payloads that an offer names, of this repository or in a notice at the broker.
        known: since when which payload was unused, as noted before.
        fetched: payloads that devices say they fetch.
        now_s: seconds since 1970.
        grace_s: how long an unused payload is kept.
    """
    remove, spared, unused = [], [], {}
    for item in stock:
        if item.sha256 in used:
            continue
        noted = _noted(known.get(item.sha256.hex()), now_s)
        is_due = item.is_ours and max(noted.since_s, noted.wanted_s) + grace_s <= now_s
        if is_due and item.sha256 not in fetched:
            remove.append(item)
            continue
        unused[item.sha256.hex()] = noted
        if is_due:
            spared.append(item)
    ours = {item.sha256.hex() for item in stock if item.is_ours}
    dues = [max(u.since_s, u.wanted_s) + grace_s for key, u in unused.items() if key in ours]
    return RemovalPlan(tuple(remove), tuple(spared), unused, min(dues, default=None))


def _noted(known: Unused | None, now_s: float) -> Unused:
    """Begin a wait now, also where the clock has gone back behind what was noted."""
    if known is None or known.since_s > now_s or known.wanted_s > now_s:
        return Unused(since_s=now_s)
    return known
