"""The contract of a model's outputs is what the model does, where its file says otherwise.

Exporters declare ranks and sizes that a run does not keep, and runtimes accept it. A device holds
a model to the release's word, so the release says what was seen: where a run differs from what the
file declares, the sizes that do are free, and the rank is that of the run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slotcast_publisher.release.repeatability import Run
from slotcast_schemas import limits
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.probe.compare import shape_words


def observed_outputs(declared: Sequence[Tensor], runs: Sequence[Run]) -> tuple[Tensor, ...]:
    """Give the outputs as runs showed them.

    Args:
        declared: as the file has them.
        runs: what came out.
    """
    return tuple(_observed(tensor, [run.get(tensor.name) for run in runs]) for tensor in declared)


def _observed(tensor: Tensor, values: Sequence[object]) -> Tensor:
    for value in values:
        if not isinstance(value, np.ndarray) or not tensor.shape:
            continue
        if value.ndim != len(tensor.shape):
            tensor = _with_shape(tensor, (None,) * value.ndim)
        kept = tuple(
            size if not isinstance(size, int) or size == got else None
            for size, got in zip(tensor.shape, value.shape, strict=True)
        )
        tensor = _with_shape(tensor, kept)
    return tensor


def _with_shape(tensor: Tensor, shape: tuple[int | str | None, ...]) -> Tensor:
    return Tensor(name=tensor.name, dtype=tensor.dtype, shape=shape)


def within_bounds(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Give a signature that a release can hold: names of sizes that are too long are left out."""
    return tuple(
        _with_shape(
            tensor,
            tuple(
                None if isinstance(size, str) and len(size) > limits.SIZE_NAME_MAX_CHARS else size
                for size in tensor.shape
            ),
        )
        for tensor in tensors
    )


def differences(declared: Sequence[Tensor], observed: Sequence[Tensor]) -> list[str]:
    """Say, a sentence each, where a model does not do what its file declares.

    Args:
        declared: as the file has them.
        observed: as runs showed them.
    """
    return [
        f"output {was.name!r} is declared as {shape_words(was)} and comes as {shape_words(now)}:"
        " the release says what the model does"
        for was, now in zip(declared, observed, strict=True)
        if was.shape != now.shape
    ]
