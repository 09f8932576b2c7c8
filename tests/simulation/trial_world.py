"""One trial from one seed: the real core, watcher and judge, an application, and a bad day.

What is not the device's own: the two releases (none is loaded), verdicts of probes, and the disk,
which keeps what was saved. Time goes in steps of a second; the device's monotonic clock begins
anew with each boot and stands still while it sleeps, its time of day jumps.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import random
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.model import ModelCore
from slotcast_device.core.recovery import Findings
from slotcast_device.core.state import ModelState, SlotName, Update, record_of
from slotcast_device.core.switch_and_commit import LOOK_COUNTS_S
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slots import SlotStore
from slotcast_device.trial.reference import Reference
from slotcast_device.trial.watcher import TrialWatcher
from slotcast_schemas import wire
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.probe import TOO_SLOW, ProbeResult
from slotcast_schemas.states import State
from slotcast_schemas.topics import Topics
from tests.simulation.trial_app import MEMORY_BYTES, Application, Habits, Nature
from tests.support import messages

DEADLINE_S: Final = 1800.0
CALM_S: Final = 240.0
"""The old release serves this long before the switch."""
STEPS_MAX: Final = 4 * int(DEADLINE_S)
BAD: Final = tuple(nature for nature in Nature if nature is not Nature.GOOD)
_IN_MEMORY: Final = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Reports are renamed a thousand times in a trial; on a disk, each time writes."""
FIT: Final = ProbeResult(passed=True, reason="passed", detail="", checks=())
SLOW: Final = ProbeResult(passed=False, reason=TOO_SLOW, detail="ten times as long", checks=())


@dataclass(slots=True)
class Counts:
    """What happened in a trial."""

    happened: dict[str, int] = field(default_factory=dict)
    ended: State | None = None
    reason: str = ""
    simulated_s: float = 0.0

    def add(self, what: str) -> None:
        """Count something that happened."""
        self.happened[what] = self.happened.get(what, 0) + 1


class Unjust(AssertionError):
    """A good release was rolled back, a bad one committed, or a trial was too short."""


class SimWatcher(TrialWatcher):
    """A watcher whose probes find nothing: what is bad shows in the application alone.

    Attributes:
        is_slow: whether the release is slow beside the old one.
    """

    is_slow = False

    @override
    def _run_probe(
        self,
        slot: SlotName,
        release: Release,
        beside: SlotName | None,
        *,
        keeps_copy: bool = False,
    ) -> ProbeResult:
        del slot, release, keeps_copy
        return SLOW if self.is_slow and beside is not None else FIT


class Agent:
    """One run of the agent, from a start to a stop, with its disk of one record.

    Args:
        saved: the record on disk.
        current: the slot that `current` opens.
        now: the device's two clocks.
    """

    def __init__(
        self, saved: ModelState, current: SlotName, releases: dict[SlotName, Release],
        watcher: TrialWatcher, rng: random.Random, now: Callable[[], ev.Now],
        after: Callable[[float, Callable[[], None]], None], log: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.saved = saved
        self.current = current
        self.is_on = True
        self._watcher = watcher
        self._rng = rng
        self._now = now
        self._after = after
        self._log = log
        self.core = ModelCore("sim", "cam-1", Topics(), random.Random(1))
        sealed = {slot: record_of(r, bytes(32)) for slot, r in releases.items()}
        self._found = Findings(saved, current, sealed, releases, frozenset(releases))
        self._does(self.core.start())

    def tick(self) -> None:
        """Serve what is due."""
        due_s = self.core.deadline_s
        if due_s is not None and due_s <= self._now().mono_s:
            self._happens(ev.Tick())

    def stop(self) -> None:
        """End in order."""
        self._does(self.core.stop(self._now()))
        self.is_on = False

    def _happens(self, event: ev.Event) -> None:
        self._does(self.core.handle(event, self._now()))

    def _does(self, actions: list[act.Action]) -> None:
        for action in actions:
            match action:
                case act.Save(state):
                    self.saved = state
                case act.Activate(slot):
                    if slot is not None:
                        self._watcher.expect(slot)
                        self.current = slot
                case act.Inspect() | act.Watch() | act.CheckSlot():
                    works = functools.partial(self._works, action)
                    self._after(self._rng.uniform(0.0, 1.5), works)
                case act.PublishStatus():
                    status = self.core.status()
                    self._log(f"{status.state} ({status.reason}) {status.detail}")
                case act.Log(_, text):
                    self._log(text)

    def _works(self, job: act.Job) -> None:
        if not self.is_on:
            return
        result: object = None
        if isinstance(job, act.Inspect):
            result = self._found
        elif isinstance(job, act.Watch):
            result = self._watcher.watch(job)
        self._happens(ev.JobDone(job, result))


class TrialWorld:
    """One trial; `run` raises `Unjust` where it ends as it must not."""

    def __init__(self, seed: int, log: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.counts = Counts()
        self._sink = log
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._now_s = 10_000.0
        self._wall_s = 1_790_000_000.0
        self._boot_s = 0.0
        self._asleep_s = 0.0
        self._slept_s = 0.0
        self._steps = 0
        self._busy = 1.0
        self._agent: Agent | None = None
        self._current: SlotName = "a"
        self._watched_s = 0.0
        self._is_on_trial = False
        self._looked_s = 0.0
        self._folder = Path(tempfile.mkdtemp(prefix="slotcast-trial-", dir=_IN_MEMORY))
        (self._folder / "app").mkdir()
        (self._folder / "slots").mkdir()
        self._draw()

    def _draw(self) -> None:
        """Draw what this trial is like."""
        rng = self.rng
        self.nature = Nature.GOOD if rng.random() < 0.5 else rng.choice(BAD)
        has_requests = self.nature is not Nature.GOOD or rng.random() < 0.7
        self.habits = Habits(
            processes=rng.choice((1, 1, 2, 4)),
            rate=rng.choice((0.5, 2.0, 8.0)),
            counts=self.nature is not Nature.GOOD or rng.random() < 0.8,
            tidies=rng.random() < 0.5,
            clocks=rng.choice(((0.0,), (500_000.0,), (-9_999.0, 0.0, 1e6))),
            mistakes=rng.choice((0.0, 0.025, 0.3)),
            base_error=rng.choice((0.0, 0.0, 0.05)),
            base_nonfinite=rng.choice((0.0, 0.0, 0.05)),
            load_s=rng.choice((0.5, 5.0, 25.0)),
        )
        self.has_application = self.nature is not Nature.GOOD or rng.random() < 0.9
        self.trial = Trial(
            duration_s=rng.choice((15.0, 60.0, 300.0)),
            min_requests=rng.choice((50, 100)) if has_requests else 0,
            deadline_s=DEADLINE_S,
            max_memory_bytes=10 * MEMORY_BYTES,
        )
        self._releases: dict[SlotName, Release] = {
            "a": messages.release(version="1", sequence=1),
            "b": messages.release(version="2", sequence=2, trial=self.trial),
        }
        for slot, release in self._releases.items():
            (self._folder / "slots" / f"{slot}.release").write_bytes(wire.encode(release))
        self._application = Application(
            self._folder / "app", self.habits, self.nature, rng, self._after, self._awake_s
        )
        self._saved = self._begun()

    # --- the clock ------------------------------------------------------------------------------

    def log(self, text: str) -> None:
        """Take a line of the story."""
        if self._sink is not None:
            self._sink(f"{self._now_s - 10_000:9.1f}  {text}")

    def _after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self._now_s + delay_s, next(self._numbers), do))

    def _now(self) -> ev.Now:
        return ev.Now(self._mono_s(), int(self._wall_s + self._now_s))

    def _mono_s(self) -> float:
        return self._now_s - self._boot_s - self._asleep_s

    def _awake_s(self) -> float:
        """The simulation's time less what the machine slept: what its processes wait by."""
        return self._now_s - self._slept_s

    def run(self) -> Counts:
        """Run to the trial's end.

        Raises:
            Unjust: as it must not end.
        """
        try:
            self._run()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
        return self.counts

    def _run(self) -> None:
        if self.has_application:
            self._application.start()
        for _ in range(int(CALM_S)):
            self._step()
        self._probe()
        self._start_agent()
        self._schedule()
        while self.counts.ended is None:
            self._step()
            self._look()
            if self._steps > STEPS_MAX:
                raise Unjust(f"{self._story()}: no end")
        self.counts.simulated_s = self._now_s - 10_000.0

    def _step(self) -> None:
        self._now_s += 1.0
        self._steps += 1
        while self._queue and self._queue[0][0] <= self._now_s:
            heapq.heappop(self._queue)[2]()
        current = self._current if self._agent is None else self._agent.current
        self._application.step(self._awake_s(), current, self._busy, self._now_s - self._boot_s)
        if self._agent is not None:
            self._agent.tick()

    def _begun(self) -> ModelState:
        sealed = {slot: record_of(r, bytes(32)) for slot, r in self._releases.items()}
        update = Update(
            version="2",
            sequence=2,
            release_sha256=b"",
            state=State.ACTIVATING,
            reason="switching",
            slot="b",
            fallback="a",
        )
        return ModelState(model="sim", active="a", slots=sealed, update=update)

    # --- the agent ------------------------------------------------------------------------------

    def _make_watcher(self) -> SimWatcher:
        store = SlotStore(OsDisk(), self._folder)
        kept = Reference(OsDisk(), self._folder / "reference.json")
        app = self._folder / "app"
        return SimWatcher(store, app, threading.Event(), self._mono_s, reference=kept)

    def _probe(self) -> None:
        """What the agent does before it saves that it switches: the world begins after that."""
        if not self._make_watcher().probe(act.ProbeSlot("b", self._releases["b"], "a")).passed:
            raise TypeError("expected that no probe finds anything before the switch")

    def _start_agent(self) -> None:
        watcher = self._make_watcher()
        watcher.is_slow = self.nature is Nature.SLOW
        self._agent = Agent(
            self._saved, self._current, self._releases, watcher, self.rng, self._now,
            self._after, self.log,
        )  # fmt: skip

    def _end_agent(self, *, orderly: bool) -> None:
        agent = self._agent
        if agent is None:
            return
        if orderly:
            agent.stop()
        agent.is_on = False
        self._saved, self._current, self._agent = agent.saved, agent.current, None

    def _look(self) -> None:
        agent, self._looked_s, looked_s = self._agent, self._awake_s(), self._looked_s
        update = None if agent is None else agent.core.state.update
        if update is None:
            self._is_on_trial = False
            return
        was_on_trial, self._is_on_trial = self._is_on_trial, update.state is State.TRIAL
        if was_on_trial:
            self._watched_s += self._awake_s() - looked_s
        if update.state not in {State.COMMITTED, State.ROLLED_BACK}:
            return
        self.counts.ended, self.counts.reason = update.state, update.reason
        is_good = self.nature is Nature.GOOD
        if is_good and update.state is State.ROLLED_BACK:
            raise Unjust(f"{self._story()}: rolled back: {update.reason}: {update.detail}")
        if not is_good and update.state is State.COMMITTED:
            raise Unjust(f"{self._story()}: committed")
        # A second, since time goes in steps of one, and what the device may take of a freeze.
        freezes_s = self.counts.happened.get("freezes", 0) * (LOOK_COUNTS_S + 1.0)
        watched_s = self._watched_s + 1.0 + freezes_s
        if update.state is State.COMMITTED and watched_s < self.trial.duration_s:
            raise Unjust(f"{self._story()}: committed after {self._watched_s:.0f} s")

    def _story(self) -> str:
        return f"seed {self.seed}: a release that {self.nature.value}; {self.counts.happened}"

    # --- a bad day --------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Draw what happens. Not more than any release must bear: two crashes end a trial of
        three."""
        kinds: list[tuple[str, Callable[[], None]]] = [
            ("clock jumps", self._clock),
            ("stops in order", self._stop),
            ("reboots in order", self._reboot),
            ("sleeps", self._sleep),
            ("freezes", self._freeze),
            ("forks", self._application.fork_one),
            ("restarts of the application in order", self._restart_application),
            ("stalls", self._stall),
            ("busy spells", self._busy_spell),
        ]
        within_s = 2 * self.trial.duration_s + 60.0
        for _ in range(self.rng.randint(0, 10)):
            self._plan(self.rng.uniform(0.0, within_s), *self.rng.choice(kinds))
        crashes = [("crashes of the agent", self._crash), ("kills of a process", self._kill)]
        for what, do in crashes:
            if self.rng.random() < 0.3:
                self._plan(self.rng.uniform(0.0, within_s), what, do)

    def _plan(self, delay_s: float, what: str, do: Callable[[], None]) -> None:
        def happen() -> None:
            self.counts.add(what)
            self.log(f"--- {what}")
            do()

        self._after(delay_s, happen)

    def _clock(self) -> None:
        self._wall_s += self.rng.choice((-1_789_000_000.0, -3600.0, -5.0, 30.0, 900.0, 3e7, 1e9))

    def _stop(self) -> None:
        self._end_agent(orderly=True)
        self._after(self.rng.uniform(1.0, 300.0), self._back)

    def _crash(self) -> None:
        self._end_agent(orderly=False)
        self._after(self.rng.uniform(1.0, 10.0), self._back)

    def _back(self) -> None:
        if self._agent is None:
            self._start_agent()

    def _reboot(self) -> None:
        self._application.stop(tidily=self.habits.tidies)
        self._end_agent(orderly=True)
        self._pass(self.rng.uniform(10.0, 50_000.0))
        self._boot_s, self._asleep_s = self._now_s - self.rng.uniform(5.0, 60.0), 0.0
        self._after(1.0, self._back)
        if self.has_application:
            wait_s = self.rng.uniform(1.0, 40.0)
            self._after(wait_s, self._application.start)

    def _pass(self, time_s: float) -> None:
        """Let time go by in which nothing happens; what was to happen happens later."""
        self._now_s += time_s
        self._queue = [(at_s + time_s, n, do) for at_s, n, do in self._queue]

    def _sleep(self) -> None:
        """Everything stands still, and the monotonic clock too; the processes' own goes on."""
        slept_s = self.rng.uniform(20.0, 40_000.0)
        self._pass(slept_s)
        self._asleep_s += slept_s
        self._slept_s += slept_s

    def _freeze(self) -> None:
        """Nobody gets the processor for a while; every clock goes on."""
        self._pass(self.rng.uniform(5.0, 90.0))

    def _stall(self) -> None:
        self._application.stand_still(self.rng.uniform(5.0, 80.0))

    def _busy_spell(self) -> None:
        self._busy = self.rng.uniform(1.0, 2.2)
        self._after(self.rng.uniform(10.0, 60.0), self._calm)

    def _calm(self) -> None:
        self._busy = 1.0

    def _restart_application(self) -> None:
        if self.has_application:
            self._application.stop(tidily=True)
            wait_s = self.rng.uniform(0.5, 20.0)
            self._after(wait_s, self._application.start)

    def _kill(self) -> None:
        if self.nature is not Nature.DIES_FOR_GOOD:
            self._application.kill_one()
