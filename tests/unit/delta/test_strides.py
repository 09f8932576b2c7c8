"""How long rows are, where they begin and how far they reach, by where elements were."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from slotcast_publisher.delta.cell_index import CellIndex, cell_hashes, origins_of_sample
from slotcast_publisher.delta.guessed_turns import find_turned
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.row_reach import Reach, find_reach
from slotcast_publisher.delta.row_starts import find_row_starts
from slotcast_publisher.delta.strides import Stride, breaks_in, find_stride
from slotcast_schemas.codecs.delta.elements import FLOAT32
from slotcast_schemas.codecs.source import MemorySource

WIDTH: Final = 4
HERE: Final = 1000
"""The offset in the base of the first element of the old matrix."""


def origins_of(order: NDArray[Any], rows: NDArray[Any], columns: int) -> NDArray[np.int64]:
    """Where elements were, of rows and columns in these orders; -1 stands for new ones."""
    found = HERE + (rows[:, None] * columns + order) * WIDTH
    return np.where((rows[:, None] < 0) | (order < 0), -1, found).ravel()


def stride_of(origins: NDArray[np.int64]) -> Stride | None:
    return find_stride(origins, breaks_in(origins, WIDTH, with_gaps=False), WIDTH)


RNG = np.random.default_rng(3)
IN_ORDER: Final = np.arange(100)
ORDERS: Final = {
    "shuffled": (RNG.permutation(70), IN_ORDER, 70),
    "swapped": (np.r_[0:20, 50, 21:50, 20, 51:70], IN_ORDER, 70),
    "deleted": (np.delete(np.arange(70), [3, 4, 40]), IN_ORDER, 70),
    "inserted": (np.insert(np.arange(70), [0, 9, 30], -1), IN_ORDER, 70),
    "rows": (np.arange(70), RNG.permutation(100), 70),
    "both": (RNG.permutation(70), RNG.permutation(100), 70),
    "rows inserted": (RNG.permutation(70), np.insert(IN_ORDER, [20, 60], -1), 70),
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_row_is_as_long_as_the_shortest_distance_that_repeats(name: str) -> None:
    order, rows, columns = ORDERS[name]
    assert stride_of(origins_of(order, rows, columns)) == Stride(len(order), columns * WIDTH)


@pytest.mark.parametrize("name", ORDERS)
def test_rows_begin_where_all_of_a_row_was_in_one(name: str) -> None:
    order, rows, columns = ORDERS[name]
    origins = np.concatenate([np.full(33, -1), origins_of(order, rows, columns), np.full(200, -1)])
    stride = Stride(len(order), columns * WIDTH)
    starts = find_row_starts(origins, (50, len(origins) - 300), 0, stride, WIDTH)
    assert starts is not None
    reach = find_reach(origins, starts, (0, len(origins)))
    assert reach is not None
    begins = {33 + int(np.argmax(order >= 0))}
    assert reach.new in begins | {33}
    assert len(rows) - 1 <= reach.rows <= len(rows)
    assert len(IN_ORDER) - 1 <= reach.old_rows <= len(IN_ORDER)


@pytest.mark.parametrize(
    "origins",
    [
        np.full(5000, -1),
        HERE + np.arange(5000) * WIDTH,
        HERE + RNG.permutation(5000) * WIDTH,
        np.concatenate([HERE + np.arange(2500) * WIDTH, 90_000 + np.arange(2500) * WIDTH]),
    ],
    ids=["nothing known", "in order", "no pattern", "one break"],
)
def test_where_nothing_repeats_there_are_no_rows(origins: NDArray[np.int64]) -> None:
    assert stride_of(origins) is None
    assert find_turned(origins, WIDTH) is None


def test_gaps_count_as_breaks_where_elements_are_known_by_their_neighbours() -> None:
    origins = HERE + np.arange(10) * WIDTH
    origins[4] = -1
    assert breaks_in(origins, WIDTH, with_gaps=False).tolist() == []
    assert breaks_in(origins, WIDTH, with_gaps=True).tolist() == [5]


def test_a_turned_matrix_is_as_long_as_the_old_one_is_high() -> None:
    origins = HERE + np.arange(90 * 130).reshape(90, 130).T.ravel() * WIDTH
    found = find_turned(np.concatenate([np.full(11, -1), origins]), WIDTH)
    assert found == (Reach(11, 130, HERE, 90), 90, 130 * WIDTH)


def test_cells_are_found_once_or_not_at_all() -> None:
    elements = np.array([5, 7, 5, 9, 11, 7, 5, 13], dtype="<u4")
    base = MemorySource(bytes(6) + elements.tobytes())
    place = TensorPlace("", FLOAT32, (8,), 6, 32, is_guess=True)
    wanted = np.array([9, 11, 7, 5, 8], dtype="<u4")
    index = CellIndex(base, [place], 1)
    assert index.origins(wanted).tolist() == [6 + 12, 6 + 16, -1, -1, -1]
    pairs = CellIndex(base, [place], 2)
    assert pairs.origins(wanted).tolist() == [6 + 12, 6 + 16, -1, -1, -1]
    sampled = origins_of_sample(base, [place], cell_hashes(wanted, 2), 2)
    assert sampled.tolist() == [6 + 12, 6 + 16, -1, -1]
