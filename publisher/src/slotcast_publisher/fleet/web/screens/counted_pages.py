"""Pages of a list by how many rows are left out before them: `?from=50`."""

from __future__ import annotations

from typing import Final

PAGE: Final = 50
"""The number of rows on a page."""


def read_start(text: str) -> int:
    """Read how many are left out; anything else than a number is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0


def start_query(start: int) -> str:
    """Give the query of a page, with its question mark; empty for the first."""
    return f"?from={start}" if start else ""


def page_before(here: str, start: int) -> str:
    """Give the link to the page before this one, or an empty text where this is the first."""
    return f"{here}{start_query(max(0, start - PAGE))}" if start else ""


def page_after(here: str, start: int, total: int) -> str:
    """Give the link to the page after this one, or an empty text where this is the last.

    Args:
        here: the list's address.
        start: how many rows are left out before this page.
        total: how many there are.
    """
    return f"{here}{start_query(start + PAGE)}" if start + PAGE < total else ""
