"""What `tests.support.proxy` does to a link: the plan, the counters, and the two that keep to it.

It decides when bytes may pass and where a connection is cut; the sockets are the proxy's.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from tests.support.mqtt_packets import Packet

Kind = Literal["rst", "fin"]
Direction = Literal["down", "up"]

READ_BYTES: Final = 256 * 1024
_SLICE_S: Final = 0.01
"""A throttled stream is written in slices of about this long, so that it is smooth."""
_LATE_S: Final = 0.1
"""How far a throttled stream may catch up when the machine was late, so that the mean holds."""


class Act(Enum):
    """What happens to one PUBLISH on its way down."""

    PASS = "pass"
    DROP = "drop"
    """Lost as brokers lose it: the device never sees it, the broker holds it for delivered."""
    DUPLICATE = "duplicate"
    CORRUPT = "corrupt"
    """One bit of the last byte of its payload is flipped."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the proxy does to the link. The default does nothing but count.

    Attributes:
        down_bits_per_s, up_bits_per_s: throttle; None is as fast as it goes.
        delay_s: added to each direction (so twice that to a round trip), at no loss of rate.
        cut_at_bytes: counts of bytes down, over all connections, at which the connection is cut:
            exactly so many bytes were written to the device's sockets then.
        cut_every_bytes: cut again and again, after a random number of bytes down, uniform in
            [N/2, 3N/2].
        cut_up_at_bytes: the same as `cut_at_bytes`, of bytes up.
        cut_kind: `rst` as a lost link with a router that says so, `fin` as an orderly close.
        stall_at_bytes: from this count of bytes down on nothing moves, and nothing is closed,
            until `resume()`.
        faults_on: regular expression of the topics that shares below apply to.
        drop_share, duplicate_share, corrupt_share: of the PUBLISH packets down, in [0, 1].
        reorder_window: up to this many PUBLISH packets down are held back and mixed; 0 is none.
        decide: says what happens to a PUBLISH down instead of the shares.
        tap: sees every whole packet on its way, in the proxy's thread.
        seed: of everything random.
    """

    down_bits_per_s: float | None = None
    up_bits_per_s: float | None = None
    delay_s: float = 0.0
    cut_at_bytes: tuple[int, ...] = ()
    cut_every_bytes: int | None = None
    cut_up_at_bytes: tuple[int, ...] = ()
    cut_kind: Kind = "rst"
    stall_at_bytes: int | None = None
    faults_on: str = r"/payloads/"
    drop_share: float = 0.0
    duplicate_share: float = 0.0
    corrupt_share: float = 0.0
    reorder_window: int = 0
    decide: Callable[[Packet], Act] | None = None
    tap: Callable[[Direction, Packet], None] | None = None
    seed: int = 1

    @property
    def needs_packets(self) -> bool:
        """Whether packets must be put together whole before they go on."""
        shares = self.drop_share or self.duplicate_share or self.corrupt_share
        return bool(shares or self.reorder_window or self.decide or self.tap)

    @property
    def rations_bytes(self) -> bool:
        """Whether bytes are held up or cut, so that buffers must be small."""
        cuts = self.cut_at_bytes or self.cut_every_bytes or self.cut_up_at_bytes
        throttled = self.down_bits_per_s or self.up_bits_per_s
        return bool(cuts or throttled or self.stall_at_bytes is not None)


@dataclass(slots=True)
class Counters:
    """What passed so far, over all connections. Packets count once their header has passed.

    `cuts` are those that the proxy made (plan and `sever()`), not those of the device or broker.
    With TLS the packets stay at zero.
    """

    down_bytes: int = 0
    up_bytes: int = 0
    connections: int = 0
    refused: int = 0
    cuts: int = 0
    down_packets: Counter[str] = field(default_factory=Counter)
    up_packets: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    duplicated: int = 0
    corrupted: int = 0

    @property
    def total_bytes(self) -> int:
        """Bytes both ways."""
        return self.down_bytes + self.up_bytes


class Throttle:
    """A token bucket in time: each byte takes 8 / rate seconds, and a little may be caught up."""

    def __init__(self, bits_per_s: float | None) -> None:
        self._bytes_per_s = None if bits_per_s is None else bits_per_s / 8
        self._free_s = 0.0

    @property
    def slice_bytes(self) -> int:
        """How many bytes to move at once."""
        if self._bytes_per_s is None:
            return READ_BYTES
        return max(1, min(READ_BYTES, int(self._bytes_per_s * _SLICE_S)))

    def take(self, size_bytes: int, now_s: float) -> float:
        """Take so many bytes; give the seconds to wait, as long as they need on this link."""
        if self._bytes_per_s is None:
            return 0.0
        self._free_s = max(self._free_s, now_s - _LATE_S) + size_bytes / self._bytes_per_s
        return max(0.0, self._free_s - now_s)


class Marks:
    """Where the next cut is, in bytes of one direction over the proxy's life."""

    def __init__(self, at: Iterable[int], every: int | None, rng: random.Random) -> None:
        self._at = sorted(at)
        self._every = every
        self._rng = rng
        self._random = self._draw(0)

    def room(self, passed: int) -> int | None:
        """Give how many bytes may pass before the next cut; None without one."""
        marks = [*self._at[:1], *([self._random] if self._random is not None else [])]
        return max(0, min(marks) - passed) if marks else None

    def passed(self, passed: int) -> None:
        """Forget the marks up to here."""
        self._at = [mark for mark in self._at if mark > passed]
        if self._random is not None and self._random <= passed:
            self._random = self._draw(passed)

    def _draw(self, passed: int) -> int | None:
        if self._every is None:
            return None
        return passed + self._rng.randint(self._every // 2, self._every * 3 // 2)
