"""How it is said whether a device signs what it reports, and what was refused in its name. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from slotcast_schemas.reasons import Reason

_BY_RULES: Final = "as true as the broker's access rules"
_SIGNED: Final = {
    "yes": "signed by the key that it is enrolled with",
    "unsigned": f"not signed: {_BY_RULES}",
    "not_enrolled": f"signed by a key that nobody enrolled: {_BY_RULES}",
}
_REFUSED: Final = {
    "unsigned": "not signed, though the device is enrolled",
    Reason.BAD_SIGNATURE.value: "not signed by the key that the device is enrolled with",
    Reason.REPLAYED.value: "signed long ago, and shown again",
    "not_enrolled": "of a device that is not enrolled",
}


def signed_of(row: Mapping[str, Any]) -> str:
    """Give the word for what signed a device's last status: `yes`, `unsigned`, `not_enrolled`."""
    return str(row["signed"]) or "unsigned"


def signed_words(row: Mapping[str, Any]) -> str:
    """Say how far a device's last status can be believed."""
    word = signed_of(row)
    return _SIGNED.get(word, word)


def refused_words(why: str) -> str:
    """Say why a report in a device's name was refused, for its word."""
    return _REFUSED.get(why, why)
