"""The OpenAPI document: what the API does is in it, and nothing that fits it breaks the page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import large_fleet
from tests.support.api_fuzz import fuzz
from tests.support.page import RunningPage, running_page

RESOURCES = {
    "devices", "models", "rollouts", "figures", "events", "alarms", "audit", "users", "tokens",
    "fleet", "counts", "tags", "plans",
}  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("openapi")) as running:
        large_fleet.fill(running.database, 50)
        yield running


def test_the_document_names_every_resource_with_types_errors_and_who_may(
    page: RunningPage,
) -> None:
    document = page.stranger().get("/api/v1/openapi.json").json()
    paths = document["paths"]
    assert {path.split("/")[3] for path in paths} == RESOURCES
    assert document["security"] == [{"token": []}]
    for path, operations in paths.items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["tags"], where
            if method == "post" and "plans" not in path:
                headers = {p["name"] for p in operation["parameters"] if p["in"] == "header"}
                assert "idempotency-key" in headers, where


def test_nothing_that_fits_the_document_or_nearly_does_breaks_the_page(page: RunningPage) -> None:
    assert fuzz(page, examples=4, number=1) > 150
