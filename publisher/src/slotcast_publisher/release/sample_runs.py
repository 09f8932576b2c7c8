"""What a model says to samples: once, again, with other threads, and without fused operators."""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from slotcast_publisher.release.repeatability import Run
from slotcast_schemas import outputs
from slotcast_schemas.errors import UsageError
from slotcast_schemas.model_formats import ONNX
from slotcast_schemas.probe.loading import open_model
from slotcast_schemas.probe.onnx_session import OnnxSession
from slotcast_schemas.probe.runtime import Feed, LoadedModel
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.probe.spec import SlotModel
from slotcast_schemas.samples import SAMPLES_MAX_BYTES, Samples
from slotcast_schemas.value_types import Array, arrays_of, size_bytes

_ONE_RUN_MAX_BYTES: Final = SAMPLES_MAX_BYTES // 4
"""The most bytes that one sample's inputs and outputs take."""

_PACKED_FROM_BYTES: Final = 64 * 1024
"""From here on an array counts as what it is packed to."""

REARRANGED_RUNS: Final = 4
"""The number of samples that are run once more without fused operators."""


def load_model(model: SlotModel, *, threads: int = 1) -> LoadedModel:
    """Open a session; with one thread, sums are in the same order at every run.

    Quantised models are run without the shortcut of x86's older kernels, which add in 16 bits and
    saturate: another processor is nearer to the exact sum than to that.

    Args:
        model: which file, and of what kind.
        threads: that a run may use.

    Raises:
        UsageError: the runtime cannot load it.
    """
    try:
        if model.format != ONNX:
            return open_model(model, threads=threads)
        return _open_exact(model, threads)
    except Exception as exc:
        why = cause_of(exc, model.slot)
        raise UsageError(f"{model.entry}: expected a model that its runtime loads: {why}") from exc


def _open_exact(model: SlotModel, threads: int) -> LoadedModel:
    """Open a session without that shortcut, or with it where onnxruntime cannot do without.

    It makes other weights for this, and of some sound models it fails to.
    """
    exact = {"session.x64quantprecision": "1"}
    try:
        return OnnxSession(model.path, threads=threads, entries=exact)
    except Exception:  # noqa: BLE001 (a file that is no model fails once more, with its reason)
        return OnnxSession(model.path, threads=threads)


def run_samples(
    session: LoadedModel, samples: Samples, few_bytes: int, max_bytes: int, *, is_made: bool
) -> list[Run]:
    """Give what the model says to each sample, until they weigh too much.

    Args:
        session: the model.
        samples: what goes in.
        few_bytes: after so much no third run is kept.
        max_bytes: after so much no second.
        is_made: whether nobody gave them: then two or more are enough that are finite, before one
            that is not, and those before one that does not run.

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
        if is_made and len(runs) > 1 and outputs.nonfinite(run) and not outputs.nonfinite(runs[0]):
            break
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


def repeat_runs(session: LoadedModel, samples: Samples) -> list[Run]:
    """Give what the model says to each sample, this time.

    Raises:
        UsageError: it does not run on one.
    """
    return [_run(session, samples.feed(index), index) for index in range(samples.runs)]


def _run(session: LoadedModel, feed: Feed, index: int) -> Run:
    try:
        return session.run(feed)
    except Exception as exc:
        raise UsageError(f"the model does not run on sample {index}: {cause_of(exc)}") from exc


def run_rearranged(model: SlotModel, samples: Samples) -> list[Run]:
    """Give what the model says where operators are not fused: as another runtime, or version, may.

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
