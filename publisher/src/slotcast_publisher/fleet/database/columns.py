"""What the fleet's tables have in common: kinds of columns, and the register of all of them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, MetaData, String, text

from slotcast_publisher.fleet.database.bounded_text import BoundedText

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables; constraints have names, so that migrations can speak of them."""

ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only what is called INTEGER; that has 64 bits, too."""
NAME: Final = String(64)
"""The name of a model, or the id of a device."""


def seconds_column(name: str, *, is_known: bool = False) -> Column[int]:
    """Give a column of times; 0 for never, or, with `is_known`, NULL for unknown."""
    if is_known:
        return Column(name, BigInteger)
    return count_column(name)


def count_column(name: str) -> Column[int]:
    """Give a column of whole numbers, 0 unless they are given."""
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def text_column(name: str, size: int, *, is_key: bool = False) -> Column[str]:
    """Give a column of texts of so many characters at most, empty unless they are given.

    Args:
        name: of the column.
        size: the most characters.
        is_key: it is a part of the primary key, and always given.
    """
    if is_key:
        return Column(name, BoundedText(size), primary_key=True)
    return Column(name, BoundedText(size), nullable=False, server_default=text("''"))


def flag_column(name: str) -> Column[bool]:
    """Give a column of yes and no, no unless it is given."""
    return Column(name, Boolean, nullable=False, server_default=text("false"))
