"""This device's presence at a broker, and whether another device has its id.

On MQTT 3.1.1 a broker does not say why it closes a connection. But where the last word of the
presence is neither this run's own nor its last will, another device spoke in between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from slotcast_schemas import wire
from slotcast_schemas.errors import IdInUse, MalformedMessage
from slotcast_schemas.messages import Presence

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig

TWIN_SEEN_S: Final = 600.0
"""The seconds for which a lost connection counts as taken over, once another device was seen to
have this id."""


NOT_ASKED_S: Final = (60.0, 3600.0)
"""The seconds for which a broker that hung up when it was asked for the presence is not asked: at
first, and at most. It may have been a takeover by the very device that was asked about."""


class OwnPresence:
    """What is said of this device, and what brokers say of it.

    Args:
        config: which device it is.
        session: what this run of the software calls itself.
        wall_clock: the time of day, in seconds since 1970.

    Attributes:
        topic: where its presence is.
    """

    def __init__(
        self, config: DeviceConfig, session: str, wall_clock: Callable[[], float] = time.time
    ) -> None:
        self._wall_clock = wall_clock
        self._device = config.values.device
        self._session = session
        self._told: set[str] = set()
        self._not_asked: dict[str, tuple[float, float]] = {}
        self._twin_until_s = 0.0
        self.topic = config.topics.device(self._device, "presence")

    def message(self, *, online: bool) -> bytes:
        """Build what is said: that the device is there, or is not."""
        return wire.encode(
            Presence(
                device=self._device,
                online=online,
                time=int(self._wall_clock()),
                session=self._session,
            )
        )

    def was_told(self, broker: str) -> None:
        """A broker has this run's presence: another one there is now another device's."""
        self._told.add(broker)

    # --- whether another device has this id -----------------------------------------------------

    def may_ask(self, broker: str, now_s: float) -> bool:
        """Whether a broker may be asked for the presence."""
        until_s, _ = self._not_asked.get(broker, (now_s, 0.0))
        return now_s >= until_s

    def ask_later(self, broker: str, now_s: float) -> None:
        """A broker hung up when it was asked for the presence: each time for twice as long."""
        shortest_s, longest_s = NOT_ASKED_S
        _, last_s = self._not_asked.get(broker, (now_s, shortest_s / 2))
        wait_s = min(2 * last_s, longest_s)
        self._not_asked[broker] = now_s + wait_s, wait_s

    def is_of_another(self, broker: str, data: bytes) -> bool:
        """Whether another device spoke last under this one's id; asked where that is in doubt."""
        try:
            session = wire.decode(data, Presence).session
        except MalformedMessage:
            return False
        return session != self._session and broker in self._told

    def note_twin(self, now_s: float) -> None:
        """Another device was seen to have this id."""
        self._twin_until_s = now_s + TWIN_SEEN_S

    def has_twin(self, now_s: float) -> bool:
        """Whether one was seen lately."""
        return now_s < self._twin_until_s


def id_in_use(broker: str) -> IdInUse:
    """Give the error for a connection that another device with this id took over."""
    return IdInUse(
        f"{broker}: another client connects with this device's id; give each device its own"
        " (`slotcast provision`), and run it once"
    )
