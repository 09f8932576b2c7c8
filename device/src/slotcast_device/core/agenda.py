"""The one job under way, and when to look again. No clock: times are arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from slotcast_device.core.actions import Action, Job
    from slotcast_device.core.events import Now
    from slotcast_schemas.backoff import Backoff


class Agenda:
    """What a model's core waits for, beside its transfer.

    One job runs at a time: nothing else is begun until it is done. The wake-up is when the last
    notice, the trial or the owner is to be looked at again; it waits until no job runs.

    Args:
        retry: the growing waits of `retry_later`.
    """

    def __init__(self, retry: Backoff) -> None:
        self._retry = retry
        self._job: Job | None = None
        self._is_ignored = False
        self._wake_s: float | None = None

    @property
    def job(self) -> Job | None:
        """The job under way."""
        return self._job

    @property
    def wake_s(self) -> float | None:
        """When to look again, on the monotonic clock."""
        return self._wake_s

    @property
    def deadline_s(self) -> float | None:
        """When the shell is to be back for that: never while a job runs, nothing is done then."""
        return None if self._job is not None else self._wake_s

    # --- the job ------------------------------------------------------------------------------

    def run(self, job: Job) -> list[Action]:
        """Begin a job."""
        self._job, self._is_ignored = job, False
        return [job]

    def finish(self, job: Job) -> bool:
        """End a job; false if its result does not count, such as where another took its place."""
        if job is not self._job:
            return False
        self._job = None
        return not self._is_ignored

    def ignore_job(self) -> None:
        """Have the job under way count for nothing; no other is begun until it ends."""
        self._is_ignored = True

    def drop_job(self) -> None:
        """Forget the job under way: it was not begun, or may go on beside the next one."""
        self._job = None

    # --- the wake-up --------------------------------------------------------------------------

    def wake_in(self, wait_s: float, now: Now) -> None:
        """Look again after a wait in seconds."""
        self._wake_s = now.mono_s + wait_s

    def retry_later(self, now: Now) -> None:
        """Look at the last notice again after a wait that grows."""
        self.wake_in(self._retry.next_s(), now)

    def begin_waits_anew(self) -> None:
        """Something was done: the next wait of `retry_later` is a short one again."""
        self._retry.reset()

    def sleep(self) -> None:
        """Have nothing to look at again."""
        self._wake_s = None

    def take_wake(self, now: Now) -> bool:
        """Whether a wait is over and no job runs; the wait is then gone."""
        if self._wake_s is None or self._wake_s > now.mono_s or self._job is not None:
            return False
        self._wake_s = None
        return True
