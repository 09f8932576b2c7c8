"""Text of any origin in a column of a fixed size."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator

_REPLACEMENT: Final = "\ufffd"


class BoundedText(TypeDecorator[str]):
    """At most so many characters: the rest is cut off, and what no database takes is replaced.

    PostgreSQL refuses a NUL in a text, and one that is too long; SQLite takes both.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Give what is stored."""
        del dialect
        return None if value is None else self.bound(value)

    def bound(self, value: str) -> str:
        """Give what is stored of a text."""
        kind: Any = self.impl_instance
        size: int | None = kind.length
        return value.replace("\0", _REPLACEMENT)[:size]
