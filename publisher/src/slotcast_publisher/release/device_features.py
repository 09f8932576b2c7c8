"""What a device must know beyond what every device knows, to take a release.

A release names it in `requires`, so that an older device refuses it in those words before it
fetches anything; the release says so to whoever makes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from slotcast_schemas import limits
from slotcast_schemas.messages.release import PROBE2, Tensor
from slotcast_schemas.value_types import NUMPY_TYPES, Rows

_FIRST_TENSORS_MAX: Final = 128
_FIRST_NAME_MAX_CHARS: Final = 128
_FIRST_SEEDED_MAX_BYTES: Final = 16 * limits.MIB
_FIRST_SEEDED_RUNS: Final = 4
"""The bounds of the first devices; inputs they make of so many bytes, each element counted as 8,
for so many runs."""


def features_needed(
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    samples: Mapping[str, Rows] | None,
    *,
    is_corrected: bool,
) -> tuple[str, ...]:
    """Give what a release's `requires` must name.

    Args:
        inputs: of the model.
        outputs: likewise.
        samples: inputs and outputs of the samples file; None where there is none.
        is_corrected: whether outputs are not as the model's file declares them.
    """
    needs_values = (
        is_corrected
        or max(len(inputs), len(outputs)) > _FIRST_TENSORS_MAX
        or any(len(tensor.name) > _FIRST_NAME_MAX_CHARS for tensor in (*inputs, *outputs))
        or any(not tensor.shape or tensor.dtype not in NUMPY_TYPES for tensor in inputs)
        or any(_is_narrow(tensor.dtype) for tensor in outputs)
        or (samples is None and any(_is_large(tensor) for tensor in inputs))
        or (samples is not None and any(isinstance(rows, list) for rows in samples.values()))
    )
    return (PROBE2,) if needs_values else ()


def in_words(features: Sequence[str]) -> tuple[str, ...]:
    """Say to a person which devices will not take a release."""
    if not features:
        return ()
    said = f"this release requires {', '.join(features)!r}: devices with an older slotcast-device"
    return (f"{said} refuse it (unsupported_feature) until they are updated",)


def _is_narrow(dtype: str) -> bool:
    return dtype.startswith("tensor(") and dtype not in NUMPY_TYPES


def _is_large(tensor: Tensor) -> bool:
    sizes = [size if isinstance(size, int) else 1 for size in tensor.shape]
    return math.prod(sizes) * 8 * _FIRST_SEEDED_RUNS > _FIRST_SEEDED_MAX_BYTES
