"""Whatever happens to a core in whatever order, a device keeps a whole model, and its word.

The disk here is a record, a link and two slots; a step on it may fail, the agent may end at any
moment, in order or not, and every job may give anything that it can give.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, SlotName, record_of
from slotcast_schemas import wire
from slotcast_schemas.errors import (
    BadSignature,
    DiskFull,
    Expired,
    PayloadCorrupt,
    SlotcastError,
    SlotDamaged,
    StorageFailed,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.states import State
from tests.support.core_story import (
    BROKER,
    CONTENT,
    FACTS,
    ISSUED_S,
    MODEL,
    SECOND,
    TOPICS,
    WALL_S,
    Content,
    notice,
    release_of,
    sealed,
    serving,
)

NOTICES = {
    f"{number} {state}".encode(): notice(
        number, state=state, payloads=(CONTENT.payload, SECOND.payload), issued=ISSUED_S + number
    )
    for number in (1, 2, 3, 4)
    for state in ("active", "paused", "canceled")
}
TWO_SERVES = serving(2, active="b", slots={"a": sealed(1), "b": sealed(2)})
ERRORS = (
    StorageFailed("read-only"),
    DiskFull("no room"),
    BadSignature("wrong key"),
    Expired("it ended"),
    PayloadCorrupt("another image"),
    SlotDamaged("other bytes"),
)
NAMES = st.sampled_from(sorted(NOTICES))
EVENTS = st.one_of(
    st.tuples(st.just("notice"), NAMES),
    *[st.tuples(st.just("job_gives"), st.just(True)) for _ in range(6)],  # or little is reached
    st.tuples(st.just("job_gives"), st.sampled_from([True, False, None])),
    st.tuples(st.just("job_fails"), st.sampled_from(ERRORS)),
    st.tuples(st.just("chunk"), st.sampled_from([CONTENT, SECOND])),
    st.tuples(st.just("wait"), st.none()),
    st.tuples(st.just("link"), st.booleans()),
    st.tuples(st.just("by_hand"), st.sampled_from([ev.RollBackAsked(), ev.UnbenchAsked(None)])),
    st.tuples(st.just("clock"), st.sampled_from([-86400 * 400, 3600, 86400 * 30])),
    st.tuples(st.just("step_fails"), st.integers(0, 3)),
    st.tuples(st.just("ends"), st.booleans()),
)
"""Methods of `Device`, and what they are given."""


@dataclass
class Device:
    """A core, and the disk that it decides over."""

    asks_owner: bool
    saved: ModelState = TWO_SERVES
    current: SlotName | None = "b"
    slots: dict[SlotName, Release] = field(
        default_factory=lambda: {"a": release_of(1), "b": release_of(2)}
    )
    passed: set[int] = field(default_factory=lambda: {1, 2})
    committed: set[int] = field(default_factory=lambda: {1, 2})
    job: act.Job | None = None
    overtaken: list[act.Job] = field(default_factory=list)
    fails_in: int | None = None
    is_unbenched: bool = False
    now: ev.Now = field(default_factory=lambda: ev.Now(1000.0, WALL_S))

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """The agent begins."""
        self.core = ModelCore(MODEL, "cam-1", TOPICS, random.Random(1), asks_owner=self.asks_owner)
        self.job = None
        self.overtaken.clear()
        self.do(self.core.start())

    def do(self, actions: list[act.Action]) -> None:
        """Carry out what the core asks, until a step fails."""
        for number, action in enumerate(actions):
            if isinstance(action, act.Job):
                self.begin(action)
            elif isinstance(action, act.Step) and self.fails():
                rest = tuple(actions[number + 1 :])
                self.tell(ev.ActionFailed(action, StorageFailed("read-only"), rest))
                return
            elif isinstance(action, act.Save):
                assert action.state.floor >= self.saved.floor, "the floor never falls"
                self.saved = action.state
            elif isinstance(action, (act.Activate, act.PutBack)):
                self.opens(action.slot)

    def begin(self, job: act.Job) -> None:
        """Run one job at a time, but for one that does not count any more."""
        if self.job is not None:
            assert isinstance(self.job, (act.Verify, act.Watch)), "one job at a time"
            self.overtaken.append(self.job)
        self.job = job

    def fails(self) -> bool:
        """Whether this step fails."""
        if self.fails_in is None:
            return False
        self.fails_in -= 1
        if self.fails_in >= 0:
            return False
        self.fails_in = None
        return True

    def opens(self, slot: SlotName | None) -> None:
        """`current` is moved."""
        assert slot is not None, "a device that had a model has one"
        assert slot in self.slots, "what is opened is whole"
        assert self.slots[slot].sequence in self.passed, "and was found fit"
        self.current = slot

    def tell(self, event: ev.Event) -> None:
        """Tell an event, and do what follows."""
        self.do(self.core.handle(event, self.now))

    def result(self, job: act.Job, outcome: bool | None) -> object:
        """Give what the job finds, and do to the disk what it does."""
        match job:
            case act.Inspect():
                return self.findings()
            case act.Verify():
                return act.NoticeVerified(NOTICES[job.data], FACTS)
            case act.OpenSpool():
                content = CONTENT if job.payload == CONTENT.payload else SECOND
                return act.Spooled({0: content.map}, is_empty=outcome is not False)
            case act.ScanSpool():
                return {0} if outcome else set()
            case act.Build():
                self.build(job)
            case act.AskHook():
                return act.Answer("go" if outcome else "wait" if outcome is None else "refuse")
            case act.ProbeSlot() | act.Watch():
                return self.verdict(job, outcome)
        return None

    def findings(self) -> Findings:
        """Look at the disk."""
        records = {
            slot: record_of(release, hashlib.sha256(wire.encode(release)).digest())
            for slot, release in self.slots.items()
        }
        return Findings(self.saved, self.current, records, dict(self.slots), frozenset(records))

    def build(self, job: act.Build) -> None:
        """Write a slot."""
        assert job.install.slot != self.current, "what serves is not written"
        assert job.install.slot not in self.saved.slots, "nor spoken of meanwhile"
        self.slots[job.install.slot] = job.trusted.release

    def verdict(self, job: act.ProbeSlot | act.Watch, outcome: bool | None) -> act.Verdict:
        """Judge a release."""
        self.is_unbenched = False
        if outcome:
            proven = self.passed if isinstance(job, act.ProbeSlot) else self.committed
            proven.add(job.release.sequence)
        return act.Verdict(outcome, "because")

    def job_gives(self, outcome: bool | None) -> None:
        """The job ends well, badly, or not yet; first one that does not count any more."""
        while self.overtaken:
            late = self.overtaken.pop()
            self.tell(ev.JobDone(late, self.result(late, outcome)))
        job, self.job = self.job, None
        if job is not None:
            self.tell(ev.JobDone(job, self.result(job, outcome)))

    def job_fails(self, error: SlotcastError) -> None:
        """The job ends with an error."""
        job, self.job = self.job, None
        if job is not None:
            self.tell(ev.JobDone(job, error=error))

    def notice(self, data: bytes) -> None:
        """A notice comes."""
        self.tell(ev.NoticeArrived(data))

    def chunk(self, content: Content) -> None:
        """A chunk comes."""
        self.tell(content.came(0))

    def wait(self, _: None) -> None:
        """Time passes until the core is due."""
        if self.core.deadline_s is not None:
            later_s = max(self.now.mono_s, self.core.deadline_s)
            self.now = ev.Now(later_s, self.now.wall_s + int(later_s - self.now.mono_s))
            self.tell(ev.Tick())

    def link(self, is_up: bool) -> None:
        """The link comes or goes."""
        self.tell(ev.ConnectionMade(BROKER, 64) if is_up else ev.ConnectionLost())

    def by_hand(self, event: ev.RollBackAsked | ev.UnbenchAsked) -> None:
        """A person asks."""
        self.is_unbenched = self.is_unbenched or isinstance(event, ev.UnbenchAsked)
        self.tell(event)

    def clock(self, by_s: int) -> None:
        """Somebody sets the clock."""
        self.now = ev.Now(self.now.mono_s, max(0, self.now.wall_s + by_s))
        self.tell(ev.ClockMoved())

    def step_fails(self, after: int) -> None:
        """A step on the disk will fail."""
        self.fails_in = after

    def ends(self, is_in_order: bool) -> None:
        """The agent ends, and begins again."""
        self.fails_in = None
        if is_in_order:
            self.do(self.core.stop(self.now))
        self.start()

    def check(self) -> None:
        """What holds at every moment."""
        assert self.current in self.slots
        status = self.core.status()
        assert status.state is not State.COMMITTED or status.target is not None
        if status.state is State.COMMITTED and status.target is not None:
            assert status.target.sequence in self.committed
        assert self.saved.floor in self.committed
        assert not (self.core.is_settled and self.job is not None)
        if status.state is State.FAILED and self.job is None and status.reason == "because":
            assert status.benched or self.is_unbenched


@settings(max_examples=150, deadline=None)
@given(events=st.lists(EVENTS, min_size=20, max_size=60), asks_owner=st.booleans())
def test_whatever_happens_a_whole_and_proven_model_serves(
    events: list[tuple[str, object]], asks_owner: bool
) -> None:
    device = Device(asks_owner)
    for kind, what in events:
        getattr(device, kind)(what)
        device.check()


@settings(max_examples=100, deadline=None)
@given(events=st.lists(EVENTS, max_size=40), asks_owner=st.booleans())
def test_after_whatever_happened_a_good_release_is_committed_in_the_end(
    events: list[tuple[str, object]], asks_owner: bool
) -> None:
    device = Device(asks_owner)
    for kind, what in events:
        getattr(device, kind)(what)
    device.fails_in = None
    device.now = ev.Now(device.now.mono_s, max(device.now.wall_s, WALL_S))
    device.tell(ev.ConnectionMade(BROKER, 64))
    device.job_gives(True)
    device.tell(ev.UnbenchAsked(None))
    device.tell(ev.NoticeArrived(b"4 active"))
    for _ in range(60):
        if device.core.status().active is not None and device.saved.floor == 4:
            break
        if device.job is not None:
            device.job_gives(True)
        elif device.core.is_fetching:
            device.tell(CONTENT.came(0))
            device.tell(SECOND.came(0))
        else:
            device.tell(ev.UnbenchAsked(None))
            device.tell(ev.NoticeArrived(b"4 active"))
            device.wait(None)
    assert device.saved.floor == 4
    assert device.current is not None
    assert device.slots[device.current].sequence == 4
    assert device.saved.slots[device.current] == sealed(4)
