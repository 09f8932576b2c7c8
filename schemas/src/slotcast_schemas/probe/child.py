"""The probe's child: loads the candidate and says what it finds, line by line.

`python -m slotcast_schemas.probe.child NOTES_FD PARENT_PID VERSION`, with a `ProbeRequest` as JSON
on standard input. It judges nothing; it stops early where going on has no sense. Whatever the
model does to this process (crash, hang, take all memory), the parent outlives it. A parent of
another version was upgraded in place, and is told to be started again.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from slotcast_schemas import __version__, outputs
from slotcast_schemas.confinement import sandbox
from slotcast_schemas.errors import MalformedMessage
from slotcast_schemas.garbage import look_for_garbage_seldom
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe import compare, confine
from slotcast_schemas.probe.loading import open_model, read_model, wake
from slotcast_schemas.probe.owner_command import SAMPLE, CannotStart, program_files
from slotcast_schemas.probe.runtime import Feed, LoadedModel, Outputs
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.probe.scan import UnsafeModel, scan
from slotcast_schemas.probe.spec import (
    CPU_PROVIDER,
    Golden,
    Note,
    ProbeFailure,
    ProbeFigures,
    ProbeRequest,
    ProbeTiming,
    SlotModel,
)
from slotcast_schemas.probe.timing import Budget, Rounds, Side
from slotcast_schemas.probe.waits import Stopwatch, processor_use
from slotcast_schemas.process_memory import status_bytes
from slotcast_schemas.reasons import Reason
from slotcast_schemas.samples import Samples, read_samples_from
from slotcast_schemas.seeded_inputs import SEEDED_RUNS, seeded_inputs

_NO_MEMORY: Final = re.compile(
    r"bad.?alloc|failed to allocate|out of memory|cannot allocate", re.IGNORECASE
)

Say = Callable[[Note], None]


class Stop(Exception):
    """The candidate was found unfit; there is nothing more to learn."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = ProbeFailure(reason=reason, detail=detail[:DETAIL_MAX_CHARS])


class Model:
    """One loaded model, with what loading and running it cost.

    Args:
        which: where it is.
        request: what is asked, with the threads and providers to use.
    """

    def __init__(self, which: SlotModel, request: ProbeRequest) -> None:
        confine.trim()
        self._before_bytes = confine.reset_peak()
        self._loading_bytes = 0
        self._which = which
        self._request = request
        waited_s, started_s = processor_use().waited_s, time.perf_counter()
        self._loaded: LoadedModel | None = self._open(request.threads)
        took_s = time.perf_counter() - started_s
        self.load_s = max(0.0, took_s - (processor_use().waited_s - waited_s))
        self.inputs = self._loaded.inputs
        self.outputs = self._loaded.outputs
        self.cannot_be_fed = self._loaded.cannot_be_fed()
        self.peak_bytes: int | None = None

    def _open(self, threads: int) -> LoadedModel:
        content = read_model(self._which, self._request.probe.samples)
        # The files are in memory because the slot is encrypted; that is not memory which the model
        # needs.
        resident_bytes = 0 if content is None else confine.reset_peak()
        loaded = open_model(
            self._which,
            providers=self._request.providers,
            threads=threads,
            samples=_samples_file(self._request),
            content=content,
        )
        if content is not None:
            self._loading_bytes = max(self._loading_bytes, confine.peak_bytes() - resident_bytes)
            del content
            confine.trim()
            confine.reset_peak()
        return loaded

    def reload(self, threads: int) -> None:
        """Load it again, for another number of threads; the memory of the first goes before."""
        self.close()
        self._loaded = None
        confine.trim()
        self._loaded = self._open(threads)

    def run(self, feed: Feed) -> Outputs:
        """Run it once; outputs that no sample can hold are left out."""
        assert self._loaded is not None  # noqa: S101 (only while it is loaded again)
        return self._loaded.run(feed)

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that work for it beside this one."""
        return () if self._loaded is None else self._loaded.process_ids

    def close(self) -> None:
        """End what runs it beside this process."""
        if self._loaded is not None:
            self._loaded.close()

    def note_peak(self) -> None:
        """Fix the peak memory: of loading, and of the runs up to now."""
        own = max(self._loading_bytes, confine.peak_bytes() - self._before_bytes)
        self.peak_bytes = own + sum(status_bytes("VmHWM", pid) for pid in self.process_ids)

    def figures(self) -> ProbeFigures:
        """What is known of its costs."""
        return ProbeFigures(load_s=self.load_s, peak_memory_bytes=self.peak_bytes)


def probe(request: ProbeRequest, say: Say) -> None:
    """Load, check, measure; each step announced before it is taken.

    Raises:
        Stop: the candidate is unfit.
    """
    budget = Budget(request.probe.timeout_s)
    say(Note(at="scan"))
    _scan(request.candidate)
    say(Note(at="load"))
    candidate = _load(request.candidate, request)
    say(Note(at="contract", candidate=candidate.figures()))
    problems = [
        *compare.signature_problems("input", request.inputs, candidate.inputs),
        *compare.signature_problems("output", request.outputs, candidate.outputs),
    ]
    say(Note(at="samples", contract=_details(problems)))
    if problems:
        return
    if candidate.cannot_be_fed:
        candidate.note_peak()
        say(Note(at="done", not_run=candidate.cannot_be_fed, candidate=candidate.figures()))
        return
    samples, is_made = _samples(request, candidate)
    say(Note(at="run", made_inputs=is_made))
    if not _check_outputs(request, candidate, samples, say, is_made=is_made):
        return
    candidate.note_peak()
    _measure(request, candidate, samples, budget, say)


def _scan(model: SlotModel) -> None:
    try:
        scan(model)
    except UnsafeModel as exc:
        raise Stop(Reason.UNSAFE_MODEL, str(exc)) from exc
    except (ValueError, OSError) as exc:
        raise Stop(Reason.MODEL_UNLOADABLE, f"{model.entry}: {exc}") from exc


def _load(which: SlotModel, request: ProbeRequest) -> Model:
    try:
        return Model(which, request)
    except CannotStart as exc:
        raise Stop(Reason.PROBE_NOT_STARTED, str(exc)) from exc
    except Exception as exc:
        stop = _stop(Reason.MODEL_UNLOADABLE, exc, request)
        raise Stop(stop.failure.reason, f"{stop.failure.detail} ({which.entry})") from exc


def _stop(reason: str, exc: Exception, request: ProbeRequest) -> Stop:
    text = cause_of(exc, request.candidate.slot)
    if isinstance(exc, MemoryError) or _NO_MEMORY.search(text):
        return Stop(Reason.TOO_MUCH_MEMORY, f"past the memory limit: {text}")
    return Stop(reason, text)


def _details(problems: list[str]) -> tuple[str, ...]:
    return tuple(problem[:DETAIL_MAX_CHARS] for problem in problems[:16])


def _samples(request: ProbeRequest, candidate: Model) -> tuple[Samples, bool]:
    """The release's samples, or inputs made from the seed; true if made."""
    try:
        samples = _read_samples(request)
        if request.candidate.command:
            return _numbered(samples), False
        if samples is not None:
            return samples, False
        inputs = seeded_inputs(candidate.inputs, runs=SEEDED_RUNS, seed=request.seed)
        return Samples(inputs=inputs), True
    except (MalformedMessage, OSError) as exc:
        raise Stop(Reason.SAMPLES_UNREADABLE, str(exc)) from exc
    except ValueError as exc:
        raise Stop(Reason.SAMPLES_MISSING, f"{exc}; give samples to the release") from exc


def _read_samples(request: ProbeRequest) -> Samples | None:
    name = request.probe.samples
    if name is None:
        return None
    with request.candidate.open_file(name) as file:
        return read_samples_from(file, Path(name).name)


def _samples_file(request: ProbeRequest) -> Path | None:
    name = request.probe.samples
    return None if name is None else Path(request.candidate.slot) / name


def _numbered(samples: Samples | None) -> Samples:
    """What a command is fed with: the numbers of the samples, which it reads itself."""
    if samples is None:
        return Samples(inputs={})
    labels = () if samples.labels is None else (samples.labels,)
    rows = [*samples.inputs.values(), *samples.outputs.values(), *labels]
    return Samples({SAMPLE: np.arange(len(rows[0]))}, samples.outputs, samples.labels)


def _check_outputs(
    request: ProbeRequest, candidate: Model, samples: Samples, say: Say, *, is_made: bool
) -> bool:
    """Run every sample and compare; false if something is wrong, so measuring has no sense."""
    runs = _run_samples(request, candidate, samples, is_made=is_made)
    problems = compare.output_problems(request.outputs or candidate.outputs, runs[0])
    probe = request.probe
    bad = next((text for run in runs if (text := outputs.nonfinite(run))), "")
    alike = outputs.constant(runs)
    golden = _compare_golden(probe, samples, runs)
    share = _accuracy(request, samples, runs)
    say(
        Note(
            at="compare",
            contract=_details(problems),
            nonfinite=bad,
            constant=alike,
            golden=golden,
            accuracy=share,
        )
    )
    return not (
        problems
        or (bad and not probe.allow_nonfinite)
        or (alike and not probe.allow_constant)
        or (golden is not None and golden.worst > 1.0)
        or (share is not None and share < (probe.min_accuracy or 0.0))
    )


def _run_samples(
    request: ProbeRequest, candidate: Model, samples: Samples, *, is_made: bool
) -> list[Outputs]:
    try:
        return [candidate.run(samples.feed(index)) for index in range(samples.runs)]
    except Exception as exc:
        stop = _stop(Reason.RUN_FAILED, exc, request)
        if not is_made or stop.failure.reason != Reason.RUN_FAILED:
            raise stop from exc
        # Made inputs that a model cannot run on say nothing about the model.
        said = f"inputs made from a seed do not run ({stop.failure.detail:.400})"
        raise Stop(Reason.SAMPLES_MISSING, f"{said}; give samples to the release") from exc


def _compare_golden(probe: Probe, samples: Samples, runs: list[Outputs]) -> Golden | None:
    if not samples.outputs:
        return None
    return compare.golden(
        runs,
        [samples.expected(run) for run in range(samples.runs)],
        rtol=probe.rtol,
        atol=probe.atol,
        output_atol=probe.output_atol,
    )


def _accuracy(request: ProbeRequest, samples: Samples, runs: list[Outputs]) -> float | None:
    if samples.labels is None or not runs[0]:
        return None
    output = request.probe.label_output or next(iter(runs[0]))
    try:
        return outputs.accuracy(runs, samples.labels, output)
    except (KeyError, ValueError) as exc:
        raise Stop(
            Reason.SAMPLES_UNREADABLE, f"labels do not fit output {output!r}: {exc}"
        ) from exc


def _measure(
    request: ProbeRequest, candidate: Model, samples: Samples, budget: Budget, say: Say
) -> None:
    """Time both models in turns, so that whatever else the device does hits both alike."""
    say(Note(at="active_load", candidate=candidate.figures()))
    active = _load_active(request)
    sides = [Side(candidate, [samples.feed(index) for index in range(samples.runs)], "measure")]
    if active is not None and (feeds := _feeds(active, samples, request.seed)):
        active.note_peak()
        sides.append(Side(active, feeds, "active_measure"))
    models = [model for model in (candidate, active) if model is not None]

    def stopwatch() -> Stopwatch:
        return Stopwatch(pid for model in models for pid in model.process_ids)

    timing = _time(request, sides, budget, say, stopwatch)
    for model in models:
        model.close()
    figures = active.figures() if active is not None else None
    say(Note(at="done", candidate=candidate.figures(), active=figures, timing=timing))


def _time(
    request: ProbeRequest,
    sides: list[Side],
    budget: Budget,
    say: Say,
    stopwatch: Callable[[], Stopwatch],
) -> ProbeTiming:
    at = ""

    def tell(step: str) -> None:
        nonlocal at
        at = step
        say(Note(at=step))

    try:
        return Rounds(request.probe, sides, request.threads, budget, tell, stopwatch).hold()
    except Exception as exc:
        if at == sides[0].at:
            raise
        sys.stderr.write(f"the active model cannot be measured: {exc}\n")
        return Rounds(request.probe, sides[:1], request.threads, budget, tell, stopwatch).hold()


def _load_active(request: ProbeRequest) -> Model | None:
    """The active model, or None: that it does not load is no fault of the candidate."""
    if request.active is None:
        return None
    try:
        return Model(request.active, request)
    except Exception as exc:  # noqa: BLE001 (whatever is wrong with it, the update may mend it)
        sys.stderr.write(f"the active model does not load: {exc}\n")
        return None


def _feeds(active: Model, samples: Samples, seed: int) -> list[Feed]:
    """The same samples where they fit the active model, else seeded ones of its own."""
    given: list[Feed] = [samples.feed(index) for index in range(samples.runs)]
    with contextlib.suppress(Exception):  # it takes other inputs
        active.run(given[0])
        return given
    try:
        made = Samples(inputs=seeded_inputs(active.inputs, runs=SEEDED_RUNS, seed=seed))
        active.run(made.feed(0))
        return [made.feed(index) for index in range(made.runs)]
    except Exception as exc:  # noqa: BLE001 (as in _load_active)
        sys.stderr.write(f"the active model cannot be measured: {exc}\n")
        return []


def _close_in(request: ProbeRequest, parent_pid: int) -> None:
    """Close this process in before a runtime is imported; what does not hold is for `check`."""
    models = [model for model in (request.candidate, request.active) if model is not None]
    kind = sandbox.Kind.RUNTIME
    if any(model.command for model in models):
        kind = sandbox.Kind.COMMAND
    elif set(request.providers) - {CPU_PROVIDER}:
        kind = sandbox.Kind.DEVICE
    named = {path for model in models for path in program_files(model.command)}
    programs = sorted(path for path in named if str(path) not in request.closed)
    sandbox.close_network(kind)
    sandbox.close_in(
        kind,
        [folder for model in models for folder in model.folders],
        closed=request.closed,
        files=programs,
    )
    confine.die_with(parent_pid)


def main(arguments: list[str]) -> int:
    """Read the request, confine this process, probe, and say how it ended."""
    notes_fd, parent_pid, version = int(arguments[0]), int(arguments[1]), arguments[2]
    if version != __version__:
        said = f"the agent is {version}, what is installed is {__version__}: restart the agent"
        print(said, file=sys.stderr, flush=True)
        return 1
    confine.die_with(parent_pid)
    look_for_garbage_seldom()
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=ProbeRequest)
    confine.step_back()
    _close_in(request, parent_pid)
    wake({model.format for model in (request.candidate, request.active) if model is not None})
    confine.limit_process(request.probe.timeout_s)
    confine.limit_memory(request.memory_limit_bytes)

    def say(note: Note) -> None:
        os.write(notes_fd, msgspec.json.encode(note) + b"\n")

    try:
        probe(request, say)
    except Stop as stop:
        say(Note(at="stopped", failure=stop.failure))
    except Exception as exc:  # noqa: BLE001 (the last edge: said, then judged by the parent)
        say(Note(at="stopped", failure=_stop(Reason.RUN_FAILED, exc, request).failure))
    return 0


if __name__ == "__main__":
    # Not sys.exit: tearing a broken model down may crash, after everything was said.
    os._exit(main(sys.argv[1:]))
