"""Pages of a list by the last row seen, not by a number of rows to skip.

So a page deep in a list costs what the first one does, and rows that come or go meanwhile neither
double a row nor hide one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, or_

Value = str | int | float
"""What a list can be sorted by."""


@dataclass(frozen=True, slots=True)
class SortKey:
    """A column that a list is sorted by.

    Attributes:
        is_descending: the highest first.
    """

    column: ColumnElement[Any]
    is_descending: bool = False

    @property
    def order(self) -> ColumnElement[Any]:
        """What `order_by` takes."""
        return self.column.desc() if self.is_descending else self.column.asc()

    def beyond(self, value: Value) -> ColumnElement[bool]:
        """Rows that come after those with this value."""
        return self.column < value if self.is_descending else self.column > value

    def not_before(self, value: Value) -> ColumnElement[bool]:
        """Rows that come after those with this value, and those themselves."""
        return self.column <= value if self.is_descending else self.column >= value


def after(keys: Sequence[SortKey], values: Sequence[Value]) -> ColumnElement[bool]:
    """Give the condition of rows that come after one.

    Args:
        keys: that the list is sorted by, together different for each row.
        values: of that row, one for each key.

    Raises:
        ValueError: another number of values than keys.
    """
    steps = []
    for number, (key, value) in enumerate(zip(keys, values, strict=True)):
        same = [k.column == v for k, v in zip(keys[:number], values[:number], strict=True)]
        steps.append(and_(*same, key.beyond(value)))
    # The first key alone is what an index finds; the rest decides among those with its value.
    return and_(keys[0].not_before(values[0]), or_(*steps))
