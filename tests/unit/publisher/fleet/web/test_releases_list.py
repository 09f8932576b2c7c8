"""The list of releases comes page by page, and each table as a file, to those who may see it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pytest

from slotcast_publisher.fleet.web.screens import counted_pages
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import Statement
from slotcast_publisher.repository import Repository
from tests.support import models
from tests.support.page import RunningPage, running_page


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    """A page with two releases of one model, the newer one offered."""
    path = tmp_path_factory.mktemp("releases") / "repo"
    repo = Repository.init(path)
    file = path.parent / "model.onnx"
    file.write_bytes(models.classifier(hidden=8))
    for version, changes in (("1.0", ()), ("1.1", ("mends_fault",))):
        request = ReleaseRequest(
            model="clf",
            version=version,
            files=(file,),
            is_probed=False,
            statement=Statement(changes=changes),
        )
        repo.build_release(request, builders=(FullBuilder(),))
    repo.offer("clf", "1.1")
    with running_page(path) as running:
        yield running


def test_the_newest_is_first_and_says_what_it_changes(page: RunningPage) -> None:
    html = page.browser().open("/releases")
    assert html.index("clf 1.1") < html.index("clf 1.0")
    assert "mends fault" in html
    assert "2 releases of 1 model." in html


def test_a_page_of_one_leads_to_the_next(
    page: RunningPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counted_pages, "PAGE", 1)
    browser = page.browser()
    first = browser.open("/releases/clf")
    assert 'href="/releases/clf?from=1"' in first
    second = browser.open("/releases/clf?from=1")
    assert "clf 1.0" in second
    assert "clf 1.1" not in second
    assert "The list ends before that" in browser.open("/releases/clf?from=99")
    assert "clf 1.1" in browser.open("/releases/clf?from=-1"), "no number is the beginning"


def test_tables_are_files_and_what_is_not_there_is_said(page: RunningPage) -> None:
    browser = page.browser()
    rows = list(csv.DictReader(io.StringIO(browser.get("/releases.csv").text)))
    assert [(row["version"], row["changes"]) for row in rows] == [
        ("1.1", "mends fault"),
        ("1.0", ""),
    ]
    assert browser.get("/releases/clf/1.1/where.csv?by=site").status_code == 200
    for table in ("files", "payloads", "behaviour", "signed"):
        answer = browser.get(f"/releases/clf/1.1/{table}.csv")
        assert answer.status_code == 200
        assert len(answer.text.splitlines()) >= 2
    assert browser.get("/releases/clf/1.1/keys.csv").status_code == 404
    assert browser.get("/releases/nothing").status_code == 404
    assert browser.get("/releases/clf/9.9").status_code == 404
    assert browser.get("/releases/..%2F..%2Fetc/1.0").status_code == 404
    assert page.stranger().get("/releases/clf/1.1").status_code in {303, 401}


def test_a_release_that_is_looked_at_can_be_noted(page: RunningPage) -> None:
    browser = page.browser()
    address = "/releases/clf/1.1"
    assert browser.send_form(f"{address}/notes", {"text": "Slow on rev-b."}).status_code == 303
    assert "Slow on rev-b." in browser.open(address)
    note = browser.open(address).split(f'action="{address}/notes/')[1].split("/")[0]
    assert browser.send_form(f"{address}/notes/{note}/remove").status_code == 303
    assert "Slow on rev-b." not in browser.open(address)
    assert [entry.action for entry in page.audit()[:2]] == ["note.remove", "note.add"]
