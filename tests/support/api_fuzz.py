"""Requests drawn from the API's own document, those that fit it and those that nearly do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable

from slotcast_publisher.fleet.access.roles import Permission
from tests.support.page import RunningPage

_ENDLESS: Final = "/api/v1/events/stream"
"""A stream has no end; its parameters are those of /events."""


def fuzz(page: RunningPage, examples: int, number: int) -> int:
    """Send requests to every route, and see that none is answered with a defect.

    Args:
        page: a running page.
        examples: how many requests are drawn for each route, of either kind.
        number: the seed that they are drawn with.

    Returns:
        How many were sent.

    Raises:
        AssertionError: an answer says that there is a defect.
    """
    client = page.program(*Permission)
    schema = schemathesis.openapi.from_dict(client.get("/api/v1/openapi.json").json())
    sender = _Sender(page.url, client.headers["authorization"])
    operations: list[Any] = list(schema.get_all_operations())  # each is a result, or an error
    for operation in (found.ok() for found in operations):
        if operation.path != _ENDLESS:
            for mode in schemathesis.GenerationMode:
                with contextlib.suppress(Unsatisfiable):  # nothing can be wrong without parameters
                    _drawn(operation, mode, examples, number)(sender.send)
    return sender.sent


class _Sender:
    """Sends what was drawn, and looks at the answer."""

    def __init__(self, url: str, authorization: str) -> None:
        self._url = url
        self._headers = {"authorization": authorization}
        self.sent = 0

    def send(self, case: Any) -> None:
        response = case.call(base_url=self._url, headers=self._headers)
        self.sent += 1
        assert response.status_code < 500, (case.as_curl_command(), response.text[:500])


def _drawn(
    operation: Any, mode: schemathesis.GenerationMode, examples: int, of: int
) -> Callable[[Callable[[Any], None]], None]:
    def run(send: Callable[[Any], None]) -> None:
        def sending(case: Any) -> None:
            send(case)

        drawn = given(case=operation.as_strategy(generation_mode=mode))(sending)
        quiet = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(of)(quiet(drawn))()

    return run
