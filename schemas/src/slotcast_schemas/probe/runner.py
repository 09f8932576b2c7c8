"""Runs the probe's child: starts, listens, watches the clock, kills. The only part with processes.

Guarantees: the child and all that it started are gone when `run_probe` returns; what it said and
printed is bounded; a child that was ended from outside (an administrator, a test, a cancel) never
counts against the model.
How long a probe may take on a busy device is decided by `waits`.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from slotcast_schemas import __version__, process_memory
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.environment import ONE_THREAD, child_environment
from slotcast_schemas.model_formats import is_run_by_command
from slotcast_schemas.probe.judge import DEVICE_BUSY, TOO_SLOW, Death, ProbeResult, judge
from slotcast_schemas.probe.spec import NOTES_MAX_BYTES, Note, ProbeFindings, ProbeRequest
from slotcast_schemas.probe.waits import (
    EndedUse,
    ProcessorUse,
    descendants,
    patience_s,
    processor_use,
)
from slotcast_schemas.reasons import Reason

OUTPUT_KEPT_BYTES: Final = 8 * 1024
"""The end of what the child printed: a crash says its last words there."""

_TICK_S: Final = 0.05
_START_UP_S: Final = 60.0
"""Before the probe's own time begins: importing onnxruntime takes seconds on a slow card."""

_GONE_S: Final = 2.0
"""How long processes that were killed may take to be gone: the kernel ends them one by one, and
whoever they are left to collects them."""

_ATTEMPTS: Final = 3
"""How often the child is started in all, if it is killed from outside."""

_TAKEN_MIN: Final = 0.5
"""The share of the free memory that a child must have taken to count as the one that used it up."""


def run_probe(
    request: ProbeRequest,
    *,
    cancel: threading.Event | None = None,
    on_start: Callable[[int], None] | None = None,
) -> ProbeResult:
    """Probe a model in a child process.

    It takes at most `probe.timeout_s` after its start, without waits for a processor, and
    `patience_s` with them. Where time alone speaks against the model, a second child must say
    the same; if the two disagree, a third decides.

    Args:
        request: what to probe.
        cancel: set it from another thread, and the probe ends within 0.1 s as `probe_canceled`.
        on_start: told each child's process id.

    Returns:
        The verdict with its evidence. Never raises for anything that the model does.
    """
    request = _with_memory_limit(request)
    cancel = cancel or threading.Event()
    first = _ask_child(request, cancel, on_start)
    if first.reason != TOO_SLOW:
        return first
    second = _ask_child(request, cancel, on_start)
    return _ask_child(request, cancel, on_start) if second.passed else second


def _ask_child(
    request: ProbeRequest, cancel: threading.Event, on_start: Callable[[int], None] | None
) -> ProbeResult:
    """Ask one child, and another one where it was killed from outside."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            result = _Watch(request, cancel, on_start).run()
        except OSError as exc:
            death = Death(Reason.PROBE_NOT_STARTED, f"no child process: {exc}", blames_model=False)
            return judge(request.probe, ProbeFindings(), death)
        if result.reason != Reason.PROBE_KILLED or attempt == _ATTEMPTS:
            return result
    raise AssertionError  # pragma: no cover


def _with_memory_limit(request: ProbeRequest) -> ProbeRequest:
    if request.memory_limit_bytes:
        return request
    free_bytes = int(process_memory.available_bytes() * 0.8)
    return msgspec.structs.replace(request, memory_limit_bytes=free_bytes)


class _Watch:
    """One child, from start to end."""

    def __init__(
        self,
        request: ProbeRequest,
        cancel: threading.Event,
        on_start: Callable[[int], None] | None,
    ) -> None:
        self._request = request
        self._cancel = cancel
        self._on_start = on_start
        self._findings = ProbeFindings()
        self._pending = bytearray()
        self._said_bytes = 0
        self._printed = bytearray()
        self._broken = ""
        self._pid = 0
        self._ended = EndedUse(self._pid)
        self._began_s: float | None = None
        self._at_begin = ProcessorUse()
        self._ended_by: str | None = None
        self._ran_s = 0.0
        self._peak_bytes = 0

    def run(self) -> ProbeResult:
        oom_kills, free_bytes = _oom_kills(), process_memory.available_bytes()
        notes_read, notes_write = os.pipe()
        try:
            with _as_stdin(msgspec.json.encode(self._request)) as stdin:
                child = self._start(stdin, notes_write)
        except BaseException:
            os.close(notes_read)
            raise
        finally:
            os.close(notes_write)
        try:
            if self._on_start is not None:
                self._on_start(child.pid)
            self._listen(child, notes_read)
        finally:
            _kill_group(child)
            os.close(notes_read)
        is_oom = _oom_kills() > oom_kills and self._may_have_taken(free_bytes)
        death = self._death(child.returncode, is_oom=is_oom)
        return judge(self._request.probe, self._findings, death)

    def _start(self, stdin: IO[bytes], notes_fd: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-B"]
        command += ["-m", "slotcast_schemas.probe.child", str(notes_fd), str(os.getpid())]
        command += [__version__]
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(notes_fd, *self._memory_fds()),
            start_new_session=True,
            cwd="/",
            env={**child_environment(), ONE_THREAD: "1"},
        )

    def _memory_fds(self) -> Iterator[int]:
        for model in (self._request.candidate, self._request.active):
            if model is not None:
                yield from model.memory.values()

    def _listen(self, child: subprocess.Popen[bytes], notes_fd: int) -> None:
        """Read until the child has closed both pipes, or must be killed."""
        assert child.stdout is not None  # noqa: S101 (given PIPE above)
        self._pid, started_s = child.pid, time.monotonic()
        self._ended = EndedUse(child.pid)
        with selectors.DefaultSelector() as selector, child.stdout:
            selector.register(notes_fd, selectors.EVENT_READ, self._hear)
            selector.register(child.stdout, selectors.EVENT_READ, self._keep)
            while selector.get_map():
                ready = selector.select(_TICK_S)
                peak_bytes = process_memory.status_bytes("VmHWM", child.pid)
                self._peak_bytes = max(self._peak_bytes, peak_bytes)
                self._ended.look()
                for key, _ in ready:
                    data = os.read(key.fd, 64 * 1024)
                    if data:
                        key.data(data)
                        if self._began_s is None and self._said_bytes:
                            self._began_s = time.monotonic() - started_s
                            self._at_begin = processor_use(child.pid)
                            self._ended = EndedUse(child.pid)
                    else:
                        selector.unregister(key.fileobj)
                self._ended_by = self._reason_to_end(time.monotonic() - started_s)
                if self._ended_by is not None:
                    return
                if child.poll() is not None and not selector.select(0):
                    return  # a grandchild may hold the pipes open; it is killed with the group
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_START_UP_S)

    def _may_have_taken(self, free_bytes: int) -> bool:
        """Whether the child, and not others, may have taken what memory there was.

        The kernel kills it first, whoever takes the memory. What a command of the owner's takes
        is not the child's own, and not looked at.
        """
        is_command = is_run_by_command(self._request.candidate.format)
        return is_command or self._peak_bytes >= free_bytes * _TAKEN_MIN

    def _reason_to_end(self, elapsed_s: float) -> str | None:
        if self._cancel.is_set():
            return Reason.PROBE_CANCELED
        if self._broken:
            return Reason.PROBE_CRASHED
        # The probe's own time begins when the child has imported the runtime and says so.
        if self._began_s is None:
            return self._reason_if_late(elapsed_s, _START_UP_S, Reason.PROBE_NOT_STARTED)
        timeout_s = self._request.probe.timeout_s
        return self._reason_if_late(elapsed_s - self._began_s, timeout_s, Reason.PROBE_TIMEOUT)

    def _reason_if_late(self, took_s: float, limit_s: float, late: str) -> str | None:
        """Waiting for a processor does not count, unless the child keeps them busy itself."""
        if took_s <= limit_s:
            return None
        use = processor_use(self._pid)
        if use.ran_s < self._at_begin.ran_s:
            return None  # it has just ended by itself, and what it used is gone with it
        ended = self._ended.look()  # commands that were started anew, with all that they had
        self._ran_s = use.ran_s + ended.ran_s - self._at_begin.ran_s
        waited_s = use.waited_s + ended.waited_s - self._at_begin.waited_s
        if took_s - waited_s > limit_s or self._ran_s > limit_s:
            return late
        return DEVICE_BUSY if took_s > patience_s(limit_s) else None

    def _keep(self, data: bytes) -> None:
        self._printed += data
        del self._printed[:-OUTPUT_KEPT_BYTES]

    def _hear(self, data: bytes) -> None:
        self._said_bytes += len(data)
        if self._said_bytes > NOTES_MAX_BYTES + 100 * self._request.probe.runs:
            self._broken = "the child said more than a probe can say"
            return
        self._pending += data
        while not self._broken and b"\n" in self._pending:
            line, _, rest = bytes(self._pending).partition(b"\n")
            self._pending = bytearray(rest)
            try:
                self._findings.add(msgspec.json.decode(line, type=Note))
            except UNDECODABLE as exc:
                self._broken = f"the child said what no probe says: {exc}"

    def _death(self, code: int, *, is_oom: bool) -> Death | None:
        """Why the child ended, if not by finishing."""
        at = f"at step {self._findings.at!r}"
        timeout_s = self._request.probe.timeout_s
        if self._ended_by == Reason.PROBE_CANCELED:
            return Death(Reason.PROBE_CANCELED, f"canceled {at}", blames_model=False)
        if self._ended_by == Reason.PROBE_NOT_STARTED:
            return Death(self._ended_by, f"nothing said in {_START_UP_S:g} s", blames_model=False)
        if self._ended_by == DEVICE_BUSY:
            detail = f"too little processor to spare to probe a model: not done {at}"
            return Death(DEVICE_BUSY, detail, blames_model=False)
        if self._ended_by == Reason.PROBE_TIMEOUT or code == -signal.SIGXCPU:
            used = f"{self._ran_s:.3g} s of processor time"
            return Death(Reason.PROBE_TIMEOUT, f"not done after {timeout_s:g} s ({used}), {at}")
        if self._broken:
            return Death(Reason.PROBE_CRASHED, self._broken)
        return None if code == 0 else self._death_by_itself(code, at, is_oom=is_oom)

    def _death_by_itself(self, code: int, at: str, *, is_oom: bool) -> Death:
        last_words = " ".join(self._printed.decode("utf-8", "replace").split())[-300:]
        if code == -signal.SIGKILL and not is_oom:
            return Death(Reason.PROBE_KILLED, f"killed from outside {at}", blames_model=False)
        if code == -signal.SIGKILL or "bad_alloc" in last_words:
            return Death(Reason.TOO_MUCH_MEMORY, f"memory ended {at}: {last_words}")
        if self._findings.at == "start":
            detail = f"exit {code} before it began: {last_words}"
            return Death(Reason.PROBE_NOT_STARTED, detail, blames_model=False)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Death(Reason.PROBE_CRASHED, f"{how} {at}: {last_words}".rstrip(": "))


def _as_stdin(data: bytes) -> IO[bytes]:
    """A file in memory: needs no disk, and unlike a pipe cannot block the writer."""
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("slotcast-probe"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child and all that it started, and collect it.

    What it started stays in its group (`confinement.call_filter`); where no filter holds, it stays
    below the child as long as that lives.
    """
    for pid in descendants(child.pid) if child.returncode is None else ():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    deadline_s = time.monotonic() + _GONE_S
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < deadline_s:
            os.killpg(child.pid, 0)
            time.sleep(_TICK_S / 10)


def _oom_kills() -> int:
    """How often the kernel has killed for memory since boot; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
