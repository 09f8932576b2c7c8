"""A core without a shell: what it asks for is kept, what comes of it is said by the test."""

from __future__ import annotations

import hashlib
import random
from typing import TypeVar

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.plan import Facts
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState
from slotcast_schemas import wire
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Group, Payload
from slotcast_schemas.topics import Topics
from slotcast_schemas.verify import Trusted
from tests.support import messages

FACTS = Facts(device="cam-1", tags={}, onnxruntime="1.20.0", memory_bytes=10**9, disk_bytes=10**9)
DATA = b"c" * 1024
MAP = wire.encode(
    MapPart(payload=hashlib.sha256(DATA).digest(), part=0, digests=hashlib.sha256(DATA).digest())
)
PAYLOAD = Payload(
    codec="full+none",
    sha256=hashlib.sha256(DATA).digest(),
    size_bytes=1024,
    chunk_size_bytes=1024,
    map_parts=(hashlib.sha256(MAP).digest(),),
)
T = TypeVar("T")


def trusted(state: str = "active") -> Trusted:
    """A verified notice of one release."""
    release = messages.release(rebased=None, requires=())
    offer = messages.offer(groups=(Group(name="all"),), payloads=(PAYLOAD,), state=state)
    return Trusted(release, wire.encode(release), offer, b"")


class Shell:
    """Hands events to a core and keeps its actions, carrying nothing out."""

    def __init__(self) -> None:
        self.core = ModelCore("detector", "cam-1", Topics(), random.Random(1))
        self.actions: list[act.Action] = list(self.core.start())

    def happen(self, event: ev.Event, mono_s: float = 1.0) -> None:
        """Hand over an event."""
        self.actions += self.core.handle(event, ev.Now(mono_s, 1))

    def last(self, kind: type[T]) -> T:
        """Give the last action of a kind."""
        return next(action for action in reversed(self.actions) if isinstance(action, kind))

    def done(self, kind: type[act.Job], result: object) -> None:
        """Say what came of the last job of a kind."""
        self.happen(ev.JobDone(self.last(kind), result))


def collecting(state: ModelState | None = None) -> Shell:
    """A core with two empty slots, and this record, that asked for a release's only chunk."""
    shell = Shell()
    shell.done(act.Inspect, Findings(state, None, {}, {}, frozenset()))
    shell.happen(ev.ConnectionMade("mqtt://a", 64))
    shell.happen(ev.NoticeArrived(b"the offer"))
    shell.done(act.Verify, act.NoticeVerified(trusted(), FACTS))
    shell.done(act.OpenSpool, act.Spooled({0: MAP}, is_empty=False))
    shell.done(act.ScanSpool, set())
    return shell
