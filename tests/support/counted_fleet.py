"""A few devices that say anything that changes how they are counted, and their counts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.serve.companion import Heard
from slotcast_schemas import wire
from slotcast_schemas.messages.status import Inventory, ModelStatus, SlotStatus, Target
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from slotcast_schemas.wire import Message
from tests.support import messages as given
from tests.support.fleet_database import rows_of

TOPICS: Final = Topics("t")
_NOW_S: Final = 1_790_000_300.0
_DEVICES: Final = 5

Counts = dict[str, dict[tuple[object, ...], int]]
"""By table, and there by the key of a row; those of no device are left out."""


def counts_of(database: Database) -> Counts:
    """Read all counts that are kept."""
    return {
        table.name: {
            tuple(row)[:-1]: row.devices for row in rows_of(database, table) if row.devices
        }
        for table in (tables.model_counts, tables.tag_counts)
    }


def said_by_a_fleet(chance: random.Random, first: int, count: int) -> Iterator[Heard]:
    """Give messages of some devices.

    Args:
        chance: draws what they say.
        first: the counter of the first; each has a higher one.
        count: how many.
    """
    for number in range(count):
        device = f"cam-{chance.randrange(_DEVICES)}"
        message: Message
        match chance.randrange(4):
            case 0:
                is_online = chance.random() < 0.5
                message = given.presence(device=device, online=is_online, time=first + number)
            case 1:
                message = given.metrics(device=device, counter=first + number)
            case _:
                message = _status(device, first + number, chance)
        topic = TOPICS.device(device, message.KIND)
        yield Heard(topic, wire.encode(message), False, _NOW_S, "b")


def _status(device: str, counter: int, chance: random.Random) -> Message:
    few = random.Random(chance.randrange(6))  # so that tags change, and nothing else does
    models = tuple(_model(name, few) for name in ("clf", "ocr") if few.random() < 0.8)
    keys = [key for key in ("site", "board") if chance.random() < 0.7]
    tags = {key: chance.choice(("a", "b")) for key in keys}
    return given.status(
        device=device, counter=counter, inventory=Inventory(tags=tags), models=models
    )


def _model(name: str, chance: random.Random) -> ModelStatus:
    sequence = chance.randrange(3)
    runs = SlotStatus(slot="a", version=f"{sequence}.0", sequence=sequence) if sequence else None
    group = chance.choice(("canary", "everyone"))
    target = Target(version="2.0", sequence=2, deployment="r-2", group=group)
    return ModelStatus(
        model=name,
        state=chance.choice((State.COMMITTED, State.TRIAL, State.QUEUED)),
        reason=chance.choice(("committed", "on_trial")),
        active=runs,
        target=target if chance.random() < 0.7 else None,
    )
