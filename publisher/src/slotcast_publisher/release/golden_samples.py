"""Golden samples: what the publisher saw the model say, signed into the release for the devices.

Runs the model on the user's inputs (or on inputs made from a seed), keeps a few runs, writes the
samples file, and says with which tolerances a device shall compare. The release helper adds the
file to the release and the `Probe` to what is signed.
How a device uses them: docs/health-check.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

import msgspec
import numpy as np
import onnx

from slotcast_publisher.release.given_outputs import allow_what_is_meant
from slotcast_publisher.release.given_samples import given_samples
from slotcast_publisher.release.input_hints import Hints, hints_of
from slotcast_publisher.release.made_inputs import InputMaker, InputsWanted, NoInputs
from slotcast_publisher.release.probe_limits import (
    is_quantised_model,
    least_accuracy,
    probe_of,
    relative_tolerance,
)
from slotcast_publisher.release.repeatability import (
    Run,
    furthest,
    incomparable,
    not_repeatable,
    other_threads,
    tell_nothing,
    turning_on_last_bits,
)
from slotcast_schemas import limits, outputs
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe, Tensor
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe.loading import open_model
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime import Feed, LoadedModel
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.probe.scan import is_prepared
from slotcast_schemas.probe.spec import DEVICE_SEED, SlotModel
from slotcast_schemas.samples import SAMPLES_MAX_BYTES, Samples, write_samples
from slotcast_schemas.seeded_inputs import SEEDED_RUNS, seeded_inputs
from slotcast_schemas.value_types import Array, Rows, arrays_of, rows_of, size_bytes

SAMPLES_DEFAULT: Final = 16
"""The number of samples that devices probe with, unless asked."""

SIZE_DEFAULT_BYTES: Final = 1 * limits.MIB
"""The most bytes of samples, unless asked: they travel with the model, so they are few, a share of
a model of tens of MB."""

_ONE_RUN_MAX_BYTES: Final = SAMPLES_MAX_BYTES // 4
"""The most bytes that one sample's inputs and outputs take."""

_FEW_MIN_BYTES: Final = 64 * 1024
_FEW_SHARE: Final = 4
"""Samples that nobody asked for weigh a fourth of the model at most, or 64 KiB; two runs are kept
even so, for one says nothing of what depends on the input."""

_PACKED_FROM_BYTES: Final = 64 * 1024
"""From here on an array counts as what it is packed to."""

REARRANGED_RUNS: Final = 4
"""The number of samples that are run once more without fused operators."""

ANYTHING: Final = InputsWanted()
"""Made inputs of which nothing is asked."""

Warn = Callable[[str], None]


NOTHING_CHOSEN: Final = Probe()
"""The limits where nothing was chosen."""


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
    wanted: InputsWanted = ANYTHING,
    chosen: Probe = NOTHING_CHOSEN,
    only_if_needed: bool = False,
    model_format: str = ONNX,
    is_compiled: bool = False,
    out_file: IO[bytes] | None = None,
) -> Probe:
    """Run the model, write the samples file and give the probe that goes with it.

    Args:
        model_dir: folder of the release's files.
        entry: the one in it that the runtime opens.
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
        wanted: shapes and ranges of made inputs.
        chosen: what its publisher lets devices accept, for what `warn` is told.
        only_if_needed: write none where the inputs do that a device makes by itself.
        model_format: what kind of file it is.
        is_compiled: whether a runtime prepared it for itself.
        out_file: the samples file, open already where none may be opened.

    Returns:
        The probe, with `samples` None where the model's inputs can be neither made nor given.

    Raises:
        UsageError: the user's file does not fit the model, or the model does not run.
        OSError: a file cannot be read or written.
    """
    warn = warn or (lambda _: None)
    model = SlotModel(str(model_dir.absolute()), entry, model_format, is_compiled=is_compiled)
    session = _load(model)
    if why := session.cannot_be_fed():
        warn(f"no samples: {why}; devices will not compare outputs")
        return Probe()
    if only_if_needed and usual_inputs_do(session) and not _numbers_images(session, model):
        return Probe()
    if user_npz is None:
        samples = _made(session, _hints_of(model), wanted, seed, max_samples)
    else:
        samples = given_samples(user_npz, session.inputs, max_samples)
    few_bytes = _few_bytes(model_dir) if only_if_needed else max_bytes
    runs = _run_all(session, samples, few_bytes, max_bytes, is_made=user_npz is None)
    if not runs:
        warn("no samples: one run is larger than a samples file may be")
        return Probe()
    kept = _keep(samples, runs)
    given = {name: kept.outputs[name] for name in samples.outputs}
    rtol, is_quantised = relative_tolerance(model), is_quantised_model(model)
    again = _repeated(session, kept)
    threaded = _repeated(_load(model, threads=other_threads()), kept)
    unsteady = not_repeatable(runs, again, threaded, rtol=rtol)
    if is_quantised:  # such models calculate in floats when they are rearranged
        apart = furthest(runs, _repeated(open_model(model, threads=1), kept), rtol=rtol)
        unsteady = incomparable(apart) | unsteady
    else:
        apart = furthest(runs, _rearranged(model, kept), rtol=rtol)
        unsteady = turning_on_last_bits(apart) | unsteady
    kept = _without(kept, unsteady, warn)
    probe = allow_what_is_meant(probe_of(model, kept, out.name, apart), given, runs)
    _warn_of(kept, runs, probe, chosen, warn)
    write_samples(out_file or out, kept)
    label_output = label_output or next(iter(runs[0]), None)
    all_runs = [runs, again, threaded] if label_output in unsteady else [runs]
    if kept.labels is None:
        return probe
    least = least_accuracy(kept.labels, all_runs, label_output)
    if label_output is not None and not outputs.accuracy(runs, kept.labels, label_output):
        warn(_none_is_right(kept.labels, runs, label_output))
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
    session = _load(SlotModel(str(path.parent.absolute()), path.name))
    return session.inputs, session.outputs


def _load(model: SlotModel, *, threads: int = 1) -> LoadedModel:
    """Open a session; with one thread, sums are in the same order at every run.

    Quantised models are run without the shortcut of x86's older kernels, which add in 16 bits and
    saturate: another processor is nearer to the exact sum than to that.
    """
    try:
        if model.format != ONNX:
            return open_model(model, threads=threads)
        exact = {"session.x64quantprecision": "1"}
        return OnnxSession(model.path, threads=threads, entries=exact)
    except Exception as exc:
        why = cause_of(exc, model.slot)
        raise UsageError(f"{model.entry}: expected a model that its runtime loads: {why}") from exc


def usual_inputs_do(session: LoadedModel) -> bool:
    """Whether the inputs that devices make by themselves run, and say something of the model."""
    try:
        made = Samples(seeded_inputs(session.inputs, runs=SEEDED_RUNS, seed=DEVICE_SEED))
        runs = [session.run(made.feed(index)) for index in range(made.runs)]
    except Exception:  # noqa: BLE001 (whatever the runtime says: others are tried)
        return False
    return not any(outputs.nonfinite(run) for run in runs) and not outputs.constant(runs)


def _hints_of(model: SlotModel) -> Hints:
    is_plain = model.format == ONNX and not is_prepared(model.path)
    return hints_of(onnx.load(str(model.path), load_external_data=False)) if is_plain else Hints()


def _numbers_images(session: LoadedModel, model: SlotModel) -> bool:
    """Whether inputs that devices make may name images that are not there, and so run by chance."""
    is_possible = any(len(t.shape) == 1 and "int" in t.dtype for t in session.inputs)
    return is_possible and bool(_hints_of(model).image_numbers)


def _made(
    session: LoadedModel, hints: Hints, wanted: InputsWanted, seed: int, runs: int
) -> Samples:
    """Make inputs on which the model runs.

    Raises:
        UsageError: none were found; says what to give.
    """
    try:
        return InputMaker(session.inputs, hints, wanted, seed).find(session.run, runs)
    except NoInputs as exc:
        raise UsageError(str(exc)) from exc


def _few_bytes(model_dir: Path) -> int:
    """Give how much samples that nobody asked for may weigh: a part of the model."""
    model_bytes = sum(path.stat().st_size for path in model_dir.rglob("*") if path.is_file())
    return max(_FEW_MIN_BYTES, model_bytes // _FEW_SHARE)


def _run_all(
    session: LoadedModel, samples: Samples, few_bytes: int, max_bytes: int, *, is_made: bool
) -> list[Run]:
    """What the model says to each run, until they weigh too much.

    Args:
        session: the model.
        samples: what goes in.
        few_bytes: after so much no third run is kept.
        max_bytes: after so much no second.
        is_made: whether nobody gave them: then those before one that does not run are enough.

    Raises:
        UsageError: the model does not run on a sample that was given, or on the first.
    """
    runs: list[Run] = []
    kept_bytes = whole_bytes = 0
    for index in range(samples.runs):
        feed = samples.feed(index)
        try:
            run = _run(session, feed, index)
        except UsageError:
            if runs and is_made:
                break
            raise
        values = (*feed.values(), *run.values())
        kept_bytes += sum(_packed_bytes(array) for value in values for array in arrays_of(value))
        one_bytes = sum(size_bytes(value) for value in values)
        whole_bytes += one_bytes
        most_bytes = few_bytes if len(runs) > 1 else max_bytes
        if one_bytes > _ONE_RUN_MAX_BYTES or (
            runs and (kept_bytes > most_bytes or whole_bytes > SAMPLES_MAX_BYTES // 2)
        ):
            break
        runs.append(run)
    return runs


def _packed_bytes(array: Array) -> int:
    """Give what an array takes in the file, roughly: made images are of blocks."""
    if array.nbytes < _PACKED_FROM_BYTES:
        return array.nbytes
    return len(zlib.compress(np.ascontiguousarray(array).tobytes(), 1))


def _repeated(session: LoadedModel, samples: Samples) -> list[Run]:
    """What the model says to each run, this time."""
    return [_run(session, samples.feed(index), index) for index in range(samples.runs)]


def _run(session: LoadedModel, feed: Feed, index: int) -> Run:
    try:
        return session.run(feed)
    except Exception as exc:
        raise UsageError(f"the model does not run on sample {index}: {cause_of(exc)}") from exc


def _rearranged(model: SlotModel, samples: Samples) -> list[Run]:
    """What the model says where operators are not fused: as another runtime, or version, may.

    Nothing where the model does not run so, or its runtime fuses nothing.
    """
    if model.format != ONNX:
        return []
    try:
        session = OnnxSession(model.path, threads=1, is_optimized=False)
        few = range(min(samples.runs, REARRANGED_RUNS))
        return [session.run(samples.feed(index)) for index in few]
    except Exception:  # noqa: BLE001 (a way to run that devices do not take either)
        return []


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


def _warn_of(kept: Samples, runs: Sequence[Run], probe: Probe, chosen: Probe, warn: Warn) -> None:
    nonfinite = next((text for run in runs if (text := outputs.nonfinite(run))), "")
    for text, name in (
        (nonfinite, "allow_nonfinite"),
        (outputs.constant(runs), "allow_constant"),
    ):
        if text and getattr(chosen, name):
            warn(f"{text}; probe.{name} was chosen, so devices accept it")
        elif text and getattr(probe, name):
            warn(f"{text}; so are the outputs given, so devices accept it")
        elif text:
            warn(f"{text}; devices refuse this unless probe.{name} is chosen")
    if tell_nothing(kept, probe):
        warn(
            f"the outputs of all {kept.runs} samples are the same within what devices let pass, so"
            " a damaged model may pass too: give inputs that it answers otherwise with --samples"
            " FILE, or say what inputs are like with --range NAME=LOW:HIGH"
        )
    for name, want in kept.outputs.items():
        if name not in runs[0]:
            warn(f"the model has no output {name!r}; devices will refuse it")
        elif _differ([run[name] for run in runs], want):
            warn(f"output {name!r} differs from the one given; devices may refuse this model")


def _none_is_right(labels: Array, runs: Sequence[Run], output: str) -> str:
    said = outputs.predictions(runs[:1], output)[:1].tolist()
    return (
        f"not one of the {labels.size} labels is right, so devices will not hold the model to them:"
        f" the first is {labels.ravel()[0].item()!r}, and output {output!r} says {said[0]!r};"
        " --label-output names another output"
    )


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
