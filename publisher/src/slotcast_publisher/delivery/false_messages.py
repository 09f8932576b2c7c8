"""Reads back what a broker keeps of offered payloads, and replaces what is false.

Devices believe no false chunk and ask for a true one, which `serve` sends. But each device that
comes later meets it again, and who asks spends of its budget; so what lies there is looked at now
and then. What is missing is left to those who ask for it: a broker that keeps nothing would be sent
everything each time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.push import RECONNECT_S, Item, push, reconnect_waits
from slotcast_publisher.delivery.readback import ReadbackWaits, RetainedReader
from slotcast_publisher.settings import Broker

_AT_ONCE: Final = 256
"""The number of messages that are looked at before it is asked whether to go on."""


def replace_false(
    broker: Broker, base: Path, items: Sequence[Item], is_needed: Callable[[], bool]
) -> list[str]:
    """Look at messages that a broker may keep; gives the topics on which it kept others.

    Args:
        broker: where.
        base: the folder that the paths of certificates are relative to.
        items: the true messages.
        is_needed: whether to go on; asked before each part, and before anything is sent.

    Raises:
        LinkDown, BrokerRefused: the broker cannot be asked, or does not take a true one.
        StorageFailed: the true ones cannot be read.
    """
    connect = functools.partial(open_link, broker, base)
    replaced: list[str] = []
    for at in range(0, len(items), _AT_ONCE):
        if not is_needed():
            break
        part = items[at : at + _AT_ONCE]
        reader = RetainedReader(connect, ReadbackWaits())
        reader.missing(part)
        false = [item for item in part if item.topic in reader.false]
        if false and is_needed():
            push(connect, [false], waits=reconnect_waits(*RECONNECT_S))
            replaced += [item.topic for item in false]
    return replaced
