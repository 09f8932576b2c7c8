"""Golden samples: what the publisher saw the model say, signed into the release for the devices.

Runs the model on the user's inputs (or on inputs made from a seed), keeps a few runs, writes the
samples file, and says with which tolerances a device shall compare. The release helper adds the
file to the release and the `Probe` to what is signed.
How a device uses them: docs/health-check.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime

from slotcast_publisher.release.probe_limits import (
    least_accuracy,
    probe_of,
    relative_tolerance,
)
from slotcast_publisher.release.repeatability import not_repeatable, other_threads
from slotcast_schemas import limits, outputs
from slotcast_schemas.errors import MalformedMessage, UsageError
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.samples import (
    NUMPY_TYPES,
    SAMPLES_MAX_BYTES,
    Array,
    Samples,
    read_arrays,
    seeded_inputs,
    write_samples,
)

SAMPLES_DEFAULT: Final = 16
"""The number of samples that devices probe with, unless asked."""

SIZE_DEFAULT_BYTES: Final = 1 * limits.MIB
"""The most bytes of samples, unless asked: they travel with the model, so they are few, a share of
a model of tens of MB."""

_USER_MAX_BYTES: Final = 16 * 1024 * limits.MIB
"""The most bytes of the samples that somebody gives, unpacked."""

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
    return _tensors(session.get_inputs()), _tensors(session.get_outputs())


def _load(path: Path, *, threads: int = 1) -> Any:
    """Open a session; with one thread, sums are in the same order at every run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as exc:
        raise UsageError(f"{path.name}: expected a model that onnxruntime loads: {exc}") from exc


def _tensors(arguments: list[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=argument.name,
            dtype=argument.type,
            shape=tuple(d if isinstance(d, int | str) else None for d in argument.shape or ()),
        )
        for argument in arguments
    )


def _inputs(session: Any, user_npz: Path | None, seed: int, max_samples: int) -> Samples:
    """At most `max_samples` runs of inputs; the user's outputs and labels with them."""
    tensors = _tensors(session.get_inputs())
    if user_npz is None:
        return Samples(inputs=seeded_inputs(tensors, runs=max_samples, seed=seed))
    arrays = _read_user(user_npz)
    inputs = {tensor.name: _rows(tensor, arrays, user_npz) for tensor in tensors}
    counts = {name: len(rows) for name, rows in inputs.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise UsageError(f"{user_npz.name}: expected as many rows for each input, got {counts}")
    runs = min(counts.values(), default=1)
    chosen = np.unique(np.linspace(0, runs - 1, min(runs, max_samples)).round().astype(int))
    labels = arrays.get("labels")
    if labels is not None:
        labels = _per_run(labels, runs, f"{user_npz.name}: labels")[chosen]
    wanted = {
        name.removeprefix("output:"): _per_run(array, runs, f"{user_npz.name}: {name}")[chosen]
        for name, array in arrays.items()
        if name.startswith("output:")
    }
    return Samples({name: rows[chosen] for name, rows in inputs.items()}, wanted, labels)


def _read_user(path: Path) -> dict[str, Array]:
    try:
        return read_arrays(path, max_bytes=_USER_MAX_BYTES)
    except MalformedMessage as exc:
        raise UsageError(str(exc)) from exc


def _rows(tensor: Tensor, arrays: dict[str, Array], path: Path) -> Array:
    """The user's array of one input, with one run per row, whether it came in batches or not."""
    array = arrays.get(tensor.name, arrays.get(f"input:{tensor.name}"))
    if array is None:
        raise UsageError(
            f"{path.name}: expected an array {tensor.name!r}, got {sorted(arrays)!r:.200}"
        )
    kind = NUMPY_TYPES.get(tensor.dtype)
    if kind is None:
        raise UsageError(f"{path.name}: input {tensor.name!r} of {tensor.dtype} cannot be sampled")
    rank = len(tensor.shape)
    if array.ndim == rank and rank > 0:
        batch = tensor.shape[0] if isinstance(tensor.shape[0], int) else 1
        whole = len(array) // max(1, batch) * batch
        array = array[:whole].reshape(-1, batch, *array.shape[1:])
    sizes = [d if isinstance(d, int) else None for d in tensor.shape]
    fits = array.ndim == rank + 1 and all(
        want in {None, got} for want, got in zip(sizes, array.shape[1:], strict=True)
    )
    if not fits:
        raise UsageError(
            f"{path.name}: {tensor.name!r}: expected rows of shape {list(tensor.shape)},"
            f" got an array of shape {list(array.shape)}"
        )
    return array.astype(kind)


def _per_run(array: Array, runs: int, what: str) -> Array:
    """Labels or outputs, one item or one batch per run, as one row per run."""
    if array.ndim == 0 or len(array) % runs or len(array) == 0:
        raise UsageError(f"{what}: expected a multiple of {runs} rows, got {list(array.shape)}")
    return array if len(array) == runs else array.reshape(runs, -1, *array.shape[1:])


def _run_all(session: Any, samples: Samples, max_bytes: int) -> list[dict[str, Array]]:
    """What the model says to each run, until `max_bytes` are reached."""
    runs: list[dict[str, Array]] = []
    size_bytes = 0
    for index in range(samples.runs):
        feed = samples.feed(index)
        run = _run(session, feed, index)
        one_bytes = sum(a.nbytes for a in (*feed.values(), *run.values()))
        size_bytes += one_bytes
        if one_bytes > _ONE_RUN_MAX_BYTES or (runs and size_bytes > max_bytes):
            break
        runs.append(run)
    return runs


def _repeated(session: Any, samples: Samples) -> list[dict[str, Array]]:
    """What the model says to each run, this time."""
    return [_run(session, samples.feed(index), index) for index in range(samples.runs)]


def _run(session: Any, feed: dict[str, Array], index: int) -> dict[str, Array]:
    try:
        results = session.run(None, feed)
    except Exception as exc:
        raise UsageError(f"the model does not run on sample {index}: {exc}") from exc
    names = (output.name for output in session.get_outputs())
    pairs = zip(names, results, strict=True)
    return {name: value for name, value in pairs if _is_plain(value)}


def _is_plain(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "biuf"


def _keep(samples: Samples, runs: list[dict[str, Array]]) -> Samples:
    """The runs that were made; an output whose shape changes from run to run is left out."""
    count = len(runs)
    seen = {
        name: np.stack([run[name] for run in runs])
        for name in runs[0]
        if len({run[name].shape for run in runs}) == 1
    }
    given = {
        name: array[:count].reshape(seen[name].shape) if name in seen else array[:count]
        for name, array in samples.outputs.items()
    }
    labels = None if samples.labels is None else samples.labels[:count]
    inputs = {name: array[:count] for name, array in samples.inputs.items()}
    return Samples(inputs, seen | given, labels)


def _without(kept: Samples, unsteady: dict[str, str], warn: Warn) -> Samples:
    """Leave out the outputs that cannot be compared, and say so."""
    for name, why in unsteady.items():
        warn(
            f"output {name!r} cannot be compared, because {why}: devices will not hold it against"
            " golden samples"
        )
    if unsteady and not kept.outputs.keys() - unsteady:
        warn("no output can be compared; export the model for inference, if this is not meant")
    outputs = {name: rows for name, rows in kept.outputs.items() if name not in unsteady}
    return Samples(kept.inputs, outputs, kept.labels)


def _warn_of(kept: Samples, runs: list[dict[str, Array]], warn: Warn) -> None:
    for text in (next((t for run in runs if (t := outputs.nonfinite(run))), ""),):
        if text:
            warn(f"{text}; devices refuse this unless the probe allows it")
    if text := outputs.constant(runs):
        warn(f"{text}; devices refuse this unless the probe allows it")
    for name, want in kept.outputs.items():
        if name not in runs[0]:
            warn(f"the model has no output {name!r}; devices will refuse it")
        elif runs[0][name].shape == want.shape[1:] and want.dtype.kind == "f":
            got = np.stack([run[name] for run in runs])
            if not np.allclose(got, want, rtol=1e-2, atol=1e-3, equal_nan=True):
                warn(f"output {name!r} differs from the one given; devices may refuse this model")
