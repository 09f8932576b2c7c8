"""docs/security.md names tests that there are, and words that devices and commands say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from slotcast_schemas.reasons import Reason

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "security.md").read_text()
ROW = re.compile(
    r"^\| (.+) \| `([\w/]+\.py)::(\w+)(?:\[(.+)\])?` \| (?:`(\w+)`)? ?\| (.+) \|$", re.MULTILINE
)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[([^\]`]+)\])?`")


def test_each_test_that_the_page_names_is_there() -> None:
    named = NAMED.findall(PAGE)
    missing = []
    for file, test, case in named:
        path = ROOT / "tests" / file
        text = path.read_text() if path.exists() else ""
        if f"def {test}(" not in text or (case and case.strip("'") not in text):
            missing.append(f"{file}::{test}[{case}]")
    assert missing == []


def test_the_page_has_as_many_attacks_as_it_says_each_once() -> None:
    rows = ROW.findall(PAGE)
    said = re.search(r"and (\d+) attacks", PAGE)
    assert said is not None
    assert len(rows) == int(said[1])
    assert len({row[0] for row in rows}) == len(rows)
    assert len({row[1:4] for row in rows}) == len(rows), "one test stands for two attacks"


@pytest.mark.parametrize("word", sorted({row[4] for row in ROW.findall(PAGE)} - {""}))
def test_each_reason_is_a_word_that_is_said(word: str) -> None:
    assert word in set(Reason)
