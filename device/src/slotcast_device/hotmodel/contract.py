"""What a model takes: tells a caller's mistake from a fault of the model.

Anybody who may call a service can send it a wrong name, type or shape. Such a request fails in the
release on trial and would have failed in the one before: it must not decide what the device runs.
But where the release before took it, it is the new one that broke its callers. So a request that
failed is compared with what both take. Requests that succeed are not compared, and cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from slotcast_schemas.messages.release import Release, Tensor
from slotcast_schemas.probe.tensors import signature
from slotcast_schemas.samples import NUMPY_TYPES


@dataclass(frozen=True, slots=True)
class Contract:
    """Inputs and outputs of a model.

    Attributes:
        optional: inputs that may be left out.
    """

    inputs: Mapping[str, Tensor]
    outputs: Collection[str]
    optional: Mapping[str, Tensor]

    @classmethod
    def of_session(cls, session: Any) -> Self:
        """Read it from a loaded model."""
        outputs = {output.name for output in session.get_outputs()}
        optional = session.get_overridable_initializers()
        return cls(_named(signature(session.get_inputs())), outputs, _named(signature(optional)))

    @classmethod
    def of_release(cls, release: Release) -> Self | None:
        """Read it from what a release declares; None where it declares nothing."""
        if not release.inputs or not release.outputs:
            return None
        return cls(_named(release.inputs), {output.name for output in release.outputs}, {})

    def takes(self, output_names: Iterable[str] | None, feed: object) -> bool:
        """Whether a request fits, by names, types and shapes; its values are not looked at.

        Args:
            output_names: the outputs asked for; None for all.
            feed: what was handed to `run`.
        """
        if not isinstance(feed, Mapping) or not set(output_names or ()) <= set(self.outputs):
            return False
        known = {**self.optional, **self.inputs}
        if not self.inputs.keys() <= feed.keys() <= known.keys():
            return False
        sizes: dict[str, int] = {}
        return all(_fits(value, known[name], sizes) for name, value in feed.items())


def is_finite(feed: Mapping[str, Any]) -> bool:
    """Whether no input holds NaN or infinity."""
    arrays = (v for v in feed.values() if isinstance(v, np.ndarray) and v.dtype.kind == "f")
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _named(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors}


def _fits(value: object, tensor: Tensor, sizes: dict[str, int]) -> bool:
    """Whether a value fits one input; `sizes` holds what free dimensions of a name have been."""
    if not tensor.dtype.startswith("tensor("):
        return True  # sequences and maps: the runtime alone knows
    if isinstance(value, np.ndarray):
        return _is_of_type(value, tensor.dtype) and _is_of_shape(value.shape, tensor.shape, sizes)
    if isinstance(value, list):  # taken by the runtime, and made of the type that it wants
        return _is_of_shape(_shape_of(value), tensor.shape, sizes)
    if type(value).__module__.startswith("onnxruntime") and hasattr(value, "data_type"):
        is_of_type = value.data_type() == tensor.dtype
        shape = tuple(value.shape()) if hasattr(value, "shape") else ()
        return is_of_type and _is_of_shape(shape, tensor.shape, sizes)
    return False


def _is_of_type(array: np.ndarray[Any, Any], dtype: str) -> bool:
    if dtype == "tensor(string)":
        return array.dtype.kind in "OSU"
    name = NUMPY_TYPES.get(dtype)
    return name is None or array.dtype == np.dtype(name)


def _shape_of(value: list[Any]) -> tuple[int, ...] | None:
    try:
        return np.shape(value)
    except ValueError:  # rows of different lengths
        return None


def _is_of_shape(
    got: tuple[int, ...] | None, wanted: tuple[int | str | None, ...], sizes: dict[str, int]
) -> bool:
    if not wanted:  # a scalar, or of any rank: the runtime says the same of both
        return True
    if got is None or len(got) != len(wanted):
        return False
    return all(
        size is None or (sizes.setdefault(size, n) if isinstance(size, str) else size) == n
        for n, size in zip(got, wanted, strict=True)
    )
