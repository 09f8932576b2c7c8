"""What a broker keeps for a repository, found out without waiting for silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.link_events import Arrived, Subscribed
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker as Address
from tests.support.brokers import Broker


def retained(broker: Broker, repo: Repository) -> dict[str, bytes]:
    """All that the broker keeps below the repository's prefix.

    A message of our own that comes back says that all retained ones were sent before.
    """
    found: dict[str, bytes] = {}
    with open_link(Address(url=broker.publisher_url), Path()) as link:
        link.subscribe(f"{repo.settings.prefix}/#")
        link.publish(f"{repo.settings.prefix}/end", b"end", retain=False)
        for event in events(link):
            if isinstance(event, Arrived):
                if event.topic.endswith("/end"):
                    return found
                found[event.topic] = event.data
    raise AssertionError("the broker did not answer")


def events(link: BrokerLink) -> Iterator[object]:
    while (event := link.next_event(30.0)) is not None:
        assert not isinstance(event, Subscribed) or event.refused is None
        yield event
