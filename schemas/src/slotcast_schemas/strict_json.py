"""JSON as others sign it, read so that no other reader can see something else in it."""

from __future__ import annotations

import json
from typing import Any


def read_json(data: bytes) -> Any:
    """Read JSON.

    Raises:
        ValueError: it is none, has a key twice, or is nested too deeply.
    """
    try:
        return json.loads(data.decode(), object_pairs_hook=_fields_of, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _fields_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")
