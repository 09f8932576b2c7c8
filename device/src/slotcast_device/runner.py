"""One model's core with its files, and the one interpreter of what the core asks for.

The core gives lists of actions; a runner carries them out in order. If one of them fails, the rest
of its list is dropped and the core is told, which decides anew: so what is saved never speaks of
what was not done. The agent and the simulation run this very code; each is the `Shell` that has
the clock, the link, the log and whatever runs jobs.
How often a runner looks at its slots is decided by `shell`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from slotcast_device.core import actions as act
from slotcast_device.core import events as ev
from slotcast_device.core.transfer.transfer_actions import StoreChunk, StoreMap
from slotcast_schemas.errors import (
    InternalError,
    OutOfMemory,
    SlotcastError,
    SoftwareBroken,
    StorageFailed,
)

if TYPE_CHECKING:
    from slotcast_device.core.model import ModelCore
    from slotcast_device.jobs import ModelJobs

LOOK_AGAIN_S: Final = 86400.0
"""The seconds between two looks at all bytes of both slots, a day: what a failing disk or a hand
changed is found though nobody starts the agent anew."""
_TEXT_MAX_CHARS: Final = 300
"""The characters that are kept of an error that nobody foresaw."""


class Shell(Protocol):
    """What a runner needs of whatever it runs in."""

    def now(self) -> ev.Now:
        """Give the time, by both clocks."""

    def submit(self, runner: ModelRunner, job: act.Job) -> None:
        """Have `runner.work(job)` called, now or later, and feed what it gives."""

    def send(self, runner: ModelRunner, order: act.Order) -> None:
        """Send to the broker; without one, do nothing: the core asks again on the next link."""

    def switching(self, runner: ModelRunner) -> None:
        """`current` is about to be moved, which forgets what was reported of the slot before."""

    def chunk_stored(self, runner: ModelRunner, action: StoreChunk) -> None:
        """A chunk that was wanted is on disk."""

    def map_stored(self, runner: ModelRunner, action: StoreMap) -> None:
        """A part of a chunk map that was wanted is on disk."""

    def report(self, runner: ModelRunner) -> None:
        """The status has changed."""

    def log(self, runner: ModelRunner, action: act.Log) -> None:
        """Write a line."""

    def notify(self, runner: ModelRunner, action: act.Notify) -> None:
        """An update ended, or a stage of it: the owner's hook may know."""


class ModelRunner:
    """Feeds one model's core, and carries out what it asks.

    Args:
        core: decides.
        files: do jobs and short steps on the disk.
        shell: everything else.
    """

    def __init__(self, core: ModelCore, files: ModelJobs, shell: Shell) -> None:
        self.core = core
        self.files = files
        self._shell = shell
        self._look_at_s = 0.0  # set by `start`

    @property
    def model(self) -> str:
        """The model's name."""
        return self.core.model

    def start(self) -> None:
        """Begin: the core asks for a look at what the last run left."""
        self._look_at_s = self._shell.now().mono_s + LOOK_AGAIN_S
        self._carry_out(self.core.start())

    def stop(self) -> None:
        """End in order: the core records that this is no crash."""
        self._carry_out(self.core.stop(self._shell.now()))

    def feed(self, event: ev.Event, now: ev.Now) -> None:
        """Tell the core what happened, and do what it asks."""
        self._carry_out(self.core.handle(event, now))

    def tick(self, now: ev.Now) -> None:
        """Tell the core the time, if it waits for it."""
        deadline_s = self.core.deadline_s
        if deadline_s is not None and deadline_s <= now.mono_s:
            self.feed(ev.Tick(), now)

    def glance(self, now: ev.Now) -> None:
        """Look whether what serves is still there; once a day, have all of it read."""
        found = self.files.glance(self.core.state) if self.core.is_ready else None
        if found is not None:
            self.feed(found, now)
        if now.mono_s >= self._look_at_s:
            self._look_at_s = now.mono_s + LOOK_AGAIN_S
            self.feed(ev.LookDue(), now)

    def work(self, job: act.Job) -> ev.JobDone:
        """Do a job, in whatever thread; the shell feeds the result."""
        try:
            return ev.JobDone(job, self.files.run(job))
        except SlotcastError as exc:
            return ev.JobDone(job, error=exc)

    def _carry_out(self, actions: list[act.Action]) -> None:
        for number, action in enumerate(actions):
            try:
                if isinstance(action, StoreChunk):  # most by far
                    self.files.store_chunk(action)
                    self._shell.chunk_stored(self, action)
                else:
                    self._do_action(action)
            except StorageFailed as exc:
                rest = tuple(actions[number + 1 :])
                self.feed(ev.ActionFailed(action, exc, rest), self._shell.now())
                return

    def _do_action(self, action: act.Action) -> None:
        if isinstance(action, act.Step):
            self._do_step(action)
        elif isinstance(action, act.Job):
            self._shell.submit(self, action)
        elif isinstance(action, act.Order):
            self._shell.send(self, action)
        elif isinstance(action, act.PublishStatus):
            self._shell.report(self)
        elif isinstance(action, act.Log):
            self._shell.log(self, action)
        else:
            self._shell.notify(self, action)

    def _do_step(self, action: act.Step) -> None:
        if isinstance(action, act.Activate):
            self._shell.switching(self)
        self.files.carry_out(action)
        if isinstance(action, StoreMap):
            self._shell.map_stored(self, action)


def unforeseen_error(exc: Exception) -> SlotcastError:
    """Give our error, which says who must act, for one that nobody foresaw."""
    text = f"{type(exc).__name__}: {exc}"[:_TEXT_MAX_CHARS]
    if isinstance(exc, ImportError):
        return SoftwareBroken(f"{text}; install slotcast-device anew on this device")
    if isinstance(exc, MemoryError):
        return OutOfMemory("this device has too little memory to spare for the update at present")
    return InternalError(f"{text}; this is a defect of slotcast-device, its log has the rest")
