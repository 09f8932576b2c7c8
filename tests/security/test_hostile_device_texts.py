"""What devices, publishers and persons write is shown on the page as text, and bounded."""

from __future__ import annotations

import csv
import io
import re
import shutil
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
import pytest
from sqlalchemy import text

from slotcast_publisher.fleet.access.audit import Actor, write_entry
from slotcast_publisher.fleet.access.roles import Role
from slotcast_publisher.fleet.web.app import make_app
from slotcast_publisher.fleet.web.screens.exports import csv_lines
from slotcast_publisher.fleet.web.static_files import static_address
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.release.statement import Statement
from slotcast_publisher.repository import Repository
from slotcast_schemas.messages.status import Check, Evidence, LinkStatus
from tests.support import device_story as story
from tests.support import models
from tests.support.page import RunningPage, running_page

MARKUP: Final = "</code><script>alert(1)</script><img src=x onerror=alert(2)>\" onfocus='alert(3)"
CONTROL: Final = "\x1b[2J\x07\x00\r\nbegins a line"
BIDI: Final = "\u202egnp.exe\u2066\u200f\ufeff"
ZALGO: Final = "a" + "\u0301" * 90
TEMPLATE: Final = "{{ 7 * 7 }}{% include '/etc/passwd' %}"
HOSTILE: Final = {
    "markup": MARKUP,
    "control": CONTROL.replace("\0", ""),
    "bidi": BIDI,
    "marks": ZALGO,
    "template": TEMPLATE,
}
PAGE_MAX_BYTES: Final = 400_000
EVERY_MARK: Final = {"script", "link", "img", "iframe", "object", "embed", "base", "style"}


class Seen(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str | None] = []
        self.others: list[str] = []
        self.bad_attributes: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script":
            self.scripts.append(given.get("src"))
        elif tag in EVERY_MARK - {"link"}:
            self.others.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.bad_attributes.append(name)
            if name in {"href", "src", "action"} and (value or "").strip().lower().startswith(
                ("javascript:", "data:", "//")
            ):
                self.bad_attributes.append(f"{name}={value}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def check_harmless(html: str) -> Seen:
    """See that a page has no more in it than we put there, and is of a bounded size."""
    assert len(html.encode()) < PAGE_MAX_BYTES
    seen = Seen(html)
    assert seen.scripts == [static_address("page.js")]
    assert seen.others == []
    assert seen.bad_attributes == []
    hidden = {c for c in html if unicodedata.category(c) in {"Cc", "Cf"} and c != "\n"}
    assert hidden == set(), f"characters that nobody sees: {sorted(map(hex, map(ord, hidden)))}"
    return seen


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose publisher writes what nobody should."""
    path = tmp_path_factory.mktemp("hostile") / "repo"
    repo = Repository.init(path)
    file = path.parent / "detector.onnx"
    file.write_bytes(models.classifier(hidden=8))
    said = Statement(advisory=f"{MARKUP}{BIDI}{CONTROL}"[:2000].replace("\0", ""))
    request = ReleaseRequest(
        model=story.MODEL, version=story.NEW[0], sequence=story.NEW[1], files=(file,),
        is_probed=False, statement=said, notes=MARKUP + BIDI + "n" * 1500,
    )  # fmt: skip
    repo.build_release(request, builders=(FullBuilder(),))
    return path


@pytest.fixture
def page(repository: Path, tmp_path: Path) -> Iterator[RunningPage]:
    shutil.copytree(repository, tmp_path / "repo")
    with running_page(tmp_path / "repo") as running:
        yield running


def hostile_device(page: RunningPage, device: str, word: str) -> None:
    """Write a device down all of whose texts are this one, past what the intake lets through."""
    check = Check(name="golden", passed=False, value=1e308, limit=0.0, detail=(word * 500)[:500])
    link = LinkStatus(broker=word[:128], detail=(word * 500)[:500], limits=(word[:128],) * 16)
    said = msgspec.structs.replace(
        story.rolled_back(),
        detail=(word * 500)[:500],
        evidence=Evidence(sequence=1046, checks=(check,) * 64),
    )
    row: dict[str, object] = dict.fromkeys(("software", "runtime", "machine"), word[:128])
    row |= {"twins_why": word[:256], "twins_seen_s": story.NOW_S, "clock": word[:64]}
    tags = {f"{word[:20]}-{n}": (word * 50)[:128] for n in range(64)}
    story.tell_story(
        page.database, device, tags=tags, status=said,
        row=row | {"link": msgspec.json.encode(link).decode()},
    )  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_device_whose_every_text_is_hostile_is_shown_as_text(
    page: RunningPage, kind: str
) -> None:
    word = HOSTILE[kind]
    hostile_device(page, "cam-1", word)
    seen = check_harmless(page.browser().open("/devices/cam-1"))
    words = "".join(seen.words)
    if kind == "markup":
        assert "<script>alert(1)</script>" in words, "it is shown as what it is"
    if kind == "control":
        assert "\\x1b[2J" in words
    if kind == "template":
        assert "{{ 7 * 7 }}" in words
        assert "root:" not in words


def test_an_id_that_no_intake_lets_through_is_text_and_its_links_lead_back(
    page: RunningPage,
) -> None:
    name = "<script>x</script>/../a?b#c"
    story.tell_story(page.database, name)
    browser = page.browser()
    address = f"/devices/{quote(name, safe='')}"
    response = browser.get(address)
    if response.status_code == 200:  # a server may refuse a coded slash by itself
        check_harmless(response.text)
    assert response.status_code in {200, 400, 404}


def test_a_release_whose_publisher_writes_markup_is_shown_as_text(page: RunningPage) -> None:
    hostile_device(page, "cam-1", MARKUP)
    seen = check_harmless(page.browser().open("/releases/detector/3.3.0"))
    assert "<script>alert(1)</script>" in "".join(seen.words)
    check_harmless(page.browser().open("/releases"))


def test_notes_are_text_bounded_and_only_of_those_who_may(page: RunningPage) -> None:
    story.tell_story(page.database)
    olga, viewer = page.browser(), page.browser("anna", Role.VIEWER)
    address = f"/devices/{story.DEVICE}"
    assert olga.send_form(f"{address}/notes", {"text": MARKUP + BIDI}).status_code == 303
    seen = check_harmless(olga.open(address))
    assert "<script>alert(1)</script>" in "".join(seen.words)
    assert olga.send_form(f"{address}/notes", {"text": "n" * 2001}).status_code == 422
    assert olga.send_form(f"{address}/notes", {"text": "  "}).status_code == 422
    assert viewer.send_form(f"{address}/notes", {"text": "hello"}).status_code == 403
    assert 'action="/devices/cam-0417/notes"' not in viewer.open(address)
    assert page.audit()[0].action == "note.add"
    assert olga.send_form("/devices/nobody/notes", {"text": "hello"}).status_code == 404


def test_a_million_distinct_tags_are_bounded(page: RunningPage) -> None:
    story.tell_story(page.database)
    with page.database.transaction() as connection:
        connection.execute(
            text(
                "insert into device_tags (device, key, value) with recursive n(i) as (select 0"
                " union all select i + 1 from n where i < 999999)"
                " select 'cam-' || (i / 64), 'key-' || i, 'value-' || i from n"
            )
        )
    browser = page.browser()
    for address in ("/releases/detector/3.3.0", f"/devices/{story.DEVICE}"):
        check_harmless(browser.open(address))


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_history_says_is_text_and_so_is_how_a_payload_came(
    page: RunningPage, kind: str
) -> None:
    """States, reasons and versions are patterns to the intake; a page does not rely on that."""
    word = HOSTILE[kind][:64]
    coded = msgspec.structs.replace(story.delta_progress(), codec=word)
    said = msgspec.structs.replace(story.rolled_back(), progress=coded)
    story.tell_story(page.database, status=said)
    with page.database.transaction() as connection:
        for column in ("state", "reason", "version", "target_version", "deployment", "detail"):
            connection.execute(text(f"update history set {column} = :w"), {"w": word})
        progress = msgspec.msgpack.encode(coded)
        connection.execute(text("update history set progress = :p"), {"p": progress})
    seen = check_harmless(page.browser().open(f"/devices/{story.DEVICE}?trail=all"))
    if kind == "markup":
        assert "<script>alert(1)</script>" in "".join(seen.words)


FORMULAS: Final = (
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "\r=1+1", "\n=1+1", "  =1+1", "\u00a0=1+1",
    "\uff1d1+1", "\uff0b1", "\uff20SUM(1)", 'x","=1+1', "x\r\n=1+1",
)  # fmt: skip
COMPUTES: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_of_a_file_begins_what_a_spreadsheet_computes(formula: str) -> None:
    lines = "".join(csv_lines(("a", "b", "c"), [(formula, 7, None), ("plain", -1.5, formula)]))
    rows = list(csv.reader(io.StringIO(lines, newline="")))
    assert [len(row) for row in rows] == [3, 3, 3], "a text stays in its cell"
    for row in rows[1:]:
        for cell in row:
            assert cell == "-1.5" or not cell.strip().startswith(COMPUTES), repr(cell)
    assert formula in rows[1][0]


def test_every_table_of_the_page_is_made_by_what_is_safe(page: RunningPage) -> None:
    """Each file of the page, of a fleet whose texts are formulas, as a spreadsheet reads it."""
    formula = "=1+1"
    said = msgspec.structs.replace(story.rolled_back(), detail=formula)
    row: dict[str, object] = dict.fromkeys(("software", "runtime", "machine"), formula)
    story.tell_story(page.database, formula, tags={"k": formula}, status=said, row=row)
    with page.database.transaction() as connection:
        for column in ("detail", "reason", "version", "target_version", "deployment"):
            connection.execute(text(f"update history set {column} = :f"), {"f": formula})
        write_entry(connection, Actor(formula, "command"), formula, formula, at_s=1)
    browser = page.browser("ada", Role.ADMIN)
    values = {"device": formula, "model": story.MODEL, "version": story.NEW[0]}
    given = 0
    for route in make_app(page.context).routes:
        if not route.path.endswith(".csv"):
            continue
        path = re.sub(r"\{(\w+)(?::\w+)?\}", lambda m: quote(values[m[1]], safe=""), route.path)
        answer = browser.get(path)
        assert answer.status_code == 200, (path, answer.text[:200])
        assert answer.headers["content-type"].startswith("text/csv"), path
        assert answer.headers["content-disposition"].startswith("attachment"), path
        for cells in csv.reader(io.StringIO(answer.text, newline="")):
            assert not [cell for cell in cells if cell.startswith(COMPUTES)], path
        given += 1
    assert given >= 12


def test_a_file_of_a_table_computes_nothing(page: RunningPage) -> None:
    formula = '=HYPERLINK("http://evil.example","x")'
    said = msgspec.structs.replace(story.rolled_back(), detail=formula)
    story.tell_story(page.database, status=said)
    with page.database.transaction() as connection:
        connection.execute(text("update history set detail = :f"), {"f": formula})
    response = page.browser().get(f"/devices/{story.DEVICE}/history.csv")
    assert response.status_code == 200
    assert "'=HYPERLINK" in response.text
    assert "text/csv" in response.headers["content-type"]
    assert "attachment" in response.headers["content-disposition"]
