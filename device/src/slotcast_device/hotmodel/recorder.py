"""Counts and latencies of one release in one process: fixed memory, well under 5 us a request.

Latency goes into the buckets of `histogram`. The caller holds a lock around `record`; nothing is
allocated there. Outputs are looked at for NaN, infinity, mean and deviation on the first requests,
then on every sixteenth.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from slotcast_device.application.histogram import BUCKETS, bucket_of

LOOK_FIRST: Final = 512
"""The number of requests to a new release of which every output is looked at: as many as most
trials see. With the first 64 and a sixteenth of the rest, a fault could not be told from chance."""
LOOK_EVERY: Final = 16
"""After those, one output of so many is looked at."""
_LOOK_ELEMENTS_MAX: Final = 4096
"""The most elements of one output that are looked at: a large output is not read whole for this."""


class Recorder:
    """Figures of one release, since it was loaded in this process. Not thread-safe by itself.

    Attributes:
        is_pinned: whether calls were made that are not counted.
    """

    __slots__ = (
        "checked",
        "counts",
        "errors",
        "invalid",
        "is_pinned",
        "max_ns",
        "nonfinite",
        "requests",
        "sum_ns",
        "values",
        "values_sum",
        "values_sum2",
    )

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.requests = 0
        self.errors = 0
        self.invalid = 0
        self.is_pinned = False
        self.sum_ns = 0
        self.max_ns = 0
        self.checked = 0
        self.nonfinite = 0
        self.values = 0
        self.values_sum = 0.0
        self.values_sum2 = 0.0

    def record(self, latency_ns: int) -> None:
        """Count one answered request."""
        self.requests += 1
        self.sum_ns += latency_ns
        if latency_ns > self.max_ns:
            self.max_ns = latency_ns
        self.counts[bucket_of(latency_ns)] += 1

    def record_error(self) -> None:
        """Count one request that raised, though it is one that this model takes."""
        self.requests += 1
        self.errors += 1

    def record_invalid(self) -> None:
        """Count one request that raised because it is none that this model takes."""
        self.invalid += 1

    def wants_look(self) -> bool:
        """Whether the outputs of the request that was just counted should be looked at."""
        return self.requests <= LOOK_FIRST or self.requests % LOOK_EVERY == 0

    def record_look(self, look: OutputSample) -> None:
        """Count what a look at one request's outputs found."""
        self.checked += 1
        self.nonfinite += look.is_nonfinite
        self.values += look.values
        self.values_sum += look.sum
        self.values_sum2 += look.sum2

    def output_mean_std(self) -> tuple[float, float] | None:
        """Mean and deviation of the finite values that were looked at; None if there are none."""
        if not self.values:
            return None
        mean = self.values_sum / self.values
        return mean, math.sqrt(max(0.0, self.values_sum2 / self.values - mean * mean))


class OutputSample:
    """What one request's outputs look like. Made outside any lock."""

    __slots__ = ("is_nonfinite", "sum", "sum2", "values")

    def __init__(self, outputs: list[Any]) -> None:
        self.is_nonfinite = False
        self.values = 0
        self.sum = 0.0
        self.sum2 = 0.0
        for array in outputs:
            if isinstance(array, np.ndarray) and array.dtype.kind == "f":
                self._look(array.reshape(-1)[:_LOOK_ELEMENTS_MAX])

    def _look(self, flat: Any) -> None:
        if flat.dtype != np.float64:
            flat = flat.astype(np.float64)
        # One pass tells: a sum of squares is finite only if every value is (float64 holds the
        # squares of all float32 values).
        square = float(np.dot(flat, flat))
        if not math.isfinite(square):
            self.is_nonfinite = True
            return
        self.values += flat.size
        self.sum += float(flat.sum())
        self.sum2 += square
