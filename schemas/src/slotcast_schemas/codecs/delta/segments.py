"""What a section of a delta consists of: segments, predictors and streams, and their bounds.

How they are written and read is `description_format`'s; docs/delta-format.md, sections 3, 4, 9, 10.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_schemas.codecs.delta.elements import ElementKind
from slotcast_schemas.codecs.delta.gather import Gather

SEGMENTS_MAX: Final = 65_536
"""The most segments of one section."""

RANK_MAX: Final = 32
"""The highest rank of a low-rank move."""

ROW_MAX: Final = 1 << 18
"""The most elements in a row of a matrix that is transposed or factored."""

SYMBOL_COUNT: Final = 128
"""The number of symbols that there may be; the format numbers them."""

CONTEXT_COUNT: Final = 80
"""The number of contexts that there may be; the format numbers them."""

OTHER_MAX: Final = 8 * 1024 * 1024
"""The most bytes of a section that are no tensor's elements."""

MODE_PLAIN: Final = 0
MODE_PATCH: Final = 1
MODE_DICTIONARY: Final = 2
MODE_SPARSE_PATCH: Final = 3
"""The ways to store other bytes; the numbers stand in the format (docs/delta-format.md)."""
STREAMS_OF_MODE: Final = {MODE_PLAIN: 1, MODE_PATCH: 5, MODE_DICTIONARY: 1, MODE_SPARSE_PATCH: 6}
"""The number of packed streams that each way to store other bytes has."""

PACKER_MAX: Final = 4
"""The highest number of a packer."""


@dataclass(slots=True)
class Other:
    """Bytes that the section's other stream gives."""

    size_bytes: int


@dataclass(slots=True)
class Copy:
    """Bytes that lie in the base as they are."""

    size_bytes: int
    base_offset: int


@dataclass(frozen=True, slots=True)
class Transposition:
    """The base matrix, whose transpose's rows from `first_row` on are meant."""

    base_rows: int
    base_columns: int
    first_row: int


@dataclass(slots=True)
class DecayMap:
    """Expected steps by the highest mantissa bits, for the blocks that are flagged."""

    table_bits: int
    steps: NDArray[np.int32]
    is_mapped: NDArray[np.bool_]


@dataclass(slots=True)
class LowRank:
    """Factors whose product is added to the old rows: left (rows, rank), right (rank, columns)."""

    left: NDArray[np.float32]
    right: NDArray[np.float32]


@dataclass(slots=True)
class Rebase:
    """new = old + difference * step, rounded once after each operation."""

    step: np.float32


Predictor = DecayMap | LowRank | Rebase | None
"""How a tensor's elements are predicted from the base's; None predicts that they are the same."""


@dataclass(slots=True)
class TensorSegment:
    """Elements of one kind, made from as many elements of the base.

    `is_exact` says that they equal the prediction, and that nothing is coded. `scales` has one
    entry for each `block` elements, empty where exact. At most one of `transposed` and `gather`
    says that old elements lie in another order.
    """

    size_bytes: int
    base_offset: int
    kind: ElementKind
    block: int = 1
    transposed: Transposition | None = None
    predictor: Predictor = None
    is_exact: bool = False
    scales: NDArray[np.int16] = field(default_factory=lambda: np.zeros(0, dtype=np.int16))
    gather: Gather | None = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return self.kind.count(self.size_bytes)

    @property
    def block_count(self) -> int:
        """Number of blocks, the last perhaps not full."""
        return -(-self.count // self.block)

    @property
    def row_length(self) -> int:
        """Elements that must be predicted together; 1 where each stands alone."""
        if self.transposed is not None:
            return self.transposed.base_rows
        if self.gather is not None:
            return self.gather.row_length
        if isinstance(self.predictor, LowRank):
            return int(self.predictor.right.shape[1])
        return 1


def other_bytes_of(segment: Other | Copy | TensorSegment) -> int:
    """Give how many bytes of a segment are other bytes: all of them, or those at holes."""
    if isinstance(segment, Other):
        return segment.size_bytes
    if isinstance(segment, Copy) or segment.gather is None:
        return 0
    return segment.kind.size_bytes(segment.gather.hole_count)


Segment = Other | Copy | TensorSegment
"""One run of a section's part of the image."""


@dataclass(slots=True)
class OtherStreams:
    """How a section's other bytes are made: `mode`, ranges of the base, and packed streams.

    `streams` has for each stream the packer's code, its packed size and its own size in bytes.
    """

    mode: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    streams: list[tuple[int, int, int]] = field(default_factory=list)


@dataclass(slots=True)
class Description:
    """What a section consists of."""

    segments: list[Segment]
    other: OtherStreams
    used_contexts: NDArray[np.bool_]
    used_symbols: NDArray[np.bool_]
