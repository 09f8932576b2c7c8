"""Makes inputs on which a model runs and says something, where nobody gave any.

The shape that a model declares leaves sizes free, and says nothing of values. So sizes are tried
that its graph allows (`input_hints`) and others that are common, with several kinds of numbers,
until a run gives finite numbers that depend on what goes in. What was asked for by name (a shape,
a range) is kept.

Made numbers are drawn on a coarse grid, and large arrays are of blocks: they travel with the
model, and so are told in a few bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import numpy as np

from slotcast_publisher.release.input_hints import Hints
from slotcast_publisher.release.repeatability import Run
from slotcast_schemas import limits, outputs
from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.narrow_types import rounded
from slotcast_schemas.probe.runtime import Feed
from slotcast_schemas.probe.runtime_words import cause_of
from slotcast_schemas.samples import Samples
from slotcast_schemas.seeded_inputs import RUN_MAX_BYTES, SEQUENCE_LENGTH
from slotcast_schemas.value_types import Array, Value, ValueType, rows_of, size_bytes, value_type

_SIZES: Final = (
    *(8, 1, 64, 32, 224, 512, 16, 640, 128, 4, 256, 48, 320, 1024, 2, 3, 4096, 16000),
    *(299, 112, 160, 384, 416, 96, 192, 80),
)
"""Sizes of a free dimension, in the order in which they are tried.

Not 1 first: of an image of one pixel a convolution uses its middle alone, of one word attention
needs no keys, and a recurrent layer after one step no memory; damage to the rest would not show."""

_SIZE_BY_SIZE_MAX: Final = 320
"""At last all free dimensions get every size up to this, together: a graph that flattens an image
for a product takes one of them, by its strides and windows."""

_SECONDS_MAX: Final = 45.0
_TRIES_MAX: Final = 1500
"""After so much processor time, or so many tries, no inputs were found."""

_BETTER_TRIES_MAX: Final = 60
"""After inputs that give finite numbers and say nothing, so many others are tried."""

_TRIED_MAX_BYTES: Final = 16 * limits.MIB
"""The most bytes of the inputs of one run, where their sizes are free."""

_RUNS_MAX_BYTES: Final = 16 * limits.MIB
"""The bytes of the inputs of all runs, where there are more than two."""

_BLOCKS_FROM: Final = 16 * 1024
_BLOCK: Final = 8
"""An array of so many numbers and more is of blocks, so many long in its last two dimensions."""

_GRID: Final = 64
"""Numbers are multiples of 1/64 of their range."""

_ITEM_MAX_BYTES: Final = 8
"""The bytes of the widest number."""

_LOOKED_AT: Final = 3
"""Runs that must be finite and differ."""

Range = tuple[float, float]
Try = Callable[[Feed], Run]


class NoInputs(Exception):
    """No inputs were found on which the model runs; says the last cause, and what to give."""


@dataclass(frozen=True, slots=True)
class NumberKind:
    """A kind of numbers: from where to where, for floats and for integers; and what texts are."""

    name: str
    floats: Range
    integers: Range
    texts: tuple[str, ...] = ("a", "b")


KINDS: Final = (
    NumberKind("as normalised data", (-2.0, 2.0), (0, 1)),
    NumberKind("from 0 to 1", (0.0, 1.0), (1, 1), ("0", "1", "7")),
    NumberKind("numbers of the first of each", (-2.0, 2.0), (0, 0)),
    NumberKind("as pixels", (0.0, 255.0), (0, 9)),
    NumberKind("small", (-0.125, 0.125), (1, 3)),
    NumberKind("large", (-32.0, 32.0), (0, 255)),
    NumberKind("positive", (0.5, 1.5), (2, 2)),
)
"""The kinds of numbers that are tried, in this order."""


@dataclass(frozen=True, slots=True)
class InputsWanted:
    """What somebody asked of made inputs, by the inputs' names."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ranges: Mapping[str, Range] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InputPlan:
    """One way to make inputs: the size of each input, and the kind of its numbers."""

    shapes: Mapping[str, tuple[int, ...]]
    kind: NumberKind


class InputMaker:
    """Makes inputs for one model.

    Args:
        tensors: its inputs.
        hints: what its graph says of them.
        wanted: what somebody asked of them.
        seed: of the numbers.
    """

    def __init__(
        self, tensors: Sequence[Tensor], hints: Hints, wanted: InputsWanted, seed: int
    ) -> None:
        self._tensors = tensors
        self._types = {tensor.name: _type_of(tensor) for tensor in tensors}
        self._hints = hints
        self._wanted = wanted
        self._seed = seed
        self._is_graph = _are_of_a_graph(tensors)
        if strange := {*wanted.shapes, *wanted.ranges} - self._types.keys():
            raise NoInputs(
                f"expected one of the inputs {sorted(self._types)}, got {min(strange)!r}"
            )
        for name, shape in wanted.shapes.items():
            if math.prod(shape) * _ITEM_MAX_BYTES > RUN_MAX_BYTES:
                raise NoInputs(f"input {name!r} of {list(shape)}: more than {RUN_MAX_BYTES} bytes")

    def find(self, attempt: Try, runs: int) -> Samples:
        """Try plans until a run says something; give so many sets of inputs.

        Raises:
            NoInputs: none was found in time.
        """
        until_s = time.process_time() + _SECONDS_MAX
        found: InputPlan | None = None
        cause = "nothing was tried"
        tries = _TRIES_MAX
        plans, count = self._plans(), 0
        while count < tries and time.process_time() < until_s:
            if (plan := next(plans, None)) is None:
                break
            count += 1
            try:
                seen = [attempt(feed) for feed in self._feeds(plan, _LOOKED_AT)]
            except Exception as exc:  # noqa: BLE001 (whatever the runtime says of these inputs)
                cause = cause_of(exc) if found is None else cause
                continue
            is_finite = not any(outputs.nonfinite(run) for run in seen)
            if is_finite and not outputs.constant(seen):
                return self._samples(plan, runs)
            if found is None:
                # Tokens 0 and 1 may mean the same: the first size that runs is tried with every
                # kind of numbers, before others are.
                plans = chain([InputPlan(plan.shapes, kind) for kind in KINDS], plans)
            if found is None or (is_finite and tries == _TRIES_MAX):
                found = plan
            if is_finite:  # NaN is nothing to be content with: for another, all is tried
                tries = min(tries, count + _BETTER_TRIES_MAX)
        if found is None:
            raise NoInputs(f"no made inputs run ({cause:.400}); {self.what_to_give()}")
        return self._samples(found, runs)

    def what_to_give(self) -> str:
        """Say which samples the model takes."""
        named = ", ".join(
            f"{tensor.name!r} ({self._types[tensor.name].element}"
            f" {[size if size is not None else '?' for size in tensor.shape]})"
            for tensor in self._tensors
        )
        return (
            f"give --samples FILE.npz with {named:.300}, or say what they are like by --shape"
            " NAME=1x3x224x224 and --range NAME=LOW:HIGH"
        )

    # --- plans ------------------------------------------------------------------------------------

    def _plans(self) -> Iterator[InputPlan]:
        """Sizes first, each with the first kinds of numbers; the other kinds; size by size."""
        shapes = list(self._all_shapes())
        first = 3 if self._is_graph else 2  # of a graph, numbers 0 are of parts that are there
        for sizes in shapes:
            for kind in KINDS[:first]:
                yield InputPlan(sizes, kind)
        for kind in KINDS[first:]:
            for sizes in shapes:
                yield InputPlan(sizes, kind)
        every = self._groups()[0]
        for size in range(2, _SIZE_BY_SIZE_MAX + 1) if every else ():
            sizes = {t.name: self._shape(t, every, size) for t in self._tensors}
            if self._fits(sizes):
                yield InputPlan(sizes, KINDS[0])

    def _all_shapes(self) -> Iterator[dict[str, tuple[int, ...]]]:
        seen: set[tuple[tuple[int, ...], ...]] = set()
        groups = self._groups()
        for size in (*_SIZES, *self._hints.likely_sizes):
            for chosen in groups:
                shapes = {t.name: self._shape(t, chosen, size) for t in self._tensors}
                key = tuple(shapes.values())
                if key not in seen and self._fits(shapes):
                    seen.add(key)
                    yield shapes

    def _groups(self) -> list[frozenset[str]]:
        """Give sets of free dimensions that get the same size, while the others are 1."""
        free = [frozenset(self._free(tensor)) for tensor in self._tensors]
        every = frozenset().union(*free)
        groups = [every, *free, *(frozenset({name}) for name in sorted(every))]
        if self._is_graph:  # atoms and bonds of one molecule: all but one of the counts
            groups[1:1] = [every - {name} for name in sorted(every) if len(every) > 1]
        return [group for at, group in enumerate(groups) if group not in groups[:at]]

    def _free(self, tensor: Tensor) -> list[str]:
        """Name an input's free dimensions, but for the batch and those that the graph fixes."""
        if tensor.name in self._wanted.shapes:
            return []
        batches = {t.shape[0] for t in self._tensors if self._is_batch(t, 0)} - {None}
        return [
            _dimension(tensor, axis)
            for axis, size in enumerate(tensor.shape)
            if not isinstance(size, int)
            and (tensor.name, axis) not in self._hints.sizes
            and not self._is_batch(tensor, axis)
            and size not in batches
        ]

    def _is_batch(self, tensor: Tensor, axis: int) -> bool:
        """Whether an axis is a batch: the first, unless it counts steps, or parts of a graph."""
        is_first = axis == 0 and len(tensor.shape) > 1
        return is_first and not self._is_graph and (tensor.name, axis) not in self._hints.steps

    def _shape(self, tensor: Tensor, chosen: frozenset[str], size: int) -> tuple[int, ...]:
        if tensor.name in self._wanted.shapes:
            return self._wanted.shapes[tensor.name]
        if not tensor.shape and self._types[tensor.name].form == "sequence":
            items = self._hints.items.get(tensor.name)
            return tuple(one or 1 for one in items) if items else (SEQUENCE_LENGTH,)
        return tuple(
            fixed
            if isinstance(fixed, int)
            else self._hints.sizes.get((tensor.name, axis))
            or (size if _dimension(tensor, axis) in chosen else 1)
            for axis, fixed in enumerate(tensor.shape)
        )

    def _fits(self, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether free sizes make no more of the inputs than may be tried; fixed ones always do."""
        least = sum(math.prod(self._shape(t, frozenset(), 1)) for t in self._tensors)
        whole = sum(math.prod(shape) for shape in shapes.values())
        return whole * 4 <= _TRIED_MAX_BYTES or whole <= least

    # --- numbers ----------------------------------------------------------------------------------

    def _samples(self, plan: InputPlan, runs: int) -> Samples:
        one_bytes = sum(size_bytes(value) for value in self._feeds(plan, 1)[0].values())
        count = max(1, min(runs, _RUNS_MAX_BYTES // max(1, one_bytes)))
        feeds = self._feeds(plan, max(count, min(runs, 2)))
        return Samples({t.name: rows_of([feed[t.name] for feed in feeds]) for t in self._tensors})

    def _feeds(self, plan: InputPlan, runs: int) -> list[Feed]:
        rng = np.random.default_rng(self._seed)
        return [
            {tensor.name: self._value(tensor, plan, rng) for tensor in self._tensors}
            for _ in range(runs)
        ]

    def _value(self, tensor: Tensor, plan: InputPlan, rng: np.random.Generator) -> Value:
        kind, shape = self._types[tensor.name], plan.shapes[tensor.name]
        if kind.form == "map":
            keys: list[int] | list[str] = self._hints.texts or ["a", "b"]
            if kind.key == "int64":
                keys = self._hints.integers.get(tensor.name, [0, 1])
            numbers = self._numbers(tensor, kind, (len(keys),), plan, rng)
            return dict(zip(keys, numbers.tolist(), strict=True))
        if kind.form == "sequence":
            return [self._numbers(tensor, kind, shape, plan, rng) for _ in range(SEQUENCE_LENGTH)]
        return self._numbers(tensor, kind, shape, plan, rng)

    def _numbers(
        self,
        tensor: Tensor,
        kind: ValueType,
        shape: tuple[int, ...],
        plan: InputPlan,
        rng: np.random.Generator,
    ) -> Array:
        if kind.element == "str":
            texts = self._hints.texts if plan.kind is KINDS[0] else ()
            return rng.choice(np.array(texts or plan.kind.texts), shape)
        keys = self._hints.integers.get(tensor.name)
        if keys and tensor.name not in self._wanted.ranges:
            return rng.choice(np.array(keys, dtype=kind.element), shape)
        if kind.element == "bool":
            least, most = (min(int(one), 1) for one in plan.kind.integers)
            return np.asarray(rng.integers(least, most + 1, shape)).astype(bool)
        if (drawn := self._between_thresholds(tensor, kind, shape, rng)) is not None:
            return drawn
        low, high = self._range(tensor, kind, plan)
        coarse = _coarse(shape)
        if kind.element.startswith("float"):
            steps = np.asarray(rng.integers(0, _GRID + 1, coarse))
            drawn = (low + (high - low) / _GRID * steps).astype(kind.element)
        else:
            drawn = np.asarray(rng.integers(int(low), int(high) + 1, coarse)).astype(kind.element)
        values = self._hints.values.get(tensor.name)
        if values and math.prod(shape) == 1 and tensor.name not in self._wanted.ranges:
            drawn = np.full(shape, values[0]).astype(kind.element)
        whole = _spread(drawn, shape)
        return rounded(kind.narrow, whole) if kind.narrow else whole

    def _longest(self, plan: InputPlan) -> int:
        """Give the largest size that a free dimension of an input has; 0 where there is none."""
        return max(
            (
                plan.shapes[tensor.name][axis]
                for tensor in self._tensors
                for axis, size in enumerate(tensor.shape)
                if not isinstance(size, int) and axis > 0
            ),
            default=0,
        )

    def _between_thresholds(
        self, tensor: Tensor, kind: ValueType, shape: tuple[int, ...], rng: np.random.Generator
    ) -> Array | None:
        """Draw columns as decision trees tell them apart; None where there are none that do."""
        columns = self._hints.columns.get(tensor.name)
        if not columns or kind.narrow or tensor.name in self._wanted.ranges:
            return None
        if not shape or shape[-1] < len(columns):
            return None
        free = [(0.0, 1.0)] * (shape[-1] - len(columns))
        low, high = np.array([*columns, *free]).T
        steps = np.asarray(rng.integers(0, _GRID + 1, shape))
        return np.asarray(low + (high - low) / _GRID * steps).astype(kind.element)

    def _range(self, tensor: Tensor, kind: ValueType, plan: InputPlan) -> Range:
        if tensor.name in self._wanted.ranges:
            return self._wanted.ranges[tensor.name]
        if tensor.name in self._hints.image_numbers:
            return 0, 0
        if kind.element.startswith("float"):
            return plan.kind.floats
        if kind.element == "uint8" and not kind.narrow:
            return 0, 255  # an image
        low, high = plan.kind.integers
        most = 127 if kind.element == "int8" else math.inf
        if tensor.name in self._hints.lengths and 0 < (longest := self._longest(plan)) <= most:
            return longest, longest  # all of the other inputs counts
        return min(low, most), min(high, most)


def _type_of(tensor: Tensor) -> ValueType:
    kind = value_type(tensor.dtype)
    if kind is None:
        raise NoInputs(f"input {tensor.name!r}: cannot make values of type {tensor.dtype}")
    return kind


def _dimension(tensor: Tensor, axis: int) -> str:
    """Name a free dimension: what has the same name has the same size."""
    name = tensor.shape[axis]
    return name if isinstance(name, str) and name else f"{tensor.name}[{axis}]"


def _are_of_a_graph(tensors: Sequence[Tensor]) -> bool:
    """Whether inputs are counted by several names, and share some: atoms and bonds, say.

    A batch has one name, or another for each input where exporters made them up.
    """
    firsts = [tensor.shape[0] for tensor in tensors if len(tensor.shape) > 1]
    names = [name for name in firsts if isinstance(name, str)]
    return 1 < len(set(names)) < len(names)


def _coarse(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give how many blocks there are along each dimension."""
    if math.prod(shape) < _BLOCKS_FROM:
        return shape
    last = len(shape) - min(2, len(shape))
    return tuple(size if axis < last else -(-size // _BLOCK) for axis, size in enumerate(shape))


def _spread(drawn: Array, shape: tuple[int, ...]) -> Array:
    """Let each number stand for its block."""
    for axis, size in enumerate(shape):
        if drawn.shape[axis] != size:
            drawn = np.repeat(drawn, _BLOCK, axis).take(range(size), axis)
    return np.ascontiguousarray(drawn).reshape(shape)
