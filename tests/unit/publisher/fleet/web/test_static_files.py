"""Style, script and icons: kept for good by their digests, and asked for anew by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from slotcast_publisher.fleet.web import static_files
from slotcast_publisher.fleet.web.static_files import FOLDER, static_address
from tests.support.page import RunningPage, running_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    with running_page(tmp_path_factory.mktemp("page")) as running:
        yield running


def test_every_file_that_a_page_names_is_kept_for_good(page: RunningPage) -> None:
    html = page.stranger().open("/sign-in") + page.browser("olga").open("/")
    named = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', html))

    assert {Path(address).name for address in named} == {"style.css", "page.js", "icon.svg"}
    for address in named:
        answer = page.stranger().get(address)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.content == (FOLDER / Path(address).name).read_bytes()
        assert "set-cookie" not in answer.headers


def test_another_content_has_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = static_address("style.css")
    (tmp_path / "style.css").write_text("body { color: red }")
    monkeypatch.setattr(static_files, "FOLDER", tmp_path)
    static_files.static_files.cache_clear()
    try:
        assert static_address("style.css") != before
    finally:
        monkeypatch.undo()
        static_files.static_files.cache_clear()
    assert static_address("style.css") == before


def test_a_page_of_another_version_gets_our_file_and_does_not_keep_it(page: RunningPage) -> None:
    answer = page.stranger().get("/static/0123456789abcdef/style.css")

    assert answer.content == (FOLDER / "style.css").read_bytes()
    assert answer.headers["cache-control"] == "public, no-cache"


def test_by_its_name_alone_a_file_is_not_sent_twice(page: RunningPage) -> None:
    browser = page.stranger()
    first = browser.get("/static/grafana-dashboard.json")
    assert first.headers["cache-control"] == "public, no-cache"
    assert first.headers["content-type"] == "application/json"

    again = browser.get(
        "/static/grafana-dashboard.json", headers={"if-none-match": first.headers["etag"]}
    )
    assert again.status_code == 304
    assert again.content == b""
    other = browser.get("/static/grafana-dashboard.json", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


def test_everything_else_is_never_kept(page: RunningPage) -> None:
    olga = page.browser("olga")
    for address in ("/", "/devices", "/sign-in", "/no/such/page", "/static/none.css"):
        assert olga.get(address).headers["cache-control"] == "no-store", address
