"""Golden samples: what the publisher saw the model say, signed into the release for the devices.

Runs the model on the user's inputs (or on inputs made from a seed), keeps a few runs, writes the
samples file, and says with which tolerances a device shall compare. `take_in` adds the file
to the release, and the `Probe` to what is signed.
How a device uses them: docs/health-check.md.
Which outputs can be compared is decided by `repeatability`, the tolerances by `probe_limits`, and
the inputs that nobody gave by `made_inputs`.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    turning_on_last_bits,
)
from slotcast_publisher.release.sample_runs import (
    load_model,
    repeat_runs,
    run_rearranged,
    run_samples,
)
from slotcast_publisher.release.sample_warnings import Warn, say_none_is_right, warn_of_outputs
from slotcast_schemas import limits, outputs
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe.loading import open_model
from slotcast_schemas.probe.runtime import LoadedModel
from slotcast_schemas.probe.scan import is_prepared
from slotcast_schemas.probe.spec import DEVICE_SEED, SlotModel
from slotcast_schemas.samples import Samples, write_samples
from slotcast_schemas.seeded_inputs import SEEDED_RUNS, seeded_inputs
from slotcast_schemas.value_types import Rows, rows_of

SAMPLES_DEFAULT: Final = 16
"""The number of samples that devices probe with, if the request says no other."""

SIZE_DEFAULT_BYTES: Final = 1 * limits.MIB
"""The most bytes of samples, if the request says no other. They travel with every release, so they
are small beside a model of tens of MB."""


_FEW_MIN_BYTES: Final = 64 * 1024
_FEW_SHARE: Final = 4
"""Samples that nobody asked for take at most a fourth of the model's size, or 64 KiB where that is
more. Two runs are kept in any case: one alone cannot show that outputs depend on the input."""


ANYTHING: Final = InputsWanted()
"""Made inputs of which nothing is asked."""


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
    session = load_model(model)
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
    runs = run_samples(session, samples, few_bytes, max_bytes, is_made=user_npz is None)
    if not runs:
        warn("no samples: one run is larger than a samples file may be")
        return Probe()
    kept = _keep(samples, runs)
    given = {name: kept.outputs[name] for name in samples.outputs}
    unsteady, apart, others = _compare_other_runs(model, session, kept, runs)
    kept = _without(kept, unsteady, warn)
    probe = allow_what_is_meant(probe_of(model, kept, out.name, apart), given, runs)
    warn_of_outputs(kept, runs, probe, chosen, warn)
    write_samples(out_file or out, kept)
    label_output = label_output or next(iter(runs[0]), None)
    all_runs = [runs, *others] if label_output in unsteady else [runs]
    if kept.labels is None:
        return probe
    least = least_accuracy(kept.labels, all_runs, label_output)
    if label_output is not None and not outputs.accuracy(runs, kept.labels, label_output):
        warn(say_none_is_right(kept.labels, runs, label_output))
    return msgspec.structs.replace(
        probe,
        min_accuracy=least if min_accuracy is None else min_accuracy,
        label_output=label_output,
    )


def _compare_other_runs(
    model: SlotModel, session: LoadedModel, kept: Samples, runs: Sequence[Run]
) -> tuple[dict[str, str], dict[str, float], list[list[Run]]]:
    """Run the samples in other ways, and hold them against the first.

    Args:
        model: the model.
        session: in which the first runs were made.
        kept: the samples.
        runs: the first runs.

    Returns:
        By output, why it cannot be compared; how far each is from the same by another kernel; and
        the runs at another time and with other threads.
    """
    rtol = relative_tolerance(model)
    again = repeat_runs(session, kept)
    threaded = repeat_runs(load_model(model, threads=other_threads()), kept)
    unsteady = not_repeatable(runs, again, threaded, rtol=rtol)
    if is_quantised_model(model):  # such models calculate in floats when they are rearranged
        apart = furthest(runs, repeat_runs(open_model(model, threads=1), kept), rtol=rtol)
        unsteady = incomparable(apart) | unsteady
    else:
        apart = furthest(runs, run_rearranged(model, kept), rtol=rtol)
        unsteady = turning_on_last_bits(apart) | unsteady
    return unsteady, apart, [again, threaded]


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
