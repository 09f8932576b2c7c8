"""Which outputs of a model can be compared at all: those that come out alike a second time.

A golden sample is what the publisher saw. Where the model draws lots (dropout that was exported in
training mode, sampling layers), or where its sums depend on the number of threads, a device sees
something else, and every good copy of the model would be refused. So the samples are run twice in
one session, once more in a session with another number of threads, and some in one that fuses no
operators; what differs is not compared on devices, and the release says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from slotcast_schemas.messages.release import Probe
from slotcast_schemas.probe.compare import golden
from slotcast_schemas.samples import Samples
from slotcast_schemas.value_types import Array, Value, arrays_of

Run = Mapping[str, Value]
"""One run's outputs, by name."""

TOLERANCE_SHARE: Final = 0.25
"""Of the tolerance that devices have, what repeating may use up: two runs show less than the most
that a model can differ by, and the rest is for another processor's rounding."""

ABSOLUTE_MIN: Final = 1e-6
"""The absolute tolerance of an output is the relative one times its root mean square, or this."""

AT_ANOTHER_TIME: Final = "it differs when the same input is run again"
WITH_OTHER_THREADS: Final = "it depends on the number of threads"
WHEN_REARRANGED: Final = "it turns on the last bits of values, which other devices round otherwise"
"""Why an output cannot be compared, in words for the publisher."""


def other_threads() -> int:
    """Give a number of threads that is not the one with which samples are made."""
    return max(2, os.cpu_count() or 1)


def not_repeatable(
    first: Sequence[Run], again: Sequence[Run], threaded: Sequence[Run], *, rtol: float
) -> dict[str, str]:
    """Find the outputs that must not be compared, each with why.

    Args:
        first: what each sample gave.
        again: the same, run again in the same session.
        threaded: the same, run in a session with another number of threads.
        rtol: the relative tolerance that devices will have.
    """
    found = dict.fromkeys(_different(first, threaded, rtol), WITH_OTHER_THREADS)
    return found | dict.fromkeys(_different(first, again, rtol), AT_ANOTHER_TIME)


def tell_nothing(samples: Samples, probe: Probe) -> bool:
    """Say whether devices would take the outputs of any sample for those of the first.

    Such samples do not tell the model from another one: a detector of one word answers them all
    with no. Of a single sample nothing is known.

    Args:
        samples: inputs and outputs.
        probe: the tolerances that go with them.
    """
    if samples.runs < 2 or not samples.outputs:
        return False
    first, *others = (samples.expected(run) for run in range(samples.runs))
    compared = golden(
        others,
        [first] * len(others),
        rtol=probe.rtol,
        atol=probe.atol,
        output_atol=probe.output_atol,
    )
    return compared.worst <= 1


def turning_on_last_bits(apart: Mapping[str, float]) -> dict[str, str]:
    """Find the outputs that depend on how the runtime arranges its sums, each with why.

    Such an output turns on the last bit of a value: an order, a choice, a place. Another processor
    rounds otherwise, so devices would not reproduce it.

    Args:
        apart: by output, how far it is from the same without fused operators (`furthest`).
    """
    return {name: WHEN_REARRANGED for name, times in apart.items() if times > 1}


def incomparable(apart: Mapping[str, float]) -> dict[str, str]:
    """Find the outputs that no tolerance covers, each with why: a choice, or a shape, differs.

    Args:
        apart: by output, how far it is from the same by another kernel (`furthest`).
    """
    return {name: WHEN_REARRANGED for name, times in apart.items() if not np.isfinite(times)}


def furthest(first: Sequence[Run], other: Sequence[Run], *, rtol: float) -> dict[str, float]:
    """Give how far each output is from the others', as a multiple of what devices tolerate.

    Args:
        first: what each sample gave.
        other: what some of them gave otherwise; outputs that it has not are left out.
        rtol: the relative tolerance that devices will have.
    """
    found: dict[str, float] = {}
    for run, others in zip(first, other, strict=False):
        for name in run.keys() & others.keys():
            found[name] = max(found.get(name, 0.0), _furthest(run[name], others[name], rtol))
    return found


def _furthest(one: Value, two: Value, rtol: float) -> float:
    these, those = arrays_of(one), arrays_of(two)
    if len(these) != len(those):
        return np.inf
    return max((_array_furthest(a, b, rtol) for a, b in zip(these, those, strict=True)), default=0)


def _array_furthest(one: Array, two: Array, rtol: float) -> float:
    if one.shape != two.shape:
        return np.inf
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, two) else np.inf
    a, b = one.astype(np.float64), two.astype(np.float64)
    atol = max(ABSOLUTE_MIN, rtol * root_mean_square(a))
    both = np.isfinite(a) & np.isfinite(b)
    ratio = np.abs(a[both] - b[both]) / (atol + rtol * np.abs(a[both]))
    return float(ratio.max(initial=0.0))


def _different(first: Sequence[Run], other: Sequence[Run], rtol: float) -> list[str]:
    names = first[0] if first else {}
    pairs = list(zip(first, other, strict=True))
    return [
        name for name in names if any(not _alike(a.get(name), b.get(name), rtol) for a, b in pairs)
    ]


def _alike(one: Value, two: Value, rtol: float) -> bool:
    """Whether two values differ by less than a device could notice."""
    these, those = arrays_of(one), arrays_of(two)
    return len(these) == len(those) and all(
        _arrays_alike(a, b, rtol) for a, b in zip(these, those, strict=True)
    )


def _arrays_alike(one: Array, two: Array, rtol: float) -> bool:
    """Whether two arrays differ by less than a device could notice."""
    if one.shape != two.shape:
        return False
    if one.dtype.kind != "f":
        return bool(np.array_equal(one, two))
    a, b = one.astype(np.float64), two.astype(np.float64)
    atol = max(ABSOLUTE_MIN, rtol * root_mean_square(a))
    return bool(
        np.allclose(a, b, rtol=TOLERANCE_SHARE * rtol, atol=TOLERANCE_SHARE * atol, equal_nan=True)
    )


def root_mean_square(array: Array) -> float:
    """Give the root mean square of the finite values, of any shape; 0 where there are none."""
    finite: Any = array[np.isfinite(array)].astype(np.float64)
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0
