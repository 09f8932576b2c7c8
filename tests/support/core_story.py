"""A core driven through a story: an event in, what it asks for out, nothing carried out.

The clock is the story's, and every wait is as long as its bound, so that actions, records and
deadlines can be told exactly.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any, TypeVar

import msgspec

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.plan import Facts
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, SlotName, SlotRecord, Update, record_of
from slotcast_device.core.transfer.slow_link import SlowLimit
from slotcast_schemas import wire
from slotcast_schemas.errors import SlotcastError
from slotcast_schemas.messages import MapPart, Release
from slotcast_schemas.messages.offer import Group, Payload
from slotcast_schemas.messages.release import File, Trial
from slotcast_schemas.topics import Topics
from slotcast_schemas.verify import Trusted
from tests.support import messages

J = TypeVar("J", bound=act.Job)
MODEL = "detector"
BROKER = "mqtt://a"
TOPICS = Topics("t")
WALL_S = 1_800_000_000
ISSUED_S = 1_790_000_100
CHUNK = 1024
FACTS = Facts(device="cam-1", tags={}, onnxruntime="1.20.0", memory_bytes=10**9, disk_bytes=10**9)


class LongestWaits(random.Random):
    """Draws the upper bound each time."""

    def uniform(self, a: float, b: float) -> float:
        """Give `b`."""
        return max(a, b)


IMAGE_BYTES = 1 << 20
"""The size of each invented image: no payload of these stories has more."""


def release_of(number: int, **changes: Any) -> Release:
    """Give the release `number`.0 of one file, with `number` as its sequence."""
    model = File(path="model.onnx", size_bytes=IMAGE_BYTES, sha256=messages.sha(f"m{number}"))
    given: dict[str, Any] = {
        "version": f"{number}.0",
        "sequence": number,
        "files": (msgspec.structs.replace(model, role="model"),),
        "image_size_bytes": IMAGE_BYTES,
        "image_sha256": messages.sha(f"image {number}"),
        "trial": Trial(duration_s=60.0, min_requests=10, max_restarts=2),
        "rebased": None,
        "requires": (),
    }
    return messages.release(**{**given, **changes})


class Content:
    """The bytes of a payload, cut into chunks, with their map."""

    def __init__(self, name: str, chunks: int = 1, codec: str = "full+none") -> None:
        self.chunks = [random.Random(f"{name}{n}").randbytes(CHUNK) for n in range(chunks)]
        whole = b"".join(self.chunks)
        self.sha256 = hashlib.sha256(whole).digest()
        self.digests = b"".join(hashlib.sha256(chunk).digest() for chunk in self.chunks)
        self.map = wire.encode(MapPart(payload=self.sha256, part=0, digests=self.digests))
        self.payload = Payload(
            codec=codec,
            sha256=self.sha256,
            size_bytes=len(whole),
            chunk_size_bytes=CHUNK,
            map_parts=(hashlib.sha256(self.map).digest(),),
        )

    def came(self, index: int) -> ev.ChunkArrived:
        """Give the event that a chunk came."""
        return ev.ChunkArrived(self.sha256, index, self.chunks[index])


CONTENT = Content("first")
SECOND = Content("second")
"""Another payload of the same release."""


def notice(
    number: int = 2,
    *,
    payloads: tuple[Payload, ...] = (CONTENT.payload,),
    expires_s: int = 0,
    is_newer: bool = True,
    release: Release | None = None,
    **changes: Any,
) -> Trusted:
    """Give a verified notice of release `number`, for every device unless `changes` says more."""
    wanted = release or release_of(number)
    given: dict[str, Any] = {
        "version": wanted.version,
        "sequence": wanted.sequence,
        "groups": (Group(name="all"),),
        "payloads": payloads,
        "issued": ISSUED_S,
    }
    offer = messages.offer(**{**given, **changes})
    return Trusted(wanted, wire.encode(wanted), offer, b"", expires_s, is_newer)


def sealed(number: int, **changes: Any) -> SlotRecord:
    """Give the record of a slot that holds release `number`."""
    release = release_of(number, **changes)
    return record_of(release, hashlib.sha256(wire.encode(release)).digest())


def serving(number: int = 1, **changes: Any) -> ModelState:
    """Give the record of a device that committed release `number` into slot a, and no more."""
    given: dict[str, Any] = {
        "model": MODEL,
        "floor": number,
        "active": "a",
        "slots": {"a": sealed(number)},
    }
    return ModelState(**{**given, **changes})


def findings(state: ModelState | None, current: SlotName | None, **changes: Any) -> Findings:
    """Give what a look at a disk finds on which all is whole."""
    slots = {} if state is None else state.slots
    releases = {slot: release_of(record.sequence) for slot, record in slots.items()}
    given: dict[str, Any] = {"sealed": slots, "releases": releases, "sound": frozenset(slots)}
    return Findings(state, current, **{**given, **changes})


class Story:
    """One run of one model's core."""

    def __init__(
        self,
        *,
        asks_owner: bool = False,
        slow: SlowLimit | None = None,
        models: int = 1,
        keeps_provisioned: bool = False,
    ) -> None:
        self.core = ModelCore(
            MODEL,
            "cam-1",
            TOPICS,
            LongestWaits(1),
            asks_owner=asks_owner,
            slow=slow,
            models=models,
            keeps_provisioned=keeps_provisioned,
        )
        self.mono_s = 1000.0
        self.wall_s = WALL_S
        self._job: act.Job | None = None
        self.happened(self.core.start())

    @property
    def now(self) -> ev.Now:
        """The time."""
        return ev.Now(self.mono_s, self.wall_s)

    @property
    def update(self) -> Update:
        """The update's record."""
        assert self.core.state.update is not None
        return self.core.state.update

    @property
    def words(self) -> tuple[str, str, str]:
        """State, reason and detail, as the status has them."""
        status = self.core.status()
        return status.state.value, status.reason, status.detail

    @property
    def saved(self) -> list[act.Action]:
        """What makes the record durable as it is now, and says so."""
        return [act.Save(self.core.state), act.PublishStatus()]

    @property
    def job(self) -> object:
        """The last job that was asked for."""
        return self._job

    def asked(self, kind: type[J]) -> J:
        """Give that job, which is of this kind."""
        assert isinstance(self._job, kind)
        return self._job

    def happened(self, actions: list[act.Action]) -> list[act.Action]:
        """Note the job that is asked for, if one is."""
        jobs = [action for action in actions if isinstance(action, act.Job)]
        assert len(jobs) <= 1, "one job at a time"
        self._job = jobs[0] if jobs else self._job
        return actions

    def pass_s(self, seconds: float) -> None:
        """Let time pass, by both clocks."""
        self.mono_s += seconds
        self.wall_s += int(seconds)

    def tell(self, event: ev.Event) -> list[act.Action]:
        """Tell an event; gives what the core asks for."""
        return self.happened(self.core.handle(event, self.now))

    def done(self, result: object = None) -> list[act.Action]:
        """End the job under way, with a result."""
        assert self._job is not None
        return self.tell(ev.JobDone(self._job, result))

    def failed(self, error: SlotcastError) -> list[act.Action]:
        """End the job under way, with an error."""
        assert self._job is not None
        return self.tell(ev.JobDone(self._job, error=error))

    def wait(self) -> tuple[float, list[act.Action]]:
        """Let time pass until the core is due; gives how long that was, and what it asks for."""
        deadline_s = self.core.deadline_s
        assert deadline_s is not None
        waited_s = deadline_s - self.mono_s
        self.pass_s(waited_s - 0.001)
        assert self.tell(ev.Tick()) == [], "before its time"
        self.mono_s = deadline_s
        return round(waited_s, 3), self.tell(ev.Tick())

    # --- as far as the story is not about it --------------------------------------------------

    def begun(self, state: ModelState | None = None, current: SlotName | None = None) -> Story:
        """The disk was looked at, and a broker is there."""
        opened = current or (None if state is None else state.active)
        self.done(findings(state, opened))
        self.tell(ev.ConnectionMade(BROKER, 64))
        return self

    def offered(self, trusted: Trusted, facts: Facts = FACTS) -> list[act.Action]:
        """A notice came and was verified; gives what follows."""
        data = hashlib.sha256(trusted.release_bytes + wire.encode(trusted.offer)).digest()
        self.tell(ev.NoticeArrived(data))
        assert self.asked(act.Verify).data == data
        return self.done(act.NoticeVerified(trusted, facts))

    def collecting(self, trusted: Trusted, content: Content = CONTENT) -> list[act.Action]:
        """A release was offered and its chunks are asked for; gives what is asked."""
        self.offered(trusted)
        self.done(act.Spooled({0: content.map}, is_empty=False))
        return self.done(set())

    def building(self, trusted: Trusted, content: Content = CONTENT) -> list[act.Action]:
        """Every chunk came; gives what follows the last."""
        self.collecting(trusted, content)
        for index in range(len(content.chunks)):
            actions = self.tell(content.came(index))
        return actions

    def probing(self, trusted: Trusted, content: Content = CONTENT) -> list[act.Action]:
        """The release is whole in its slot; gives what follows."""
        self.building(trusted, content)
        return self.done()

    def on_trial(self, trusted: Trusted) -> list[act.Action]:
        """The release was found fit and serves; gives what follows."""
        self.probing(trusted)
        return self.done(act.Verdict(passed=True, reason="fit"))


def on_trial(offered: Trusted) -> Story:
    """A release serves on trial from slot b; 1.0 is in slot a.

    Args:
        offered: the notice that brought it.
    """
    story = Story().begun(serving())
    story.on_trial(offered)
    return story
