"""Builds the documents into a site with a search and an API reference: `make site`, in build/site.

The Markdown files are copied to a folder of their own, at the places that they have in the
repository, so that each link between them stays what it is; files that they link or show go with
them. The pages stand in the order of README's table "Read on". What is wrong fails the build: a
link or an anchor that leads nowhere, and a page that would ask another host for anything.
"""

from __future__ import annotations

import functools
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from tools.check_docs import ROOT, documents

SOURCE: Final = ROOT / "build" / "site-source"
SITE: Final = ROOT / "build" / "site"

REFERENCE: Final = {
    "HotModel": ("slotcast_device.HotModel",),
    "Messages": (
        "slotcast_schemas.messages.notice",
        "slotcast_schemas.messages.offer",
        "slotcast_schemas.messages.release",
        "slotcast_schemas.messages.chunkmap",
        "slotcast_schemas.messages.want",
        "slotcast_schemas.messages.status",
        "slotcast_schemas.messages.metrics",
        "slotcast_schemas.messages.presence",
    ),
    "Wire, topics, states": (
        "slotcast_schemas.wire",
        "slotcast_schemas.topics",
        "slotcast_schemas.states",
        "slotcast_schemas.verify",
        "slotcast_schemas.errors",
    ),
}
"""What applications and other clients import, by page."""

_LINK: Final = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)((?:#[^)]*)?\))")
_ELSEWHERE: Final = re.compile(r"url\(\s*['\"]?(?:https?:)?//|@import\s+['\"](?:https?:)?//")
_FETCHED: Final = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "srcset",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
}
_LINKED_KINDS: Final = {"canonical", "next", "prev", "alternate", "edit"}
"""Kinds of `<link>` that a browser reads and does not fetch."""


def main() -> int:
    """Build it; 1 if anything in it is wrong."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    pages = copy_sources()
    config = load_config(
        str(ROOT / "mkdocs.yml"), docs_dir=str(SOURCE), site_dir=str(SITE), nav=navigation(pages)
    )
    try:
        build(config)
    except Abort as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    wrong = list(fetches_elsewhere(SITE))
    for line in wrong:
        sys.stderr.write(f"{line}\n")
    count = len(list(SITE.rglob("*.html")))
    size_mb = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file()) / 1e6
    sys.stdout.write(
        f"{SITE.relative_to(ROOT)}: {count} pages, {size_mb:.1f} MB; open index.html\n"
    )
    return 1 if wrong else 0


def copy_sources() -> list[Path]:
    """Copy the documents and what they show; gives the pages, as paths from the root."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    pages = [document.relative_to(ROOT) for document in documents()]
    for page in pages:
        text = (ROOT / page).read_text(encoding="utf-8")
        _write(page, _LINK.sub(functools.partial(_followed, page), text))
    _write(Path("docs/adr/README.md"), _list_of_decisions(pages))
    for title, modules in REFERENCE.items():
        _write(_reference_page(title), _reference(title, modules))
    return pages


def _followed(page: Path, found: re.Match[str]) -> str:
    """Copy what a link of a page leads to; a folder is its README."""
    start, target, end = found.groups()
    path = (ROOT / page).parent / target
    if "://" in target or not path.exists():
        return found.group()
    if path.is_dir():
        return f"{start}{target.rstrip('/')}/README.md{end}"
    if path.suffix != ".md":
        copy = SOURCE / path.resolve().relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return found.group()


def _write(page: Path, text: str) -> None:
    copy = SOURCE / page
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text(text, encoding="utf-8")


def _list_of_decisions(pages: list[Path]) -> str:
    lines = [f"- [{_title(page)}]({page.name})" for page in pages if page.parent.name == "adr"]
    return "\n".join(["# Decisions", "", "Why things are as they are.", "", *sorted(lines), ""])


def _reference_page(title: str) -> Path:
    return Path("reference") / f"{re.sub(r'[^a-z]+', '-', title.lower())}.md"


def _reference(title: str, modules: tuple[str, ...]) -> str:
    return "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)]) + "\n"


def navigation(pages: list[Path]) -> list[Any]:
    """Give mkdocs' nav: the pages in the order of README's table, then all others."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    linked = [Path(link) for _, link, _ in _LINK.findall(readme.split("## Read on")[-1])]
    decisions = [page for page in pages if page.parent.name == "adr"]
    elsewhere = {Path("README.md"), Path("CHANGELOG.md"), *decisions}
    first = [page for page in dict.fromkeys(linked) if page in pages and page not in elsewhere]
    rest = [page for page in pages if page not in {*first, *elsewhere}]
    return [
        {"Slotcast": "README.md"},
        {"Documents": [{_title(page): str(page)} for page in [*first, *rest]]},
        {"Reference": [{title: str(_reference_page(title))} for title in REFERENCE]},
        {"Decisions": ["docs/adr/README.md", *sorted(str(page) for page in decisions)]},
        {"Changes": "CHANGELOG.md"},
    ]


def _title(page: Path) -> str:
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line.removeprefix("# ").replace("`", "")
    return page.stem


class _Fetches(HTMLParser):
    """Notes what a browser would fetch of a page from another host."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        address = values.get(_FETCHED.get(tag, ""), "")
        if tag == "link" and not _LINKED_KINDS & set(values.get("rel", "").split()):
            address = values.get("href", "")
        if re.match(r"(?:https?:)?//", address):
            self.found.append(f"<{tag}> {address}")


def fetches_elsewhere(site: Path) -> Iterator[str]:
    """Give a line for each thing that the site would fetch from another host."""
    for page in sorted(site.rglob("*.html")):
        parser = _Fetches()
        parser.feed(page.read_text(encoding="utf-8"))
        for found in parser.found:
            yield f"{page.relative_to(site)} would fetch {found}"
    for sheet in sorted([*site.rglob("*.css"), *site.rglob("*.svg")]):
        if elsewhere := _ELSEWHERE.search(sheet.read_text(encoding="utf-8")):
            yield f"{sheet.relative_to(site)} would fetch {elsewhere.group()}"


if __name__ == "__main__":
    sys.exit(main())
