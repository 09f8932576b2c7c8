"""The templates, and what they may call: everything is escaped, and a missing name is an error."""

from __future__ import annotations

import functools

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from slotcast_publisher.fleet.web import words
from slotcast_publisher.fleet.web.shapes import shape_of
from slotcast_publisher.fleet.web.static_files import static_address
from slotcast_publisher.fleet.web.text import said, shown
from slotcast_schemas.plural import several


@functools.cache
def environment() -> Environment:
    """Give the environment of all templates."""
    made = Environment(
        loader=PackageLoader("slotcast_publisher.fleet.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "shown": shown,
        "said": said,
        "count": words.count_words,
        "size": words.size_words,
        "share": words.share_words,
        "seconds": words.seconds_words,
        "span": words.span_words,
        "state": state,
        "coded": coded,
        "several": several,
    }
    made.globals["static"] = static_address
    return made


def coded(text: str) -> Markup:
    """Give a sentence of ours, with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    marks = (f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(parts))
    return Markup("".join(marks))  # noqa: S704 - escaped


def state(word: str, text: str | None = None) -> Markup:
    """Give a state: its shape, and its word.

    Args:
        word: that the shape is of.
        text: what stands beside it, where it is not the word.
    """
    shape, label = shape_of(word), escape(shown(text or word))
    return Markup(f'<span class="s {shape}">{label}</span>')  # noqa: S704 - escaped
