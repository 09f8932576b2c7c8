"""The site is whole: built from the documents as they are, and nothing in it asks another host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools.build_site import fetches_elsewhere, navigation
from tools.check_docs import ROOT, documents

FETCHED = {
    "a script": '<script src="https://cdn.example/x.js"></script>',
    "a script by the page's scheme": '<script src="//cdn.example/x.js"></script>',
    "a sheet": '<link rel="stylesheet" href="https://fonts.example/css">',
    "a host to be looked up": '<link rel="preconnect" href="https://fonts.example">',
    "an image": '<img alt="" src="http://pictures.example/x.png">',
}
NOT_FETCHED = """
<a href="https://example.org/">elsewhere</a><link rel="canonical" href="https://own.example/">
<img alt="" src="x.png"><script src="x.js"></script><link rel="icon" href="../favicon.png">
"""


@pytest.mark.parametrize("html", FETCHED.values(), ids=FETCHED.keys())
def test_what_would_be_fetched_from_another_host_is_found(tmp_path: Path, html: str) -> None:
    (tmp_path / "index.html").write_text(f"<html><body>{NOT_FETCHED}{html}</body></html>")
    assert len(list(fetches_elsewhere(tmp_path))) == 1


def test_links_and_own_files_are_no_fetches(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(NOT_FETCHED)
    (tmp_path / "own.css").write_text("a { background: url(x.png) }")
    assert list(fetches_elsewhere(tmp_path)) == []
    (tmp_path / "own.css").write_text("@import 'https://fonts.example/css';")
    assert len(list(fetches_elsewhere(tmp_path))) == 1


def test_every_document_is_in_the_navigation_once() -> None:
    pages = [document.relative_to(ROOT) for document in documents()]
    named = json.dumps(navigation(pages))
    for page in pages:
        assert named.count(f'"{page}"') == 1, page


@pytest.mark.timeout(300)
def test_the_site_builds_without_a_warning() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.build_site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    hotmodel = (site / "reference" / "hotmodel" / "index.html").read_text(encoding="utf-8")
    assert "HotModel" in hotmodel
    assert "Raises" in hotmodel
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any(entry["location"].startswith("docs/trust/") for entry in index["docs"])
