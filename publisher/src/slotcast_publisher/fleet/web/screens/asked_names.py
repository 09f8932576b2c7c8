"""Names in the address of a list: a filter that is not known is said, for it filters nothing."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request
from litestar.exceptions import ClientException

UNKNOWN: Final = "unknown"
"""The argument of a screen that holds what `unknown_names` gives."""
_NAMES_MAX: Final = 4
_NAME_MAX_CHARS: Final = 40
"""The most names that a screen repeats as unknown, and the most characters of one."""

AnyRequest = Request[Any, Any, Any]


def unknown_names(request: AnyRequest, *names: str) -> str:
    """Give the names of an address that a list does not know, with commas between.

    Args:
        request: of who asks.
        names: that it knows.
    """
    found = dict.fromkeys(name for name in request.query_params if name not in names)
    return ", ".join(name[:_NAME_MAX_CHARS] or "''" for name in list(found)[:_NAMES_MAX])


def check_names(request: AnyRequest, *names: str) -> None:
    """See that an address names only what is known, where the answer has no room for a word.

    Args:
        request: of who asks for a file.
        names: that are known.

    Raises:
        ClientException: one is not.
    """
    found = unknown_names(request, *names)
    if found:
        raise ClientException(f"no filter is named {found}: expected {', '.join(names)}")


def left_out_words(unknown: str) -> list[str]:
    """Say that names of an address filter nothing; nothing to say where all are known.

    Args:
        unknown: as `unknown_names` gives them.
    """
    return [f"No filter is named {unknown}: it filters nothing."] if unknown else []
