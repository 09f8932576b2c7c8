"""What the outputs that somebody gave say of a model: that its NaN, or its sameness, is meant.

A device refuses a model that answers NaN, infinity, or the same whatever goes in. Where the right
outputs were given (`output:NAME` among the samples) and are just so, they are no sign of damage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from slotcast_publisher.release.repeatability import Run
from slotcast_schemas import outputs
from slotcast_schemas.messages.release import Probe
from slotcast_schemas.value_types import Array, Rows, Value, arrays_of


def allow_what_is_meant(probe: Probe, given: Mapping[str, Rows], runs: Sequence[Run]) -> Probe:
    """Give the probe that accepts what the given outputs show to be right.

    Args:
        probe: that is asked of devices.
        given: right outputs by name, with a row for each run or more.
        runs: what the model said.

    Returns:
        The probe, with `allow_nonfinite` where every output that is not finite was given as not
        finite in the same places, and `allow_constant` where what was given is constant too.
    """
    expected = [{name: rows[run] for name, rows in given.items()} for run in range(len(runs))]
    nonfinite = any(outputs.nonfinite(run) for run in runs) and all(
        _are_given_so(said, wanted) for said, wanted in zip(runs, expected, strict=True)
    )
    constant = bool(given and outputs.constant(runs) and outputs.constant(expected))
    return msgspec.structs.replace(
        probe,
        allow_nonfinite=probe.allow_nonfinite or nonfinite,
        allow_constant=probe.allow_constant or constant,
    )


def _are_given_so(said: Run, wanted: Mapping[str, Value]) -> bool:
    """Whether what is not finite in a run is so in what was given, in the same places."""
    for name, value in said.items():
        if outputs.nonfinite({name: value}) and not _is_finite_alike(value, wanted.get(name)):
            return False
    return True


def _is_finite_alike(value: Value, wanted: Value) -> bool:
    these, those = arrays_of(value), arrays_of(wanted)
    return len(these) == len(those) and all(
        np.array_equal(_finite(a), _finite(b)) for a, b in zip(these, those, strict=True)
    )


def _finite(array: Array) -> Array:
    return np.isfinite(array) if array.dtype.kind == "f" else np.ones(array.shape, bool)
