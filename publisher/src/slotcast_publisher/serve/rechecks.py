"""Looks now and then whether brokers keep what was published, and replaces what is false.

How often is a key of `serve_settings`; how it is done is in `delivery.false_messages`.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from slotcast_publisher.delivery.false_messages import replace_false
from slotcast_publisher.delivery.push import Item
from slotcast_publisher.serve.catalog import Catalog, Stored
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve.wants import WantedPiece
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import BrokerRefused, LinkDown, SlotcastError
from slotcast_schemas.topics import Topics

FIRST_S: Final = 3_600.0
"""The seconds after which the first look is taken at the latest: `serve` may be started daily."""


class Rechecks:
    """Takes a look at each broker, again and again.

    Args:
        brokers: where.
        base: the folder that the paths of certificates are relative to.
        topics: below the repository's prefix.
        catalog: gives what is offered now.
        say: the log.
        every_s: the seconds between two looks; 0 for none.
    """

    def __init__(
        self,
        brokers: Sequence[Broker],
        base: Path,
        topics: Topics,
        catalog: Callable[[], Catalog],
        say: Say,
        *,
        every_s: float,
    ) -> None:
        self._brokers = brokers
        self._base = base
        self._topics = topics
        self._catalog = catalog
        self._say = say
        self._every_s = every_s

    def run(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        if not self._every_s:
            return
        wait_s = min(self._every_s, FIRST_S)
        while not stop.wait(wait_s):
            wait_s = self._every_s
            for broker in self._brokers:
                for stored in list(self._catalog().payloads.values()):
                    self._look(broker, stored, stop)

    def _look(self, broker: Broker, stored: Stored, stop: threading.Event) -> None:
        name = broker.address.name

        def is_needed() -> bool:
            return not stop.is_set() and stored.payload.sha256 in self._catalog().payloads

        try:
            found = replace_false(broker, self._base, self._items(stored), is_needed)
        except (LinkDown, BrokerRefused):
            return  # the session says what is wrong
        except SlotcastError as exc:
            self._say("error", broker=name, model=stored.model, reason=exc.reason, detail=str(exc))
            return
        if found:
            self._say(
                "replaced_false", broker=name, model=stored.model, messages=len(found), of=found[0]
            )

    def _items(self, stored: Stored) -> list[Item]:
        """Give the true messages of a payload, which are read when they are compared."""
        payload = stored.payload
        chunks = [
            Item(
                self._topics.chunk(payload.sha256, number),
                payload.chunk_bytes(number),
                _reading(stored, number, is_map=False),
            )
            for number in range(payload.chunk_count)
        ]
        maps = [
            Item(
                self._topics.map_part(payload.sha256, part),
                0,
                _reading(stored, part, is_map=True),
            )
            for part in range(len(payload.map_parts))
        ]
        return [*chunks, *maps]


def _reading(stored: Stored, number: int, *, is_map: bool) -> Callable[[], bytes]:
    piece = WantedPiece(stored.payload.sha256, is_map=is_map, number=number)
    return functools.partial(stored.read, piece)
