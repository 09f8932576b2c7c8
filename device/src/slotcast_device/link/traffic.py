"""What went over the connections, and whether a broker sent too much that nobody wanted.

Each broker has one budget (`core.broker_budget`) for all its connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from slotcast_device.core.broker_budget import BrokerBudget
from slotcast_schemas.errors import UselessTraffic

if TYPE_CHECKING:
    from slotcast_device.link.link import Link


class Traffic(msgspec.Struct, frozen=True):
    """Bytes that went over connections."""

    received_bytes: int = 0
    sent_bytes: int = 0


class TrafficMeter:
    """Counts over all connections. No clock: times are arguments.

    Args:
        credit_max_chunks: chunks that may be under way at once.

    Attributes:
        budget: of the present connection's broker, which all its connections share.
    """

    def __init__(self, credit_max_chunks: int) -> None:
        self._credit_max_chunks = credit_max_chunks
        self._earlier = Traffic()
        self._budgets: dict[str, BrokerBudget] = {}
        self.budget = BrokerBudget(credit_max_chunks)  # of no broker, until `begin`
        self._counted = (0, 0)  # bytes and packets of this connection that its budget knows of

    @property
    def useless_bytes(self) -> int:
        """What came of all brokers that nobody wanted; what is read just now may not count yet."""
        return max(0, sum(budget.useless_bytes for budget in self._budgets.values()))

    def total(self, link: Link | None) -> Traffic:
        """Give what went over all connections so far, MQTT's own bytes included.

        Args:
            link: the present connection, if there is one.
        """
        earlier = self._earlier
        if link is None:
            return earlier
        return Traffic(
            earlier.received_bytes + link.received_bytes, earlier.sent_bytes + link.sent_bytes
        )

    def begin(self, broker: str) -> None:
        """The next connection is made, to this broker."""
        self._counted = (0, 0)
        self.budget = self._budget_of(broker)

    def end(self, link: Link) -> None:
        """A connection is let go of: what went over it counts for good."""
        self._earlier = self.total(link)

    def _budget_of(self, broker: str) -> BrokerBudget:
        found = self._budgets.get(broker)
        if found is None:
            found = BrokerBudget(self._credit_max_chunks)
            self._budgets[broker] = found
        return found

    def count(self, link: Link, now_s: float) -> UselessTraffic | None:
        """Count what came; give the error once too much of it was wanted by nobody."""
        size_bytes, packets = self._counted
        self._counted = (link.received_bytes, link.packets)
        budget = self.budget
        budget.came(link.received_bytes - size_bytes, link.packets - packets, now_s)
        if not budget.is_spent(now_s):
            return None
        return UselessTraffic(
            f"{link.broker.name}: it sent too much that nobody asked for:"
            f" {budget.useless_bytes} of {budget.received_bytes} bytes so far"
        )
