"""What becomes of a notice that comes while the core is busy."""

from __future__ import annotations

import hashlib
import random
from typing import TypeVar

import pytest

from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.plan import Facts
from slotcast_device.core.recovery import Findings
from slotcast_schemas import wire
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Group, Payload
from slotcast_schemas.states import State
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
        self.actions: list[ev.Action] = list(self.core.start())

    def happen(self, event: ev.Event) -> None:
        self.actions += self.core.handle(event, ev.Now(1.0, 1))

    def last(self, kind: type[T]) -> T:
        return [action for action in self.actions if isinstance(action, kind)][-1]

    def done(self, kind: type[ev.Job], result: object) -> None:
        self.happen(ev.JobDone(self.last(kind), result))


def collecting() -> Shell:
    """A core that asked for the one chunk of its first release."""
    shell = Shell()
    shell.done(ev.Inspect, Findings(None, None, {}, {}, frozenset()))
    shell.happen(ev.LinkUp("mqtt://a", 64))
    shell.happen(ev.NoticeArrived(b"the offer"))
    shell.done(ev.Verify, ev.Verified(trusted(), FACTS))
    shell.done(ev.OpenSpool, ev.Spooled({0: MAP}, is_empty=False))
    shell.done(ev.ScanSpool, set())
    return shell


def test_a_cancel_that_is_being_verified_when_the_last_chunk_comes_is_not_lost() -> None:
    shell = collecting()
    shell.happen(ev.NoticeArrived(b"the cancel"))
    cancel = shell.last(ev.Verify)
    assert cancel.data == b"the cancel"
    shell.happen(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA))
    assert shell.core.state.update is not None
    assert shell.core.state.update.state is State.DOWNLOADED
    shell.happen(ev.JobDone(cancel, ev.Verified(trusted("canceled"), FACTS)))
    build = shell.last(ev.Build)
    assert shell.last(ev.Verify) is cancel  # one job at a time
    shell.happen(ev.JobDone(build, None))
    shell.done(ev.Probe, ev.Verdict(passed=True, reason="fit"))
    shell.done(ev.Watch, ev.Verdict(passed=None, reason="on_trial"))
    again = shell.last(ev.Verify)
    assert again is not cancel
    assert again.data == b"the cancel"


@pytest.mark.parametrize("by", [ev.Tick(), ev.NoticeArrived(b"another offer")])
def test_a_way_back_that_storage_stopped_half_way_is_looked_at_before_anything_else(
    by: ev.Event,
) -> None:
    """The record in memory is ahead of `current`: a plan made from it would be made of nothing."""
    shell = collecting()
    shell.happen(ev.ChunkArrived(PAYLOAD.sha256, 0, DATA))
    shell.done(ev.Build, None)
    shell.done(ev.Probe, ev.Verdict(passed=True, reason="fit"))
    shell.done(ev.Watch, ev.Verdict(passed=False, reason="errors"))
    shell.done(ev.CheckSlot, None)
    back = shell.last(ev.Activate)
    before = len(shell.actions)

    shell.happen(ev.ActionFailed(back, StorageFailed("no"), ()))
    wake_s = shell.core.deadline_s
    assert wake_s is not None
    shell.actions += shell.core.handle(by, ev.Now(wake_s, 100))

    jobs = [action for action in shell.actions[before:] if isinstance(action, ev.Job)]
    assert jobs == [ev.Inspect()]
