"""What each broker did with earlier connections, and how the next one is made therefore.

In memory only: what is sure to be so of a broker is in the book. Waits are of their own for each
reason: that a notice came before does not help a device that is pushed off by another one with its
id.
The first and the longest wait are keys of the configuration.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from slotcast_schemas.backoff import Backoff
from slotcast_schemas.errors import IdInUse, LinkDown, ProtocolViolation, UselessTraffic

if TYPE_CHECKING:
    import random

    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.core.transfer.broker_limits import BrokerLimits, Ending
    from slotcast_device.core.transfer.broker_limits import Protocol as Version

_STABLE_S: Final = 30.0
"""The seconds for which a connection must last, or else bring something, not to count as closed
quickly."""
CAREFUL_AFTER: Final = 2
"""The number of connections in a row that were closed quickly after which things are asked for one
at a time."""
SUSPICIOUS_AFTER: Final = 3
"""The number of them after which the device looks whether another one has its id."""
HANG_UPS_MAX: Final = 5
"""The number of times that a broker which took connections before hangs up until it is asked in
every way again: it may have become another."""
IN_USE_CAP_FACTOR: Final = 5
"""How many times longer than for a lost link the wait becomes where another device has this id."""
MUTED_MAX: Final = 64
"""The most topics of one broker that are remembered because it hung up on them."""
SHUNNED_FIRST_S: Final = 60.0
"""The first of the waits in seconds for which a broker is left alone that misbehaved; they grow."""
SHUNNED_CAP_S: Final = 3600.0
"""The longest of these waits, an hour."""
SHUNNED_FOR: Final = (ProtocolViolation, UselessTraffic)
"""The errors for which a broker is left alone: no honest one does that."""
MUTED_S: Final = 3600.0
"""The seconds for which nothing is published on a topic that a broker hangs up on."""


def ways_to_connect(broker: BrokerConfig, limits: BrokerLimits) -> list[tuple[Version, bool]]:
    """Give protocol, and whether the last will is retained, in the order to try."""
    versions: list[Version] = ["5", "3.1.1"] if broker.protocol == "auto" else [broker.protocol]
    if limits.protocol in versions:
        versions.sort(key=lambda version: version != limits.protocol)
    retained = broker.retained and limits.retained
    ways = [(version, retained) for version in versions]
    return ways + [(version, False) for version in versions] if retained else ways


class BrokerHistory:
    """The brokers by name. No clock: times are arguments.

    Args:
        config: the waits.
        rng: jitter.
    """

    def __init__(self, config: DeviceConfig, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._waits: dict[str, Backoff] = {}
        self._ways: dict[str, int] = {}
        self._versions_refused: dict[str, set[Version]] = {}  # by broker, in this round of ways
        self._hang_ups: dict[str, int] = {}
        self._quick_ends: dict[str, int] = {}
        self._muted: dict[str, dict[str, float]] = {}  # by broker and topic, until when
        self._blamed: dict[str, Counter[str]] = {}
        self._shunned: dict[str, Backoff] = {}
        self._shunned_until_s: dict[str, float] = {}
        self._broker_index = 0

    # --- how to make the next one -------------------------------------------------------------

    @property
    def broker(self) -> BrokerConfig:
        """The broker whose turn it is."""
        brokers = self._config.values.brokers
        return brokers[self._broker_index % len(brokers)]

    def choose_next_broker(self, next_s: float) -> float:
        """Take the next broker that is not left alone by then, else the first to be tried again.

        Returns:
            When to try it.
        """
        brokers = self._config.values.brokers
        turn = [self._broker_index + 1 + step for step in range(len(brokers))]
        free_s = {
            at: max(next_s, self.shunned_until_s(brokers[at % len(brokers)].name)) for at in turn
        }
        self._broker_index = min(turn, key=lambda at: free_s[at])
        return free_s[self._broker_index]

    def way(self, broker: BrokerConfig, known: BrokerLimits) -> tuple[Version, bool]:
        """Give the protocol to speak, and whether the last will is retained."""
        ways = ways_to_connect(broker, known)
        return ways[self._ways.get(broker.name, 0) % len(ways)]

    def is_careful(self, name: str) -> bool:
        """Whether to ask for one thing at a time: connections were closed quickly."""
        return self._quick_ends.get(name, 0) >= CAREFUL_AFTER

    def is_suspicious(self, name: str) -> bool:
        """Whether to look if another device has this id: nothing else explains the quick ends."""
        return self._quick_ends.get(name, 0) >= SUSPICIOUS_AFTER and name not in self._blamed

    def muted_topics(self, name: str, now_s: float) -> frozenset[str]:
        """Give the topics that this broker was lately found to hang up on."""
        muted = self._muted.get(name, {})
        return frozenset(topic for topic, until_s in muted.items() if until_s > now_s)

    def wait_s(self, reason: str) -> float:
        """Give the next wait of those that belong to a reason."""
        timing = self._config.values.timing
        factor = IN_USE_CAP_FACTOR if reason == IdInUse.reason else 1
        made = Backoff(self._rng, timing.reconnect_first_s, factor * timing.reconnect_cap_s)
        return self._waits.setdefault(reason, made).next_s()

    # --- brokers that misbehaved --------------------------------------------------------------

    def shun(self, name: str, now_s: float) -> float:
        """Leave a broker alone for a while; give until when."""
        made = Backoff(self._rng, SHUNNED_FIRST_S, SHUNNED_CAP_S)
        wait = self._shunned.setdefault(name, made)
        self._shunned_until_s[name] = now_s + max(wait.next_s(), SHUNNED_FIRST_S / 2)
        return self._shunned_until_s[name]

    def shunned_until_s(self, name: str) -> float:
        """Give until when a broker is left alone; a time that has passed if it is not."""
        return self._shunned_until_s.get(name, 0.0)

    # --- what became of one -------------------------------------------------------------------

    def came_up(self, name: str) -> None:
        """The broker took a connection: the way that it was asked is right."""
        self._ways[name] = self._hang_ups[name] = 0

    def hung_up(self, broker: BrokerConfig, known: BrokerLimits, *, is_version: bool) -> bool:
        """Choose another way, where the broker did not even take the connection.

        Args:
            broker: which.
            known: what is known of it.
            is_version: whether it said that it does not speak this version of MQTT.

        Returns:
            Whether to ask in that way at once.
        """
        name = broker.name
        self._hang_ups[name] = self._hang_ups.get(name, 0) + 1
        knows = known.protocol is not None
        if knows and not is_version and self._hang_ups[name] < HANG_UPS_MAX:
            return False
        ways = ways_to_connect(broker, known)
        now = self._ways.get(name, 0) % len(ways)
        unknown = self._versions_refused.setdefault(name, set())
        if is_version:
            unknown.add(ways[now][0])
        left = (at for at in range(now + 1, len(ways)) if ways[at][0] not in unknown)
        self._ways[name] = next(left, 0)
        if self._ways[name] == 0:  # the next round asks in every way again: it may be another one
            unknown.clear()
        return ways[self._ways[name]][0] != ways[now][0] and self._ways[name] == now + 1 == 1

    def ended(self, name: str, lasted_s: float, *, has_progress: bool, is_lost: bool) -> None:
        """Wait little after a connection that lasted or was worth it; count those that were not.

        Args:
            name: the broker's.
            lasted_s: for how long there was a connection.
            has_progress: whether it brought a chunk.
            is_lost: whether it ended without a word.
        """
        shunned = self._shunned.get(name)
        if is_lost and shunned is not None and lasted_s > 2 * shunned.bound_s:
            shunned.reset()
        for reason, wait in self._waits.items():
            is_worth_it = has_progress and reason == LinkDown.reason
            if is_worth_it or lasted_s > max(_STABLE_S, 2 * wait.bound_s):
                wait.reset()
        if has_progress or lasted_s > _STABLE_S:
            self._quick_ends[name] = 0
            self._blamed.pop(name, None)
        elif is_lost:
            self._quick_ends[name] = self._quick_ends.get(name, 0) + 1

    def is_blamed(self, name: str, ending: Ending) -> bool:
        """Whether a connection ended while just this waited for an answer, not for the first time.

        Once may be a link that was cut.
        """
        blamed = self._blamed.setdefault(name, Counter())
        if len(blamed) >= MUTED_MAX:
            blamed.clear()
        blamed[ending.topic or ending.filters[0]] += 1
        return blamed[ending.topic or ending.filters[0]] > 1

    def mute(self, name: str, topic: str, now_s: float) -> None:
        """Publish nothing on a topic for a while: by inference, the broker hangs up on it.

        Args:
            name: the broker's.
            topic: which.
            now_s: the time.
        """
        muted = self._muted.setdefault(name, {})
        if len(muted) < MUTED_MAX:
            muted[topic] = now_s + MUTED_S
