"""`HotModel`: answers through every switch. No request fails, waits for a load, or is lost.

Two kinds of threads meet here. Callers take the live session, run it and leave, under a lock that
is held for well under a microsecond. One follower thread watches `current`; when it leads
elsewhere, the follower has the new session loaded and warmed beside the old one (`loader`), swaps
the two under the lock, waits until the last caller has left the old one, closes it and gives its
memory back. A release that does not load changes nothing for callers: the old one goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from slotcast_device.hotmodel import farewell, forks, room
from slotcast_device.hotmodel.blame import is_fault
from slotcast_device.hotmodel.complaints import Complaints
from slotcast_device.hotmodel.contract import is_finite
from slotcast_device.hotmodel.errors_kept import forget_ended_calls, words_of
from slotcast_device.hotmodel.live import Live
from slotcast_device.hotmodel.loader import LOADER_NICE, LoadWaits, SessionSettings, Warm, load
from slotcast_device.hotmodel.recorder import OutputSample
from slotcast_device.hotmodel.report_writer import ReportWriter
from slotcast_device.hotmodel.source import Identity, MayNotRead, Opened, identify, open_current
from slotcast_device.runtime import memory
from slotcast_schemas.errors import ModelFailed, ModelUnloadable
from slotcast_schemas.messages.release import Release

_log = logging.getLogger(__name__)

POLL_S: Final = 0.2
"""The seconds between two looks at `current`; each is two system calls."""
DRAIN_FIRST_S: Final = 1.0
"""The seconds that the follower waits for the old session's last callers before it looks at
`current` again; the session of a call that takes longer is closed when that call has ended."""
DRAIN_S: Final = 60.0
"""The seconds to wait for the last callers where nothing new is to be loaded meanwhile."""
LEAVE_S: Final = 1.0
"""The seconds that a process that ends waits for its follower, which may be in the middle of a
load."""
RETRY_S: Final = 30.0
"""The seconds after which a release is tried again for which memory was short, or whose files were
closed to us."""


class HotModel:
    """A model that is replaced under way. Thread-safe, and of use after a fork (`forks`).

    Args:
        current: the link that the agent switches: `STATE_DIR/models/<model>/current`. A plain
            folder works too, for a machine without an agent.
        session_options: passed to each `InferenceSession`, as are the next two; or a function that
            makes new ones for each.
        providers: execution providers.
        provider_options: their options.
        entry: file name of the model, where no agent says it.
        warm: called with each new session before it serves; by default it runs the release's
            first sample twice.
        allow_stop_then_start: where memory does not hold both models, close the old one first:
            callers then wait while the new one loads. Otherwise the old one goes on, and the
            agent is told `memory_short`.
        load_timeout_s: a release that is not loaded and warm by then is given up.
        start_timeout_s: how long to wait for a first model that loads.
        report_s: how often figures are written for the agent; 0 means never.
        loader_nice: how much lower than the caller's the loading thread's priority is.
        poll_s: how often `current` is looked at.
        slots_key: a file with the slots' key, for a device whose slots are encrypted at rest; the
            agent says where it is, unless this process gets it elsewhere (docs/encryption.md).

    Raises:
        ModelUnloadable: no model that loads came within `start_timeout_s`.
    """

    def __init__(
        self,
        current: Path | str,
        *,
        session_options: Any = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Any] | None = None,
        entry: str | None = None,
        warm: Warm | None = None,
        allow_stop_then_start: bool = False,
        load_timeout_s: float = 300.0,
        start_timeout_s: float = 60.0,
        report_s: float = 2.0,
        loader_nice: int = LOADER_NICE,
        poll_s: float = POLL_S,
        slots_key: Path | str | None = None,
    ) -> None:
        self._current = Path(current).absolute()
        self._slots_key = None if slots_key is None else Path(slots_key).absolute()
        self._settings = SessionSettings(session_options, providers, provider_options, warm)
        self._entry = entry
        self._may_stop = allow_stop_then_start
        self._load_timeout_s = load_timeout_s
        self._nice = loader_nice
        self._poll_s = poll_s
        self._start_timeout_s = start_timeout_s
        self._report_s = report_s
        self._is_closed = False
        self._inherited: list[Live] = []
        self._begin()
        forks.tell(self)
        self._start()

    def _begin(self) -> None:
        """Set up what belongs to one process."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._live: Live | None = None
        self._error: ModelFailed | None = None
        self._refused: Identity | None = None
        self._last_refusal: ModelFailed | None = None
        self._retry_at_s = 0.0
        self._complaints = Complaints(self._current)
        self._retired: list[Live] = []
        self._swaps = 0
        self._stop = threading.Event()
        self._reporter = ReportWriter(self._current.parent / "app", self._report_s)
        self._follower: threading.Thread | None = None

    def _start(self) -> None:
        """Begin to follow, and wait for the first model.

        Raises:
            ModelUnloadable: none that loads came in time.
        """
        with self._lock:
            is_first = self._follower is None
            if is_first:
                self._follower = threading.Thread(
                    target=self._follow, name="slotcast-follow", daemon=True
                )
                self._follower.start()
        if is_first:
            farewell.expect(self)
            self._wait_for_first(self._start_timeout_s)

    def forked(self) -> None:
        """Begin anew in a forked process; what it has loaded there waits for its first use."""
        inherited = [self._live, *self._retired]
        # Never destroyed: a session waits at its end for its threads, which this process has not.
        self._inherited += [live for live in inherited if live is not None]
        self._begin()
        if self._is_closed:
            self._error = _closed()

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: Any = None,
    ) -> list[Any]:
        """Answer one request, as `InferenceSession.run` does, on whatever release is live.

        Args:
            output_names: the outputs to give; None asks for all.
            input_feed: an array or a list for each input, of the shape and dtype that it has.
            run_options: onnxruntime's `RunOptions`.

        Returns:
            The outputs asked for, in that order.

        Raises:
            Exception: what onnxruntime raises for these inputs; it is counted as an error, unless
                no release here takes such a request (`contract`).
            ModelFailed: no model is loaded, and none is being loaded.
        """
        with self._lock:
            live = self._live
            if live is not None:
                live.in_flight += 1
        if live is None:
            live = self._enter()
        session = live.session
        started_ns = time.perf_counter_ns()
        try:
            outputs: list[Any] = session.run(output_names, input_feed, run_options)
        except BaseException as exc:
            at_fault = is_fault(exc, session, live.opened, output_names, input_feed, run_options)
            del session
            forget_ended_calls(exc)  # the runtime's name it, and the application may keep the error
            self._leave_raising(live, is_fault=at_fault)
            raise
        elapsed_ns = time.perf_counter_ns() - started_ns
        # The old session must die in the follower's thread, not in a caller's: no reference stays.
        del session
        recorder = live.recorder
        with self._lock:
            recorder.record(elapsed_ns)
            is_looked_at = recorder.wants_look()
            live.leave()
        if is_looked_at:
            look = OutputSample(outputs)
            if not look.is_nonfinite or is_finite(input_feed):  # NaN in, NaN out: no fault
                with self._lock:
                    recorder.record_look(look)
        return outputs

    @contextlib.contextmanager
    def pinned(self) -> Iterator[Any]:
        """Hold on to one release's `InferenceSession` for several calls, or for io_binding.

        While it is held, a replaced session stays in memory. Calls on it are not measured; where
        an application makes all of its calls so, the agent probes the release on trial instead.

        Raises:
            ModelFailed: no model is loaded, and none is being loaded.
        """
        with self._held() as live:
            live.recorder.is_pinned = True
            yield live.session

    @contextlib.contextmanager
    def _held(self) -> Iterator[Live]:
        live = self._enter()
        try:
            yield live
        finally:
            with self._lock:
                live.leave()

    def get_inputs(self) -> list[Any]:
        """The live session's inputs."""
        with self._held() as live:
            return list(live.session.get_inputs())

    def get_outputs(self) -> list[Any]:
        """The live session's outputs."""
        with self._held() as live:
            return list(live.session.get_outputs())

    def read_file(self, name: str) -> bytes:
        """Give what a file of the live release holds, such as labels or a tokenizer.

        It is read as it was released, whether slots are encrypted at rest or not.

        Args:
            name: its path in the release.

        Raises:
            ModelFailed: no model is loaded, and none is being loaded; or the file was changed.
            OSError: there is no such file, or it cannot be read.
        """
        with self._held() as live:
            return live.opened.read_file(name)

    @property
    def release(self) -> Release | None:
        """The release that answers now; None before the first, or without an agent."""
        if self._follower is None and not self._is_closed:
            self._start()
        live = self._live
        return None if live is None else live.opened.release

    @property
    def swaps(self) -> int:
        """How often a session was replaced by another."""
        return self._swaps

    def close(self) -> None:
        """Follow no more, close the session. Calls under way end normally, later ones raise."""
        self._is_closed = True
        self._stop.set()
        if self._follower is not None:
            self._follower.join()
        with self._lock:
            live, self._live = self._live, None
            self._error = self._error or _closed()
            if live is not None:
                live.retire()
            self._changed.notify_all()
        if live is not None:
            self._retired.append(live)
            live.drained.wait(DRAIN_S)
        self._close_drained()
        self._reporter.close()

    def leave(self) -> None:
        """Say that this process ends on purpose; called by the interpreter's end (`farewell`)."""
        self._stop.set()
        if self._follower is not None:
            self._follower.join(LEAVE_S)
        self._reporter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- callers ------------------------------------------------------------------------------

    def _enter(self) -> Live:
        if self._follower is None and not self._is_closed:
            self._start()
        with self._lock:
            while self._live is None:
                if self._error is not None:
                    raise words_of(self._error)
                self._changed.wait()
            live = self._live
            live.in_flight += 1
            return live

    def _leave_raising(self, live: Live, *, is_fault: bool | None) -> None:
        with self._lock:
            if is_fault:
                live.recorder.record_error()
            elif is_fault is not None:
                live.recorder.record_invalid()
            live.leave()

    def _wait_for_first(self, timeout_s: float) -> None:
        with self._lock:
            self._changed.wait_for(lambda: self._live is not None, timeout_s)
            if self._live is not None:
                return
        self.close()  # it waits for the look that is being taken, and what that finds is told
        error = self._last_refusal or ModelUnloadable(
            f"{self._current}: expected a model within {timeout_s:g} s, got none"
        )
        with self._lock:
            self._error = error
        raise words_of(error)

    # --- the follower -------------------------------------------------------------------------

    def _follow(self) -> None:
        while True:
            try:
                self._step()
            except ModelFailed as exc:
                self._last_refusal = words_of(exc)
                self._complaints.say(self._last_refusal)
            except Exception:  # noqa: BLE001 (the thread must outlive whatever a step meets)
                self._complaints.say()
            if self._stop.wait(self._poll_s):
                return

    def _step(self) -> None:
        identity = identify(self._current)
        live = self._live
        if live is not None and identity == live.opened.identity:
            self._refused = None
        elif identity is not None and self._may_try(identity):
            self._take_over(identity)
        self._close_drained()
        live = self._live
        if live is not None and self._reporter.is_due(live.recorder.requests):
            self._reporter.figures(live.opened, "serving", live.recorder, live.load_s)

    def _may_try(self, identity: Identity) -> bool:
        """A release that was refused is tried again only where waiting may have helped."""
        if identity != self._refused:
            return True
        return time.monotonic() >= self._retry_at_s

    def _take_over(self, identity: Identity) -> None:
        try:
            opened = open_current(self._current, identity, self._entry, self._slots_key)
        except ModelFailed as exc:
            self._refuse(identity, None, exc)
            return
        self._reporter.say(opened, "loading")
        old = self._live
        try:
            is_stopped = self._make_room(opened)
        except room.MemoryShort as exc:
            self._refuse(identity, opened, exc)
            return
        try:
            loaded = load(
                opened,
                self._settings,
                nice=self._nice,
                waits=LoadWaits(timeout_s=self._load_timeout_s),
                beat=lambda: self._beat(opened),
            )
        except ModelFailed as exc:
            self._refuse(identity, opened, exc)
            if is_stopped and old is not None:
                self._go_back(old.opened, exc)
            return
        if identify(self._current) != identity and old is not None and not is_stopped:
            return  # rolled back, or replaced, while it was loading: what was read may be mixed
        self._swap(Live(loaded.session, opened, loaded.load_s))

    def _beat(self, opened: Opened) -> None:
        """While a load lasts, the agent hears that this process lives and still serves."""
        self._reporter.say(opened, "loading")
        live = self._live
        if live is not None:
            self._reporter.figures(live.opened, "serving", live.recorder, live.load_s)

    def _make_room(self, opened: Opened) -> bool:
        """Check that memory holds both; true if the old session had to be stopped.

        Raises:
            room.MemoryShort: it does not, and stopping is not allowed.
        """
        if self._live is None:
            return False
        missing = room.what_is_missing(opened)
        if missing is None:
            return False
        if not self._may_stop:
            raise room.MemoryShort(f"{missing}; allow_stop_then_start would close the old first")
        self._replace(None)
        return True

    def _swap(self, new: Live) -> None:
        self._replace(new)
        self._refused = None
        self._reporter.figures(new.opened, "serving", new.recorder, new.load_s)

    def _replace(self, new: Live | None) -> None:
        """Let callers have the new session, wait for those in the old one, close it."""
        with self._lock:
            if new is not None and (self._live is not None or self._swaps):  # not the first one
                self._swaps += 1
            old, self._live = self._live, new
            self._error = None
            if old is not None:
                old.retire()
            self._changed.notify_all()
        if old is not None:
            self._retired.append(old)
            old.drained.wait(DRAIN_FIRST_S if new is not None else DRAIN_S)
            self._close_drained()

    def _close_drained(self) -> None:
        """Close retired sessions that nobody is in, and give their memory back."""
        for live in [live for live in self._retired if live.drained.is_set()]:
            self._retired.remove(live)
            self._reporter.figures(live.opened, "retired", live.recorder, live.load_s)
            live.session = None
            memory.give_back()

    def _go_back(self, opened: Opened, cause: ModelFailed) -> None:
        """After stopping the old session in vain: load it again, or let callers know."""
        try:
            loaded = load(opened, self._settings, nice=0)
        except ModelFailed:
            with self._lock:
                self._error = words_of(cause)
                self._changed.notify_all()
            return
        self._swap(Live(loaded.session, opened, loaded.load_s))
        self._refused = identify(self._current)

    def _refuse(self, identity: Identity, opened: Opened | None, exc: ModelFailed) -> None:
        """Go on with what there is, and say why."""
        why = words_of(exc)  # whoever is told may keep it, a handler of logs for one
        _log.error("%s: not taken over: %s", self._current, why)
        self._refused = identity
        self._last_refusal = why
        may_pass = isinstance(why, room.MemoryShort | MayNotRead)
        self._retry_at_s = time.monotonic() + RETRY_S if may_pass else math.inf
        if opened is not None:
            self._reporter.say(opened, "failed", failure=why)


def _closed() -> ModelFailed:
    return ModelUnloadable("this HotModel is closed")
