"""Decides which notices one broker must hear again, and when. No I/O; the clock is an argument.

After each connection it listens which notices the broker has. What is missing or outdated is
announced; what is newer than ours (another `serve` or `publish` of the same repository was
faster) is left alone. A broker that turns out to keep no retained messages gets the notices again
and again, and at once whenever a device comes online.
A notice with a *new offer* waits a while, because the `publish` that made it first sends chunks.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from slotcast_publisher.serve.catalog import Announcement

DOUBLINGS_MAX: Final = 8
"""The most doublings of the wait where somebody keeps replacing our notice with another."""


UNKNOWN_MAX: Final = 1_000
"""The most models that the repository does not offer of which a notice is remembered."""


class NoticeKind(Enum):
    """What a broker's notice is, beside ours."""

    OURS = "ours"
    NEWER = "newer"
    """Signed by the same keys, later: ours is outdated."""
    OTHER = "other"
    """Older, or not to be believed."""


@dataclass(frozen=True, slots=True)
class Announce:
    """Publish a model's notice."""

    model: str
    data: bytes


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Subscribe to the notices again: a broker that retains sends them once more."""


@dataclass(frozen=True, slots=True)
class WatchDevices:
    """Subscribe to presence: this broker retains nothing, so each arrival must be told."""


Order = Announce | LookAgain | WatchDevices


@dataclass(frozen=True, slots=True)
class AnnounceTimes:
    """Waits, in seconds; each pair is drawn from evenly.

    Attributes:
        settle_s: from the answer to a subscription until what has not come is held for missing.
        new_offer_s: how long `publish` has to send a new offer's notice itself.
        repeat_s: between announcements, where the broker keeps none.
        arrival_s: from a device's arrival to the announcement, where the broker keeps none.
        again_s: a notice is not announced again sooner than this.
    """

    settle_s: tuple[float, float] = (1.0, 2.0)
    new_offer_s: float = 60.0
    repeat_s: tuple[float, float] = (60.0, 120.0)
    arrival_s: tuple[float, float] = (0.2, 0.5)
    again_s: float = 2.0


@dataclass(slots=True)
class _Model:
    ours: Announcement
    is_there: bool = False
    due_s: float | None = None
    said_s: float = -1e9
    replaced: int = 0
    newer: bytes = b""
    """The digest of a notice that is there and newer than ours: who made it sent it first."""


@dataclass(slots=True)
class Notices:
    """The notices of one broker.

    Args:
        times: how long to wait before each announcement.
        rng: jitter.
        offered: what the repository has signed, by model.
    """

    times: AnnounceTimes
    rng: random.Random
    offered: Mapping[str, Announcement]
    keeps: bool | None = None
    """Whether the broker keeps retained messages; None while that is not known."""

    _models: dict[str, _Model] = field(init=False)
    _is_up: bool = False
    _verdict_s: float | None = None
    _must_look: bool = False
    _unknown: dict[str, bytes] = field(default_factory=dict)
    """Digests of notices of models that the repository did not offer yet at the last look."""

    def __post_init__(self) -> None:
        self._models = {model: _Model(ours) for model, ours in self.offered.items()}

    def deadline_s(self) -> float | None:
        """Say when `due` will have something, or None."""
        if not self._is_up:
            return None
        if self._is_look_due:
            return 0.0
        dues = [m.due_s for m in self._models.values() if m.due_s is not None]
        return min([*dues, *([] if self._verdict_s is None else [self._verdict_s])], default=None)

    @property
    def _is_look_due(self) -> bool:
        return self._must_look and self.keeps is None and self._verdict_s is None

    def data(self, model: str) -> bytes | None:
        """Give our notice of a model, if there is one."""
        found = self._models.get(model)
        return None if found is None else found.ours.notice

    def connected(self, *, retains: bool | None) -> None:
        """Take note of a connection; `retains` is what the broker says of itself, if it does."""
        self._is_up = True
        self.keeps = False if retains is False else None
        self._verdict_s = None
        for model in self._models.values():
            model.is_there, model.due_s, model.newer = False, None, b""

    def lost(self) -> None:
        """Take note that the connection is gone."""
        self._is_up = False

    def subscribed(self, now_s: float) -> None:
        """Take note that the broker answered: what it retains comes now."""
        wait_s = self._draw(self.times.settle_s)
        for model in self._models.values():
            if not model.is_there and model.due_s is None:
                model.due_s = now_s + wait_s
        if self._verdict_s is not None:
            self._verdict_s = now_s + wait_s

    def seen(
        self, name: str, kind: NoticeKind, now_s: float, *, retained: bool, data: bytes = b""
    ) -> None:
        """Take note of a notice that came from the broker.

        Args:
            name: its model.
            kind: what it is beside ours.
            now_s: the clock, in seconds.
            retained: whether it comes from the broker's memory.
            data: its bytes.
        """
        if retained:
            self.keeps, self._verdict_s = True, None
        model = self._models.get(name)
        if model is None:
            return
        model.is_there = kind is not NoticeKind.OTHER
        self._must_look |= model.is_there and self.keeps is None
        model.newer = _digest(data) if kind is NoticeKind.NEWER else b""
        if model.is_there:
            model.due_s = None if self.keeps is not False else model.due_s
        elif model.due_s is None:
            model.replaced += 1
            wait_s = self._draw(self.times.settle_s) * 2 ** min(model.replaced, DOUBLINGS_MAX)
            model.due_s = now_s + wait_s

    def seen_unknown(self, name: str, data: bytes) -> None:
        """Take note of a notice of a model that the repository did not offer at the last look.

        Args:
            name: the model.
            data: its bytes: anybody's, so only what is found in the repository later counts.
        """
        if name in self._unknown or len(self._unknown) < UNKNOWN_MAX:
            self._unknown[name] = _digest(data)

    def device_online(self, now_s: float) -> None:
        """Take note that a device came; where the broker keeps no notice, it must be told."""
        if self.keeps is not False:
            return
        soon_s = now_s + self._draw(self.times.arrival_s)
        for model in self._models.values():
            at_s = max(soon_s, model.said_s + self.times.again_s)
            model.due_s = at_s if model.due_s is None else min(model.due_s, at_s)

    def changed(self, offered: Mapping[str, Announcement], now_s: float) -> None:
        """Take note of another look at the repository."""
        for name, ours in offered.items():
            model = self._models.get(name)
            if model is None:
                self._models[name] = self._new_model(name, ours, now_s)
            elif model.ours != ours:
                is_new_offer = model.ours.offer != ours.offer
                is_there = self.keeps is True and model.newer == _digest(ours.notice)
                model.ours, model.is_there, model.replaced = ours, is_there, 0
                model.newer = b""
                wait_s = self.times.new_offer_s if is_new_offer else 0.0
                model.due_s = None if is_there else now_s + wait_s
        for name in self._models.keys() - offered.keys():
            del self._models[name]

    def _new_model(self, name: str, ours: Announcement, now_s: float) -> _Model:
        """Give a model that was offered since; whoever did so may have sent its notice already."""
        is_there = self.keeps is not False and self._unknown.pop(name, b"") == _digest(ours.notice)
        self._must_look |= is_there and self.keeps is None
        return _Model(ours, is_there, None if is_there else now_s + self.times.new_offer_s)

    def due(self, now_s: float) -> list[Order]:
        """Give what is to be done now."""
        if not self._is_up:
            return []
        orders: list[Order] = []
        if self._verdict_s is not None and self._verdict_s <= now_s:
            self._verdict_s, self.keeps = None, False
            orders.append(WatchDevices())
            for model in self._models.values():
                model.due_s = self._repeat_at(now_s) if model.due_s is None else model.due_s
        for name, model in self._models.items():
            if model.due_s is not None and model.due_s <= now_s:
                model.said_s = now_s
                model.due_s = None if self.keeps is not False else self._repeat_at(now_s)
                orders.append(Announce(name, model.ours.notice))
        if self.keeps is None and self._verdict_s is None and (orders or self._must_look):
            # Nothing retained has come so far: was there nothing yet, or is nothing kept?
            self._must_look = False
            self._verdict_s = now_s + 60.0  # `subscribed` sets the true one
            orders.append(LookAgain())
        return orders

    def _repeat_at(self, now_s: float) -> float:
        return now_s + self._draw(self.times.repeat_s)

    def _draw(self, between: tuple[float, float]) -> float:
        return self.rng.uniform(*between)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
