"""Making sections and frames of weights, for the tests of that codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.weights import WeightsPiece, encode_weights
from slotcast_schemas.codecs.delta.elements import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    INT8,
    INT32,
    ElementKind,
)
from slotcast_schemas.codecs.delta.weights import decode_section
from slotcast_schemas.codecs.full_weights import pack_frame_header
from slotcast_schemas.codecs.source import MemorySource

Floats = NDArray[np.float32]


def trained(rows: int, columns: int, seed: int = 1) -> Floats:
    """Numbers as trained weights have them: each row of its own width."""
    rng = np.random.default_rng(seed)
    widths = np.exp2(rng.uniform(-5, -3, (rows, 1)))
    return (rng.standard_normal((rows, columns)) * widths).astype(np.float32)


def as_bfloat16(floats: Floats) -> NDArray[np.uint16]:
    """Round to bfloat16, to nearest even, as every training framework does."""
    bits = floats.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def quantised(floats: Floats, largest: int, group: int) -> Floats:
    """Whole steps of a scale for each group of elements, held as float32."""
    groups = floats.reshape(-1, group)
    scale = (np.abs(groups).max(axis=1, keepdims=True) / np.float32(largest)).astype(np.float32)
    steps = np.rint(groups / scale).astype(np.int8).astype(np.float32)
    held: Floats = (steps * scale).reshape(floats.shape)
    return held


def faked(floats: Floats, largest: int) -> Floats:
    """What training with quantisation in the loop leaves: as above, with zeros of both signs."""
    scale = (np.abs(floats).max(axis=1, keepdims=True) / np.float32(largest)).astype(np.float32)
    held: Floats = (np.rint(floats / scale) * scale).astype(np.float32)
    return held


def _sparse(weights: Floats) -> Floats:
    kept = np.abs(weights) > np.median(np.abs(weights))
    return np.where(kept, weights, np.float32(0)).astype(np.float32)


def _strange(weights: Floats) -> Floats:
    """Infinities, numbers that are none, both zeros and denormals among the rest."""
    odd = weights.ravel().copy()
    patterns = np.array([0x7F800000, 0xFF800001, 0x80000000, 0, 1, 0x807FFFFF], dtype=np.uint32)
    odd[:: len(odd) // 60] = np.resize(patterns, len(odd[:: len(odd) // 60])).view(np.float32)
    return odd


KINDS: dict[str, tuple[ElementKind, Callable[[Floats], NDArray[Any]], float]] = {
    "float32": (FLOAT32, lambda w: w, 0.84),
    "bfloat16": (BFLOAT16, as_bfloat16, 0.685),
    "float16": (FLOAT16, lambda w: w.astype(np.float16), 0.87),
    "bfloat16 in float32": (
        FLOAT32,
        lambda w: as_bfloat16(w).astype(np.uint32) << np.uint32(16),
        0.35,
    ),
    "float16 in float32": (FLOAT32, lambda w: w.astype(np.float16).astype(np.float32), 0.44),
    "int8 in float32, by row": (FLOAT32, lambda w: quantised(w, 127, w.shape[1]), 0.24),
    "int8 in float32, one scale": (FLOAT32, lambda w: quantised(w, 127, w.size), 0.22),
    "int8 in float16, by row": (
        FLOAT16,
        lambda w: quantised(w, 127, w.shape[1]).astype(np.float16),
        0.48,
    ),
    "int4 in float32, by group": (FLOAT32, lambda w: quantised(w, 7, 32), 0.16),
    "int4 in bfloat16, by group": (BFLOAT16, lambda w: as_bfloat16(quantised(w, 7, 32)), 0.33),
    "int8 with zeros of both signs": (FLOAT32, lambda w: faked(w, 127), 0.24),
    "half of them zero": (FLOAT32, _sparse, 0.48),
    "int8": (INT8, lambda w: np.rint(w * 200).astype(np.int8), 0.95),
    "int32": (INT32, lambda w: np.rint(w * 1e6).astype(np.int32), 0.75),
    "strange floats": (FLOAT32, _strange, 0.86),
}
"""By name: the kind of element, how to make elements of trained weights, and the share at most."""


def section_of(data: bytes, *pieces: WeightsPiece) -> bytes:
    """Give a section of these pieces, all of it one tensor of float32 unless they say more."""
    return encode_weights(data, pieces or (WeightsPiece(len(data), FLOAT32),))


def frame_of(data: bytes, *pieces: WeightsPiece) -> bytes:
    """Give a frame of one section."""
    return pack_frame_header(len(data)) + section_of(data, *pieces)


def section_back(section: bytes, size_bytes: int) -> bytes:
    """What the decoder makes of a section."""
    return b"".join(
        decode_section(MemorySource(section), 0, image_left_bytes=size_bytes, end=len(section))
    )
