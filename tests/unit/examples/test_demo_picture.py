"""The demo's picture shows what was printed in the chosen acts, and asks no other host."""

from __future__ import annotations

import io
import re
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.console import Console

from examples.demo.picture import Picture
from examples.demo.show import Show

ROOT = Path(__file__).resolve().parents[3]


def drawn(svg: str) -> str:
    """The texts of a picture, with plain spaces."""
    return " ".join("".join(ET.fromstring(svg).itertext()).replace("\xa0", " ").split())


def test_chosen_acts_and_the_end_are_drawn_and_nothing_else(tmp_path: Path) -> None:
    picture = Picture([2])
    printed = io.StringIO()
    show = Show(Console(file=printed, width=40), picture)
    show.act(1, "First")
    show.check(True, "an early thing was seen")
    show.act(2, "Second")
    show.check(True, "a <b>late</b> thing was seen")
    show.say_progress("push: 1 kB of 2 kB")
    show.act(3, "Third")
    show.say("more")
    show.ending()
    picture.write(tmp_path / "images" / "demo.svg", "make demo")

    svg = (tmp_path / "images" / "demo.svg").read_text(encoding="utf-8")
    words = drawn(svg)
    assert "2. Second" in words
    assert "a <b>late</b> thing was seen" in words
    assert "2 observations" in words
    assert not re.search("First|early|Third|more|push", words)
    assert all(each in printed.getvalue() for each in ("First", "early", "Third", "push"))


def test_a_line_that_is_too_long_ends_with_an_ellipsis(tmp_path: Path) -> None:
    picture = Picture([1])
    show = Show(Console(file=io.StringIO()), picture)
    show.act(1, "Long")
    show.say("word " * 100)
    picture.write(tmp_path / "demo.svg", "make demo")
    words = drawn((tmp_path / "demo.svg").read_text(encoding="utf-8"))
    assert words.count("word") < 30
    assert "…" in words


def test_pictures_that_the_documents_show_fetch_nothing() -> None:
    pictures = sorted((ROOT / "docs" / "images").glob("*.svg"))
    assert len(pictures) >= 3
    for picture in pictures:
        svg = picture.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?https?:|@import|href=['\"]https?:|<script", svg), picture
