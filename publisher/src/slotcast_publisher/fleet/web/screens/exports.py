"""Any table as a file: CSV as RFC 4180 has it, which no spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from litestar import Response

_BEGINS_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of something to compute; some the wide forms, too."""
_IS_CUT_OFF: Final = ("\t", "\r", "\n")
"""What may end a cell where it stands first."""


def csv_file(name: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> Response[bytes]:
    """Give a table as a file.

    Args:
        name: of the file, without its ending.
        head: the names of the columns.
        rows: of values; a text that a spreadsheet would compute begins with an apostrophe.
    """
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in name)
    return Response(
        "".join(csv_lines(head, rows)).encode(),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": f'attachment; filename="{safe}.csv"'},
    )


def csv_lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """Give a table line by line.

    Args:
        head: the names of the columns.
        rows: of values; a text that a spreadsheet would compute begins with an apostrophe.
    """
    yield _line(head)
    for row in rows:
        yield _line(row)


def _line(row: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow([_cell(value) for value in row])
    return text.getvalue()


def _cell(value: object) -> object:
    """Give a value as it stands in the file; blanks before a formula do not make it a text."""
    if not isinstance(value, str):
        return "" if value is None else value
    is_formula = value.startswith(_IS_CUT_OFF) or value.lstrip().startswith(_BEGINS_FORMULA)
    return f"'{value}" if is_formula else value
