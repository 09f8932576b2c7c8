"""Has deltas made for what devices run, one after the other, each in a child process.

What is wanted may change at each look. A delta that is made, or does not pay, is noted in the
release's folder and never made twice; one that failed or took too long is not tried again by this
process.
From which releases they are made is decided by `observing`, and which go into the offer by
`offer_payloads`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Final

from slotcast_publisher.delta.workers import default_workers
from slotcast_publisher.release.delta_payloads import DeltaBuilder
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.log import Say
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.environment import environment_without_secrets

DELTA_MAX_S: Final = 3600.0
"""The longest time in seconds that one delta may take."""
_MODULE: Final = "slotcast_publisher.fleet.steering.delta_child"
_TEXT_MAX_BYTES: Final = 2000
"""The last bytes that are kept of what the child said."""

Key = tuple[str, str, str]
"""Model, version, base."""


@dataclass(slots=True)
class _Work:
    """A delta that is being made."""

    key: Key
    process: subprocess.Popen[bytes]
    begin_s: float


@dataclass(frozen=True, slots=True)
class NoDeltas:
    """Makes none, and says that they are not made: who only carries out a request."""

    def want(self, model: str, version: str, bases: Sequence[str]) -> bool:
        """Give False.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from.
        """
        del model, version, bases
        return False

    def hopeful(self, model: str, version: str, bases: Sequence[str]) -> None:
        """Give None.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from.
        """
        del model, version, bases

    def close(self) -> None:
        """Nothing is under way."""


@dataclass(slots=True)
class ChildDeltaMaker:
    """Makes deltas in child processes, one at a time.

    Attributes:
        repo: the repository.
        say: the log.
        workers: processes that work on one delta at once.
        delta_max_s: the longest time for one.
        clock: seconds that only grow.
    """

    repo: Repository
    say: Say
    workers: int = field(default_factory=default_workers)
    delta_max_s: float = DELTA_MAX_S
    clock: Callable[[], float] = time.monotonic
    _work: _Work | None = None
    _failed: set[Key] = field(default_factory=set)

    def want(self, model: str, version: str, bases: Sequence[str]) -> bool:
        """Say what deltas are wanted; gives whether all are made, or will not be.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from, the most important first.
        """
        self._look()
        if not bases:
            return True
        folder = self.repo.store.folder(model, version)
        left = [base for base in bases if not self._is_settled(folder, (model, version, base))]
        if left and self._work is None:
            self._begin((model, version, left[0]))
        is_at_it = self._work is not None and self._work.key[:2] == (model, version)
        return not left and not is_at_it

    def hopeful(self, model: str, version: str, bases: Sequence[str]) -> list[str]:
        """Give those bases from which a delta may still be made.

        Args:
            model: of the release.
            version: of the release.
            bases: versions to start from.
        """
        if not bases:
            return []
        folder = self.repo.store.folder(model, version)
        return [base for base in bases if not self._is_settled(folder, (model, version, base))]

    def close(self) -> None:
        """End what is being made; it is made anew when it is wanted again."""
        if self._work is not None:
            self._end(self._work)

    def _is_settled(self, folder: ReleaseFolder, key: Key) -> bool:
        if key in self._failed or folder.is_built_by(DeltaBuilder((key[2],)).name):
            return True
        base = self.repo.store.folder(key[0], key[2]).load().image_sha256
        return base == folder.load().image_sha256 or self._has_delta(key)

    def _has_delta(self, key: Key) -> bool:
        model, version, base = key
        image = self.repo.store.folder(model, base).load().image_sha256
        payloads = (r.payload for r in self.repo.store.folder(model, version).payloads())
        return any(p.base is not None and p.base.image_sha256 == image for p in payloads)

    def _begin(self, key: Key) -> None:
        arguments = [sys.executable, "-m", _MODULE, str(self.repo.path), *key, str(self.workers)]
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment_without_secrets(),  # it reads models, and signs nothing
            start_new_session=True,  # so that its own workers end with it
        )
        self._work = _Work(key, process, self.clock())

    def _look(self) -> None:
        """See whether what is being made is made, or takes too long."""
        work = self._work
        if work is None:
            return
        model, version, base = work.key
        told = {"model": model, "version": version, "base": base}
        code = work.process.poll()
        if code is None and self.clock() - work.begin_s <= self.delta_max_s:
            return
        text = self._end(work)
        if code == 0:
            seconds = round(self.clock() - work.begin_s, 1)
            event = "delta_made" if self._has_delta(work.key) else "delta_does_not_pay"
            self.say(event, **told, seconds=seconds)
        else:
            self._failed.add(work.key)
            why = f"not made in {self.delta_max_s:.0f} s" if code is None else text
            self.say("no_delta", **told, detail=why or f"exit code {code}")

    def _end(self, work: _Work) -> str:
        """End a child with all that it started, and give what it said."""
        self._work = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(work.process.pid, signal.SIGKILL)
        stderr: IO[bytes] | None = work.process.stderr
        text = b"" if stderr is None else stderr.read()[-_TEXT_MAX_BYTES:]
        if stderr is not None:
            stderr.close()
        work.process.wait()
        return " ".join(text.decode(errors="replace").split())
