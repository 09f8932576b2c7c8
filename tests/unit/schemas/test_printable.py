"""Text of others, as it may be shown: nothing in it moves what stands around it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slotcast_schemas.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("too_slow: p95 0.04 s", "too_slow: p95 0.04 s"),
        ("Kühlhaus 3, 冷蔵庫", "Kühlhaus 3, 冷蔵庫"),
        ("one\ntwo\r\nthree", "one\\x0atwo\\x0d\\x0athree"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),  # CSI in one character
        ("is \u202eneddih\u202c", "is \\u202eneddih\\u202c"),
        ("a\u2066b\u2069\u200f\u061c", "a\\u2066b\\u2069\\u200f\\u061c"),
        ("zero\u200bwidth\ufeff\u00ad", "zero\\u200bwidth\\ufeff\\xad"),
        ("line\u2028paragraph\u2029next\x85", "line\\u2028paragraph\\u2029next\\x85"),
        ("half \ud83d", "half \\ud83d"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("\x00\x7f\t", "\\x00\\x7f\\x09"),
        ("e\u0301te\u0301", "e\u0301te\u0301"),
        ("z" + "\u0300" * 4, "z\u0300\u0300\\u0300\\u0300"),
    ],
)
def test_what_cannot_be_seen_or_moves_what_is_seen_is_shown_as_an_escape(
    text: str, shown: str
) -> None:
    assert printable(text) == shown


def test_a_long_text_says_how_much_of_it_is_not_shown() -> None:
    assert printable("a" * 12, 10) == "a" * 10 + "… (2 more characters)"
    assert printable("\n" * 3, 2) == "\\x0a\\x0a… (1 more characters)"
    assert printable("abc", 3) == "abc"


@given(st.text(st.characters(), max_size=60))
def test_whatever_comes_is_one_printable_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert shown.splitlines() in ([], [shown])
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert printable(shown) == shown
