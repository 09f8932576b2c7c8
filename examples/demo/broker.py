"""The demo's broker, which is the one of `slotcast simulate --page`."""

from slotcast_publisher.fleet.simulate.embedded_broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
