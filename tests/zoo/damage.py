"""Damages a model's weights: what a broken export, a bad disk or a bug in a converter leaves.

The file stays a model that loads; only numbers in it are others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from tests.zoo.weights import Array, weights_of

DAMAGES: Final = ("weights shuffled", "a layer's sign turned")
"""What is done to each model."""

LAYERS_SHUFFLED: Final = 3
"""The number of tensors whose numbers change places: the largest ones."""


def shuffled(data: bytes) -> bytes:
    """Give the model with the weights of its largest layers shuffled, each within itself."""
    rng = np.random.default_rng(1)

    def shuffle(array: Array) -> Array:
        return rng.permutation(array.reshape(-1)).reshape(array.shape)

    return _changed(data, shuffle, range(LAYERS_SHUFFLED))


def sign_turned(data: bytes, layer: int = 0) -> bytes:
    """Give the model with the sign of one layer's weights turned.

    Args:
        data: the model.
        layer: which one, by size: 0 is the largest.
    """
    return _changed(data, _turned, range(layer, layer + 1))


def damaged(data: bytes, layer: int) -> dict[str, bytes]:
    """Give the damaged copies of a model, by what was done to it.

    Args:
        data: the model.
        layer: whose sign is turned, by size: 0 is the largest.

    Raises:
        ValueError: the model has no weights.
    """
    return dict(zip(DAMAGES, (shuffled(data), sign_turned(data, layer)), strict=True))


def _turned(array: Array) -> Array:
    """Turn the sign; that of bytes without one at the middle of their range."""
    if array.dtype == np.uint8:
        return (255 - array).astype(np.uint8)
    if array.dtype == np.int8:
        return (-array.astype(np.int16)).clip(-128, 127).astype(np.int8)
    return np.negative(array)


def _changed(data: bytes, change: Callable[[Array], Array], layers: range) -> bytes:
    """Change some layers' weights, and those that are as large in another branch of the graph.

    Args:
        data: the model.
        change: what is done to the weights.
        layers: which, by size.

    Raises:
        ValueError: the model has no weights.
    """
    weights = weights_of(data)
    arrays = dict(weights.arrays())
    sizes = sorted({array.size for array in arrays.values()}, reverse=True)
    chosen = {sizes[at] for at in layers if at < len(sizes)}
    if not chosen:
        raise ValueError(f"expected a model with a layer {layers.start}, got one of {len(sizes)}")
    return weights.replaced(
        {number: change(array) for number, array in arrays.items() if array.size in chosen}
    )
