"""Loads and warms a model at low priority, while another one serves.

Loading and optimizing take all the CPU they get, and answering requests must not notice. So a
thread of its own does it, at a lower priority (Linux has one per thread). The runtime's pool
threads inherit that, so they are raised again before they serve; where the system does not allow
raising (RLIMIT_NICE), and the model has pool threads, the priority is left as it is.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import onnxruntime

from slotcast_device.hotmodel.errors_kept import forget_ended_calls
from slotcast_device.hotmodel.litert import LitertModel
from slotcast_device.hotmodel.source import Opened
from slotcast_device.runtime import memory
from slotcast_schemas.errors import MalformedMessage, ModelFailed, ModelUnloadable
from slotcast_schemas.model_formats import LITERT, is_run_by_command
from slotcast_schemas.probe.loading import ModelBytes
from slotcast_schemas.probe.onnx_session import give_files, run_session
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.probe.tensors import signature
from slotcast_schemas.reasons import Reason
from slotcast_schemas.samples import Samples, read_samples_from
from slotcast_schemas.seeded_inputs import seeded_inputs

LOADER_NICE: Final = 19
"""The niceness of a load, the highest: a hundredth of the CPU of a busy thread, and all that is
idle. Found by measuring (docs/adr/0031): the lower, the more a load on a saturated machine is
felt."""

_NICE_MAX: Final = 19
"""The highest niceness that Linux knows (sched(7))."""

PATIENCE_S: Final = 15.0
"""The seconds that a load may take at low priority: on a machine with nothing to spare it might
never end, and the agent waits for it. After this it goes on at normal priority, where the system
allows raising it."""

BEAT_S: Final = 5.0
"""The seconds between two signs of life of a load that takes long."""

WARM_UP_RUNS: Final = 2
"""The number of runs of a new session before it serves: the first ones are slower than all
others."""

Warm = Callable[[Any], None]
"""What runs a session before it serves."""


@dataclass(frozen=True, slots=True)
class LoadWaits:
    """How long a load is left alone, in seconds.

    Attributes:
        timeout_s: after which the thread is left to itself: nothing can stop it.
        patience_s: after which it goes on at the caller's priority.
        beat_s: the most between two looks at it.
    """

    timeout_s: float = math.inf
    patience_s: float = PATIENCE_S
    beat_s: float = BEAT_S

    def next_look_s(self, elapsed_s: float) -> float:
        """Give the seconds until the next look, which is not later than the end of its time."""
        return max(0.0, min(self.beat_s, self.timeout_s - elapsed_s))


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the application passes to every `InferenceSession`.

    Attributes:
        options: `SessionOptions`, or a function that makes new ones for each load.
        is_made_anew: the options were made for one load, by such a function.
    """

    options: Any = None
    providers: Sequence[Any] | None = None
    provider_options: Sequence[Any] | None = None
    warm: Warm | None = None
    is_made_anew: bool = False

    def for_one_load(self) -> SessionSettings:
        """Give the settings of one load."""
        if not callable(self.options):
            return self
        return replace(self, options=self.options(), is_made_anew=True)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session, warm, and how long that took."""

    session: Any
    load_s: float


class LoadTimeout(ModelFailed):
    """Loading or warming up did not end."""

    reason = Reason.LOAD_TIMEOUT


def load(
    opened: Opened,
    settings: SessionSettings,
    *,
    nice: int = LOADER_NICE,
    waits: LoadWaits | None = None,
    beat: Callable[[], None] | None = None,
) -> Loaded:
    """Load and warm in a thread of its own; the caller waits, other threads go on.

    Args:
        opened: what to load.
        settings: of the session.
        nice: how much lower than the caller's the priority is.
        waits: how long it is left alone; without end unless given.
        beat: called at each look at it, while it lasts.

    Raises:
        LoadTimeout: it took too long.
        ModelUnloadable: the runtime does not load it, or it does not run.
    """
    settings = settings.for_one_load()
    results: list[Loaded | BaseException] = []
    thread = threading.Thread(
        target=_load_into, args=(results, opened, settings, nice), name="slotcast-load", daemon=True
    )
    with memory.large_blocks_apart():
        thread.start()
        _wait_for(thread, opened, waits or LoadWaits(), beat)
    (result,) = results
    if isinstance(result, Loaded):
        return result
    forget_ended_calls(result)  # one of them may have a session
    text = " ".join(str(result).split())
    raise ModelUnloadable(f"{opened.path}: {text}") from result


def _wait_for(
    thread: threading.Thread, opened: Opened, waits: LoadWaits, beat: Callable[[], None] | None
) -> None:
    began_s = time.monotonic()
    elapsed_s = 0.0
    while thread.is_alive():
        thread.join(waits.next_look_s(elapsed_s))
        if beat is not None and thread.is_alive():
            beat()
        elapsed_s = time.monotonic() - began_s
        if elapsed_s > waits.timeout_s and thread.is_alive():
            raise LoadTimeout(f"{opened.path}: expected to load in {waits.timeout_s:g} s, goes on")
        if elapsed_s > waits.patience_s and thread.native_id is not None:
            _raise(thread.native_id)


def _load_into(
    results: list[Loaded | BaseException], opened: Opened, settings: SessionSettings, nice: int
) -> None:
    try:
        with _lowered(nice, has_pool=_has_pool(settings.options)):
            started_s = time.perf_counter()
            session = new_session(opened, settings)
            _warm(session, opened, settings.warm)
            results.append(Loaded(session, time.perf_counter() - started_s))
    except BaseException as exc:  # noqa: BLE001 (handed to the caller)
        results.append(exc)


def new_session(opened: Opened, settings: SessionSettings) -> Any:
    """Load by path (from bytes, a runtime would hold the model twice), by the model's format.

    Of an encrypted slot, the path leads to a file in memory, or else there are bytes. Either is
    kept for as long as the session, which may load the model once more for other providers.

    Raises:
        ModelUnloadable: a format that only programs of one's own run, or an encrypted file that
            is not what was written there.
    """
    if is_run_by_command(opened.format):
        raise ModelUnloadable(
            f"HotModel runs models of format onnx and litert, and this one is {opened.format!r}:"
            " a program of your own follows it (docs/application.md, In any language)"
        )
    if opened.format == LITERT:
        content = opened.read_model()
        threads = 0 if settings.options is None else settings.options.intra_op_num_threads
        return LitertModel(opened.path if content is None else content.entry, threads)
    with contextlib.ExitStack() as held:
        path = held.enter_context(opened.hold_model())
        if path is None:
            return _new_onnx_session(opened.path, opened.read_model(), settings)
        session = _new_onnx_session(path, None, settings)
        weakref.finalize(session, held.pop_all().close)
        return session


def _new_onnx_session(path: Path, content: ModelBytes | None, settings: SessionSettings) -> Any:
    options = settings.options
    if content is not None and content.beside:
        options = _options_with(content.beside, settings)
    return onnxruntime.InferenceSession(
        str(path) if content is None else content.entry,
        options,
        providers=settings.providers,
        provider_options=settings.provider_options,
    )


def _options_with(files: Mapping[str, bytes], settings: SessionSettings) -> Any:
    """Give options by which a session finds its weights in bytes; those of one load and no other.

    Raises:
        ModelUnloadable: the application gave options that a second load would share.
    """
    if settings.options is not None and not settings.is_made_anew:
        raise ModelUnloadable(
            "weights beside the model, in an encrypted slot, need options of each load's own: give"
            " HotModel a function that makes session_options (docs/encryption.md)"
        )
    options = onnxruntime.SessionOptions() if settings.options is None else settings.options
    give_files(options, files)
    return options


def _has_pool(options: Any) -> bool:
    return options is None or options.intra_op_num_threads != 1


class _lowered(contextlib.AbstractContextManager[None]):  # noqa: N801 (reads as a verb)
    """Lower this thread's priority; on leaving, raise the threads that it has started."""

    def __init__(self, nice: int, *, has_pool: bool) -> None:
        self._is_on = (
            nice > 0 and sys.platform == "linux" and (not has_pool or may_raise_priority())
        )
        self._nice = nice

    def __enter__(self) -> None:
        if self._is_on:
            self._before = _threads()
            self._old = os.getpriority(os.PRIO_PROCESS, 0)
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, 0, min(_NICE_MAX, self._old + self._nice))

    def __exit__(self, *_: object) -> None:
        if self._is_on:
            for thread in _threads() - self._before:
                with contextlib.suppress(OSError):
                    if os.getpriority(os.PRIO_PROCESS, thread) > self._old:
                        os.setpriority(os.PRIO_PROCESS, thread, self._old)


def _raise(thread: int) -> None:
    """Give a thread the priority of this one, if it is lower."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            mine = os.getpriority(os.PRIO_PROCESS, 0)
            if os.getpriority(os.PRIO_PROCESS, thread) > mine:
                os.setpriority(os.PRIO_PROCESS, thread, mine)


def may_raise_priority() -> bool:
    """Whether a lowered thread could be raised to this thread's priority again."""
    answers: list[bool] = []

    def attempt() -> None:
        try:
            nice = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, nice + 1)
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        except OSError:
            answers.append(False)
        else:
            answers.append(True)

    thread = threading.Thread(target=attempt, name="slotcast-nice")
    thread.start()
    thread.join()
    return answers[0]


def _threads() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}  # noqa: PTH208 (names only)
    except OSError:
        return set()


def _warm(session: Any, opened: Opened, warm: Warm | None) -> None:
    """Run a few times, so that the first request finds memory and kernels ready."""
    if warm is not None:
        warm(session)
        return
    feed = _sample(opened)
    if feed is not None:
        for _ in range(WARM_UP_RUNS):
            run_session(session, feed)
        return
    # Made inputs that a model cannot run on say nothing about the model.
    with contextlib.suppress(Exception):
        made = seeded_inputs(signature(session.get_inputs()), runs=1, seed=1)
        for _ in range(WARM_UP_RUNS):
            run_session(session, Samples(inputs=made).feed(0))


def _sample(opened: Opened) -> Feed | None:
    """Give the release's first sample; None where it has none that can be read."""
    probe = None if opened.release is None else opened.release.probe
    if probe is not None and probe.samples is not None:
        with contextlib.suppress(MalformedMessage, ModelUnloadable, OSError):
            held = io.BytesIO(opened.read_file(probe.samples))
            return read_samples_from(held, probe.samples).feed(0)
    return None
