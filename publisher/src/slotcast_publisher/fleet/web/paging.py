"""Where a list goes on: an opaque text that names the last row seen, in the API and on screens."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from litestar.params import QueryParameter

from slotcast_publisher.fleet.database.keyset import Value
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.errors import UsageError

LIMIT_MAX: Final = 500
"""The most rows of a page."""
LIMIT: Final = 50
"""The number of rows of a page, unless it is asked for another."""
AFTER_MAX_CHARS: Final = 600
"""The most characters of the place at which a page before ended."""
_INTEGER_MAX: Final = 2**63 - 1
"""The largest number that a column of the database holds."""

Limit = Annotated[
    int, QueryParameter(ge=1, le=LIMIT_MAX, description="The most rows that are given.")
]
After = Annotated[
    str | None,
    QueryParameter(
        max_length=AFTER_MAX_CHARS,
        description="`next` of the page before; the first page without it.",
    ),
]


def write_place(order: str, values: Sequence[Value]) -> str:
    """Give the text that names a place in a list.

    Args:
        order: how the list is sorted, for a place counts only there.
        values: of the row, in the order of the keys it is sorted by.
    """
    data = msgspec.json.encode([order, *values])
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_place(text: str | None, order: str) -> tuple[Value, ...] | None:
    """Give the place that a text names; None for the beginning.

    Args:
        text: as it came.
        order: how the list is sorted.

    Raises:
        UsageError: it is no such text, or of a list that is sorted otherwise.
    """
    if text is None or text == "":
        return None
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found, *values = msgspec.json.decode(data, type=list[str | int | float])
    except UNDECODABLE as exc:
        raise UsageError("after: expected `next` of the page before") from exc
    if found != order:
        raise UsageError("after: this is the place in a list with another order; begin anew")
    if any(isinstance(value, int | float) and abs(value) > _INTEGER_MAX for value in values):
        raise UsageError("after: expected `next` of the page before")
    return tuple(values)
