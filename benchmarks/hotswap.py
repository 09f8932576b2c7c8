"""What a switch of models costs an application that keeps asking: `HotModel` and the naive way.

Four threads call `run()` without pause while the model is replaced, again and again. Each way
runs in a process of its own, so that its memory is its own:

- `hot`: HotModel follows the link.
- `naive`: the application itself sees the link change and makes a new InferenceSession in place
  (in the thread that noticed, under a lock), as applications do.
- `plain`: HotModel without its measures, low priority of the load and memory given back: what they
  are worth (docs/adr/0030 and 0031).

Latency while a swap goes on is compared with latency between swaps of the same run, so that
whatever else the machine does hits both. A call counts as "while a swap goes on" from the switch
of the link until the old session is closed and its memory given back.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import psutil

from benchmarks.report import CannotRun, Figure, Options
from slotcast_device import HotModel
from slotcast_device.hotmodel.loader import LOADER_NICE
from slotcast_device.runtime import memory
from tests.support import models

THREADS: Final = 4
SWAPS: Final = 30
REFERENCE_SWAP: Final = 3
P99_LIMIT: Final = 1.4
MEMORY_LIMIT: Final = 1.1
OVERHEAD_LIMIT_S: Final = 5e-6
_PAUSE_S: Final = 0.7
_CALLS_MAX: Final = 400_000
_NOTICE_S: Final = 0.02
_ROW: Final = models.inputs(1)

Ask = Callable[[], Any]


@dataclass(frozen=True)
class Run:
    """One way, one size of model, all swaps."""

    way: str
    size_mb: int
    calls: int
    failed: int
    swaps: int
    steady_p50_s: float
    steady_p99_s: float
    swap_p50_s: float
    swap_p99_s: float
    swap_max_s: float
    swap_s: float
    rss_reference_bytes: int
    rss_last_bytes: int


def run(options: Options) -> list[Figure]:
    """Swap models of 8 and 90 MB under load in each way, and measure what counting costs."""
    figures: list[Figure] = []
    for size_mb in (8,) if options.quick else (8, 90):
        swaps = 6 if options.quick else SWAPS
        runs = {}
        for way in ("hot", "naive", "plain"):
            options.say(f"{way}: {swaps} swaps of a {size_mb} MB model")
            runs[way] = _in_child(way, size_mb, swaps, options.work / f"{way}{size_mb}")
        figures += _figures(size_mb, swaps, runs)
    options.say("cost of counting, for each request")
    figures += _overhead(options.work / "overhead")
    return figures


def _in_child(way: str, size_mb: int, swaps: int, folder: Path) -> Run:
    command = [
        sys.executable,
        "-m",
        "benchmarks.hotswap",
        way,
        str(size_mb),
        str(swaps),
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode != 0:
        raise CannotRun(f"{way}: exit code {done.returncode}: {done.stderr[-500:]}")
    return Run(**json.loads(done.stdout))


def _figures(size_mb: int, swaps: int, runs: dict[str, Run]) -> list[Figure]:
    hot = runs["hot"]
    figures = [
        Figure(f"{size_mb} MB: failed or lost calls", hot.failed, "calls", 0, "==",
               f"of {hot.calls} by {THREADS} threads, {hot.swaps} swaps"),
        Figure(f"{size_mb} MB: swaps done", hot.swaps, "swaps", swaps, "=="),
    ]  # fmt: skip
    for way, one in runs.items():
        is_ours = way == "hot"
        figures += [
            Figure(f"{size_mb} MB, {way}: p99 in a swap / steady p99",
                   one.swap_p99_s / one.steady_p99_s, "ratio", P99_LIMIT if is_ours else None,
                   note=f"{one.swap_p99_s * 1e3:.1f} / {one.steady_p99_s * 1e3:.1f} ms"),
            Figure(f"{size_mb} MB, {way}: longest call in a swap", one.swap_max_s * 1e3, "ms"),
            Figure(f"{size_mb} MB, {way}: one swap", one.swap_s, "s"),
            Figure(f"{size_mb} MB, {way}: memory after swap {swaps} / {REFERENCE_SWAP}",
                   one.rss_last_bytes / one.rss_reference_bytes, "ratio",
                   MEMORY_LIMIT if is_ours else None,
                   note=f"{one.rss_last_bytes >> 20} / {one.rss_reference_bytes >> 20} MiB"),
        ]  # fmt: skip
    return figures


class Load:
    """Threads that ask without pause, and when each answer came and how long it took."""

    def __init__(self, ask: Ask, check: Callable[[Any], bool]) -> None:
        self._ask = ask
        self._check = check
        self._stop = threading.Event()
        # Filled before the first swap, so that keeping the times does not look like a leak.
        self._times = np.full((THREADS, _CALLS_MAX, 2), np.nan)
        self.failed = 0
        self._threads = [threading.Thread(target=self._work, args=(t,)) for t in self._times]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def _work(self, times: Any) -> None:
        for index in range(_CALLS_MAX):
            if self._stop.is_set():
                return
            begun_s = time.perf_counter()
            try:
                is_good = self._check(self._ask())
            except Exception:  # noqa: BLE001 (a failed call is what is counted)
                is_good = False
            ended_s = time.perf_counter()
            times[index] = begun_s, ended_s
            self.failed += not is_good

    def stop(self) -> Any:
        """All calls as an array of begin and end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if not np.isnan(self._times[:, -1]).all():
            raise CannotRun(f"more than {_CALLS_MAX} calls by one thread: make room for them")
        calls = self._times.reshape(-1, 2)
        return calls[~np.isnan(calls[:, 0])]


def _child(way: str, size_mb: int, swaps: int, folder: Path) -> Run:
    current = _make_slots(folder, size_mb)
    if way == "plain":
        memory.give_back = lambda: False
        memory.large_blocks_apart = contextlib.contextmanager(lambda: iter((None,)))
    nice = 0 if way == "plain" else LOADER_NICE
    holder = _Naive(current) if way == "naive" else _Hot(current, nice)
    known = [_answer(folder / "slots" / slot) for slot in "ab"]
    load = Load(holder.ask, lambda got: any(np.allclose(got, k, atol=1e-4) for k in known))
    load.start()
    time.sleep(2 * _PAUSE_S)
    windows, sizes = [], []
    for index in range(swaps):
        begun_s = time.perf_counter()
        _switch(current, "ba"[index % 2])
        holder.wait_for_swap(index + 1)
        windows.append((begun_s, time.perf_counter()))
        time.sleep(_PAUSE_S)
        sizes.append(psutil.Process().memory_info().rss)
    calls = load.stop()
    holder.close()
    return _evaluate(way, size_mb, calls, load.failed, windows, sizes)


def _evaluate(
    way: str,
    size_mb: int,
    calls: Any,
    failed: int,
    windows: list[tuple[float, float]],
    sizes: list[int],
) -> Run:
    begin, end = calls[:, 0], calls[:, 1]
    in_swap = np.zeros(len(calls), bool)
    for begun_s, ended_s in windows:
        in_swap |= (end >= begun_s) & (begin <= ended_s)
    took_s = end - begin
    steady, swapping = took_s[~in_swap], took_s[in_swap]
    return Run(
        way=way,
        size_mb=size_mb,
        calls=len(calls),
        failed=failed,
        swaps=len(windows),
        steady_p50_s=float(np.percentile(steady, 50)),
        steady_p99_s=float(np.percentile(steady, 99)),
        swap_p50_s=float(np.percentile(swapping, 50)),
        swap_p99_s=float(np.percentile(swapping, 99)),
        swap_max_s=float(swapping.max()),
        swap_s=float(np.mean([ended_s - begun_s for begun_s, ended_s in windows])),
        rss_reference_bytes=sizes[min(REFERENCE_SWAP, len(sizes)) - 1],
        rss_last_bytes=sizes[-1],
    )


class _Hot:
    def __init__(self, current: Path, nice: int) -> None:
        self._model = HotModel(
            current, session_options=_options(), poll_s=_NOTICE_S, loader_nice=nice
        )

    def ask(self) -> Any:
        return self._model.run(None, {"x": _ROW})[0]

    def wait_for_swap(self, count: int) -> None:
        while self._model.swaps < count:
            time.sleep(0.005)

    def close(self) -> None:
        self._model.close()


class _Naive:
    """What applications do: look at the link now and then; if it changed, load in place."""

    def __init__(self, current: Path) -> None:
        self._current = current
        self._lock = threading.Lock()
        self._target = ""
        self._looked_s = 0.0
        self._swaps = -1
        self._look()

    def _look(self) -> None:
        target = str(self._current.readlink())
        if target != self._target:
            path = self._current.parent / target / "model.onnx"
            self._session = onnxruntime.InferenceSession(str(path), _options())
            self._target = target
            self._swaps += 1

    def ask(self) -> Any:
        if time.monotonic() - self._looked_s > _NOTICE_S:
            with self._lock:
                self._looked_s = time.monotonic()
                self._look()
        return self._session.run(None, {"x": _ROW})[0]

    def wait_for_swap(self, count: int) -> None:
        while self._swaps < count:
            time.sleep(0.005)

    def close(self) -> None:
        del self._session


def _options() -> Any:
    """One thread for each call: the four callers keep the cores busy by themselves."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def _make_slots(folder: Path, size_mb: int) -> Path:
    for seed, slot in enumerate("ab", 1):
        path = folder / "slots" / slot
        path.mkdir(parents=True)
        (path / "model.onnx").write_bytes(models.large(seed, size_bytes=size_mb << 20))
    _switch(folder / "current", "a")
    return folder / "current"


def _switch(current: Path, slot: str) -> None:
    new = current.with_name("new")
    new.symlink_to(f"slots/{slot}")
    new.replace(current)


def _answer(slot: Path) -> Any:
    session = onnxruntime.InferenceSession(str(slot / "model.onnx"), _options())
    return session.run(None, {"x": _ROW})[0]


def _overhead(folder: Path) -> list[Figure]:
    """One thread, a model of microseconds: HotModel beside the bare session, in turns.

    In the thread's own CPU time, so that other processes on the machine do not count.
    """
    path = folder / "slots" / "a"
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(models.classifier())
    _switch(folder / "current", "a")
    bare = onnxruntime.InferenceSession(str(path / "model.onnx"), _options())
    with HotModel(folder / "current", session_options=_options()) as hot:
        feed = {"x": _ROW}
        costs = []
        for _ in range(15):
            pair = [_time(bare.run, feed), _time(hot.run, feed)]
            costs.append(pair[1] - pair[0])
    return [
        Figure("cost of HotModel, each request", float(np.median(costs)) * 1e6, "us",
               OVERHEAD_LIMIT_S * 1e6, note="CPU time; median of 15 turns of 4,000 requests"),
    ]  # fmt: skip


def _time(run_once: Callable[..., Any], feed: dict[str, Any], times: int = 4000) -> float:
    begun_s = time.thread_time()
    for _ in range(times):
        run_once(None, feed)
    return (time.thread_time() - begun_s) / times


if __name__ == "__main__":
    _way, _size, _swaps, _folder = sys.argv[1:]
    sys.stdout.write(json.dumps(asdict(_child(_way, int(_size), int(_swaps), Path(_folder)))))
