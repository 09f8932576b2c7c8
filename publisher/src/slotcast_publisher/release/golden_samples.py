"""Golden samples: what the publisher saw the model say, signed into the release for the devices.

Runs the model on the user's inputs (or on inputs made from a seed), keeps a few runs, writes the
samples file, and says with which tolerances a device shall compare. The release helper adds the
file to the release and the `Probe` to what is signed.
How a device uses them: docs/health-check.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from slotcast_publisher.release.given_samples import given_samples
from slotcast_publisher.release.probe_limits import (
    least_accuracy,
    probe_of,
    relative_tolerance,
)
from slotcast_publisher.release.repeatability import Run, not_repeatable, other_threads
from slotcast_schemas import limits, outputs
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.samples import SAMPLES_MAX_BYTES, Samples, write_samples
from slotcast_schemas.seeded_inputs import seeded_inputs
from slotcast_schemas.value_types import Rows, rows_of, size_bytes

SAMPLES_DEFAULT: Final = 16
"""The number of samples that devices probe with, unless asked."""

SIZE_DEFAULT_BYTES: Final = 1 * limits.MIB
"""The most bytes of samples, unless asked: they travel with the model, so they are few, a share of
a model of tens of MB."""

_ONE_RUN_MAX_BYTES: Final = SAMPLES_MAX_BYTES // 4
"""The most bytes that one sample's inputs and outputs take."""

Warn = Callable[[str], None]


def make_samples(
    model_dir: Path,
    entry: str,
    user_npz: Path | None,
    out: Path,
    *,
    seed: int,
    max_samples: int = SAMPLES_DEFAULT,
    max_bytes: int = SIZE_DEFAULT_BYTES,
    min_accuracy: float | None = None,
    label_output: str | None = None,
    warn: Warn | None = None,
) -> Probe:
    """Run the model, write the samples file and give the probe that goes with it.

    Args:
        model_dir: folder of the release's files.
        entry: the ONNX file in it.
        user_npz: the user's samples: inputs by name, one item per row, in batches or not;
            optionally `labels`, and `output:NAME` where the true outputs are known from
            elsewhere (a training framework): then a model that an export damaged is noticed.
        out: the samples file to write; `probe.samples` is its name.
        seed: of made inputs; the same seed, model and runtime give the same file.
        max_samples: runs kept at most, spread over the user's rows.
        max_bytes: of inputs and outputs together; at least one run is kept.
        min_accuracy: with labels: what a device must reach; None means what was measured here,
            less one label.
        label_output: with labels: which output; None means the first.
        warn: told, in a sentence each, what devices will not compare, and what will make them
            refuse this model.

    Returns:
        The probe, with `samples` None where the model's inputs can be neither made nor given.

    Raises:
        UsageError: the user's file does not fit the model, or the model does not run.
        OSError: a file cannot be read or written.
    """
    warn = warn or (lambda _: None)
    path = model_dir / entry
    session = _load(path)
    try:
        samples = _inputs(session, user_npz, seed, max_samples)
    except ValueError as exc:
        warn(f"no samples: {exc}; devices will not compare outputs")
        return Probe()
    runs = _run_all(session, samples, max_bytes)
    if not runs:
        warn("no samples: one run is larger than a samples file may be")
        return Probe()
    kept = _keep(samples, runs)
    again = _repeated(session, kept)
    threaded = _repeated(_load(path, threads=other_threads()), kept)
    unsteady = not_repeatable(runs, again, threaded, rtol=relative_tolerance(path))
    kept = _without(kept, unsteady, warn)
    _warn_of(kept, runs, warn)
    write_samples(out, kept)
    label_output = label_output or next(iter(runs[0]), None)
    all_runs = [runs, again, threaded] if label_output in unsteady else [runs]
    probe = probe_of(path, kept, out.name)
    if kept.labels is None:
        return probe
    least = least_accuracy(kept.labels, all_runs, label_output)
    return msgspec.structs.replace(
        probe,
        min_accuracy=least if min_accuracy is None else min_accuracy,
        label_output=label_output,
    )


def model_signature(path: Path) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Give a model's inputs and outputs, as the runtime describes them.

    Raises:
        UsageError: the runtime cannot load it.
    """
    session = _load(path)
    return session.inputs, session.outputs


def _load(path: Path, *, threads: int = 1) -> OnnxSession:
    """Open a session; with one thread, sums are in the same order at every run."""
    try:
        return OnnxSession(path, threads=threads)
    except Exception as exc:
        why = cause_of(exc, str(path.parent))
        raise UsageError(f"{path.name}: expected a model that onnxruntime loads: {why}") from exc


def _inputs(session: OnnxSession, user_npz: Path | None, seed: int, max_samples: int) -> Samples:
    """At most `max_samples` runs of inputs; the user's outputs and labels with them."""
    if why := session.cannot_be_fed():
        raise ValueError(why)
    if user_npz is not None:
        return given_samples(user_npz, session.inputs, max_samples)
    return Samples(inputs=seeded_inputs(session.inputs, runs=max_samples, seed=seed))


def _run_all(session: OnnxSession, samples: Samples, max_bytes: int) -> list[Run]:
    """What the model says to each run, until `max_bytes` are reached."""
    runs: list[Run] = []
    kept_bytes = 0
    for index in range(samples.runs):
        feed = samples.feed(index)
        run = _run(session, feed, index)
        one_bytes = sum(size_bytes(value) for value in (*feed.values(), *run.values()))
        kept_bytes += one_bytes
        if one_bytes > _ONE_RUN_MAX_BYTES or (runs and kept_bytes > max_bytes):
            break
        runs.append(run)
    return runs


def _repeated(session: OnnxSession, samples: Samples) -> list[Run]:
    """What the model says to each run, this time."""
    return [_run(session, samples.feed(index), index) for index in range(samples.runs)]


def _run(session: OnnxSession, feed: Feed, index: int) -> Run:
    try:
        return session.run(feed)
    except Exception as exc:
        raise UsageError(f"the model does not run on sample {index}: {cause_of(exc)}") from exc


def _keep(samples: Samples, runs: Sequence[Run]) -> Samples:
    """The runs that were made, with what came out of them.

    An output whose shape changes from run to run needs a device that reads such samples, so it is
    left out where there is another to compare.
    """
    count = len(runs)
    names = [name for name in runs[0] if all(name in run for run in runs)]
    found = {name: rows_of([run[name] for run in runs]) for name in names}
    stacked = {name: rows for name, rows in found.items() if isinstance(rows, np.ndarray)}
    seen = stacked or found
    given = {
        name: _shaped(_first(rows, count), seen.get(name)) for name, rows in samples.outputs.items()
    }
    labels = None if samples.labels is None else samples.labels[:count]
    inputs = {name: _first(rows, count) for name, rows in samples.inputs.items()}
    return Samples(inputs, {**seen, **given}, labels)


def _first(rows: Rows, count: int) -> Rows:
    return rows[:count]


def _shaped(given: Rows, seen: Rows | None) -> Rows:
    """Give outputs that came without a batch axis the shape that the model gives them."""
    if isinstance(given, np.ndarray) and isinstance(seen, np.ndarray) and given.size == seen.size:
        return given.reshape(seen.shape)
    return given


def _without(kept: Samples, unsteady: dict[str, str], warn: Warn) -> Samples:
    """Leave out the outputs that cannot be compared, and say so."""
    for name, why in unsteady.items():
        warn(
            f"output {name!r} cannot be compared, because {why}: devices will not hold it against"
            " golden samples"
        )
    if unsteady and not kept.outputs.keys() - unsteady:
        warn("no output can be compared; export the model for inference, if this is not meant")
    compared = {name: rows for name, rows in kept.outputs.items() if name not in unsteady}
    return Samples(kept.inputs, compared, kept.labels)


def _warn_of(kept: Samples, runs: Sequence[Run], warn: Warn) -> None:
    for text in (next((t for run in runs if (t := outputs.nonfinite(run))), ""),):
        if text:
            warn(f"{text}; devices refuse this unless the probe allows it")
    if text := outputs.constant(runs):
        warn(f"{text}; devices refuse this unless the probe allows it")
    for name, want in kept.outputs.items():
        if name not in runs[0]:
            warn(f"the model has no output {name!r}; devices will refuse it")
        elif _differ([run[name] for run in runs], want):
            warn(f"output {name!r} differs from the one given; devices may refuse this model")


def _differ(got: Sequence[object], want: Rows) -> bool:
    """Whether floats are far from those given."""
    if not isinstance(want, np.ndarray) or want.dtype.kind != "f":
        return False
    return any(
        isinstance(one, np.ndarray)
        and one.shape == row.shape
        and not np.allclose(one, row, rtol=1e-2, atol=1e-3, equal_nan=True)
        for one, row in zip(got, want, strict=True)
    )
