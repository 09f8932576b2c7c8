"""Text of others on a page: shown, never obeyed."""

from __future__ import annotations

import pytest

from slotcast_publisher.fleet.web.templating import environment
from slotcast_publisher.fleet.web.text import TEXT_MAX_CHARS, said, shown

HOSTILE = {
    "markup": '<script>alert(1)</script><img src=x onerror="alert(2)">',
    "attribute": '" onmouseover="alert(1)" \'',
    "control": "a\x00b\x1b[31mc\r\nd\x9b",
    "bidi": "cam-\u202egnp.exe\u2066",
    "marks": "a" + "\u0301" * 500,
    "template": "{{ 7 * 7 }}{% raw %}",
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_plain_characters_of_a_bounded_number(text: str) -> None:
    template = environment().from_string('<p title="{{ t | shown }}">{{ t | said }}</p>')

    html = template.render(t=text)

    assert html.count("<") == html.count(">") == 4, html  # the p and the bdi, and no more
    assert html.count('"') == 2
    assert "49" not in html
    assert all(c.isprintable() for c in html), html
    html.encode()  # halves of surrogate pairs are gone


def test_megabytes_are_cut_and_say_how_much_is_left() -> None:
    words = shown("x" * 5_000_000)

    assert len(words) < TEXT_MAX_CHARS + 40
    assert words.endswith(f"({5_000_000 - TEXT_MAX_CHARS} more characters)")


def test_a_text_of_the_other_direction_ends_with_its_element() -> None:
    assert said("كاميرا") == "<bdi>كاميرا</bdi>"
    assert said("") == ""
    assert said(None) == ""
