"""Where the page was started last, for commands that print links to it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from slotcast_publisher.fleet.database import tables
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.fleet.database.upsert import upsert

_PAGE_URL: Final = "page_url"
"""The key in `meta` of the address."""


def note_page_url(database: Database, url: str) -> None:
    """Keep where the page is, whichever `--listen` it was started with.

    Args:
        database: of the fleet.
        url: what a browser opens.
    """
    with database.transaction() as connection:
        upsert(connection, tables.meta, [{"key": _PAGE_URL, "value": url}])


def find_page_url(database: Database) -> str | None:
    """Give where the page was started last; None where it never was."""
    meta = tables.meta.c
    with database.reading() as connection:
        found: str | None = connection.execute(
            select(meta.value).where(meta.key == _PAGE_URL)
        ).scalar_one_or_none()
    return found
