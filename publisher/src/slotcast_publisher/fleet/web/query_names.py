"""Names in a query: one that a route of the API does not know is refused, not left out.

A filter that is mistyped would otherwise be none, and a program would take every device for those
that it asked for. Which names a route knows is what its signature takes, as in the OpenAPI
document.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from litestar.connection import ASGIConnection
from litestar.exceptions import ClientException
from litestar.handlers.base import BaseRouteHandler

_GIVEN_MAX_CHARS: Final = 64
"""So much of a name that is not known is said again."""

AnyConnection = ASGIConnection[Any, Any, Any, Any]


def check_query(connection: AnyConnection, handler: BaseRouteHandler) -> None:
    """Let through what names only parameters that a route knows, each as often as it may stand.

    Args:
        connection: of who asks.
        handler: of the route.

    Raises:
        ClientException: a name is not known, or stands twice where one value counts.
    """
    if not connection.url.query:
        return
    known = _known(handler, frozenset(connection.path_params))
    given = Counter(name for name, _ in connection.query_params.multi_items())
    problems = list(_problems(given, known))
    if problems:
        raise ClientException("; ".join(problems))


def _problems(given: Mapping[str, int], known: Mapping[str, bool]) -> Iterator[str]:
    """Say what is wrong with the names of a query, a sentence each."""
    for name, count in given.items():
        if name not in known:
            there = f"expected one of {', '.join(known)}" if known else "this takes none"
            yield f"no parameter is named {name[:_GIVEN_MAX_CHARS]!r}: {there}"
        elif count > 1 and not known[name]:
            yield f"{name}: expected once, got {count} of them"


@functools.lru_cache(maxsize=256)
def _known(handler: BaseRouteHandler, in_path: frozenset[str]) -> dict[str, bool]:
    """Give the names that a route knows, and whether each may stand more than once."""
    model = handler.create_kwargs_model(dict.fromkeys(in_path))  # type: ignore[arg-type]
    found = {each.field_alias: each.is_sequence for each in model.expected_query_params}
    return dict(sorted(found.items()))
