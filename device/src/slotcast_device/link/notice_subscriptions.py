"""The subscriptions to the models' notices: asked for on each connection, and lent meanwhile.

After how long a connection that lasts is asked for the notices once more is a key of the
configuration, which `shell` hands in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from slotcast_device.core.transfer.broker_limits import BrokerLimits, lends_notices
from slotcast_schemas.backoff import Backoff

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from slotcast_device.link.link import Link
    from slotcast_schemas.topics import Topics

REFUSED_FIRST_S: Final = 5.0
"""The first wait in seconds before a notice's topic is asked for again that the broker refused."""
REFUSED_CAP_S: Final = 300.0
"""The longest of these waits, in seconds."""
NO_NOTICE_AFTER_S: Final = 10.0
"""The seconds on a connection after which it is said of which models no notice came."""


class NoticeSubscriptions:
    """Keeps the notices subscribed to. No clock: times are arguments, of one that does not jump.

    Args:
        topics: the names of topics.
        models: whose notices they are.
        rng: jitter.
        again_s: the seconds after which they are asked for again, at most.
    """

    def __init__(
        self, topics: Topics, models: Sequence[str], rng: random.Random, again_s: float
    ) -> None:
        self._topics = topics
        self._models = models
        self._rng = rng
        self._again_s = again_s
        self._waits = Backoff(rng, REFUSED_FIRST_S, REFUSED_CAP_S)
        self._limits = BrokerLimits()
        self._is_held = False
        self._awaited: set[str] = set()  # models whose notice was asked for, and has not come
        self._due_s = self._silence_s = math.inf

    # --- what happened ------------------------------------------------------------------------

    def connection_made(self, link: Link, limits: BrokerLimits, now_s: float) -> None:
        """Ask for the notices on a new connection.

        Args:
            link: the connection.
            limits: what its broker is known to allow.
            now_s: the time.
        """
        self._limits = limits
        self._silence_s = now_s + NO_NOTICE_AFTER_S
        self._ask(link, now_s)

    def connection_lost(self) -> None:
        """There is nothing to ask on, and nobody who is silent."""
        self._due_s = self._silence_s = math.inf

    def limits_changed(self, limits: BrokerLimits) -> None:
        """More was learnt of what this broker allows."""
        self._limits = limits

    def refused(self, now_s: float) -> None:
        """The broker refused one: ask again after a wait that grows."""
        self._due_s = now_s + self._waits.next_s()

    def notice_came(self, model: str) -> bool:
        """A notice came: the next wait after a refusal is a short one again.

        Returns:
            Whether it is the one that a subscription asked for: each brings what is retained once.
        """
        self._waits.reset()
        is_awaited = model in self._awaited
        self._awaited.discard(model)
        return is_awaited

    # --- asking -------------------------------------------------------------------------------

    def ask_again_if_due(self, link: Link, now_s: float) -> None:
        """Ask for all of them again where it is time to."""
        if now_s >= self._due_s:
            self._ask(link, now_s)

    def _ask(self, link: Link, now_s: float) -> None:
        """Subscribe to them, again for those that the broker dropped in silence (a full queue).

        A repeated subscription brings what is retained once more (MQTT 5, 3.8.4).
        """
        for part in self._filters():
            link.subscribe(part)
        self._is_held = True
        self._awaited = set(self._models)
        self._due_s = now_s + self._rng.uniform(0.5, 1.0) * self._again_s

    def _filters(self) -> list[tuple[str, ...]]:
        """Name the topics, as many in a group as the broker takes in one packet."""
        names, size = self._models, self._limits.filters_per_packet
        parts = [names[i : i + size] for i in range(0, len(names), size)]
        return [tuple(self._topics.notice(name) for name in part) for part in parts]

    # --- where a broker allows few subscriptions ------------------------------------------------

    @property
    def _is_lent_to_transfers(self) -> bool:
        return lends_notices(len(self._models), self._limits)

    def lend(self, link: Link) -> None:
        """Let go meanwhile, where a broker allows no more subscriptions than there are models."""
        if self._is_lent_to_transfers and self._is_held:
            for part in self._filters():
                link.unsubscribe(part)
            self._is_held = False

    def take_back(self, link: Link, now_s: float, *, is_fetching: bool) -> None:
        """Ask for the notices again once nothing is fetched any more.

        Args:
            link: the connection.
            now_s: the time.
            is_fetching: whether chunks are being collected, of any model.
        """
        is_lent = self._is_lent_to_transfers and is_fetching
        if not (self._is_held or is_lent):
            self._ask(link, now_s)

    def is_silence_due(self, now_s: float) -> bool:
        """Whether to say now of which models no notice came; once on each connection."""
        if now_s < self._silence_s:
            return False
        self._silence_s = math.inf
        return True
