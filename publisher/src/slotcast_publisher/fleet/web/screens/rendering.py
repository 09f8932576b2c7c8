"""A screen as HTML: whole for who opens it, and in parts for who watches it.

A template names its parts: `{% call part("groups") %} ... {% endcall %}`. Each becomes an element
with that id and the digest of what is in it, so that whoever watches is sent only what has changed.

One rendering serves everybody who may see and do the same. What differs between them, the name and
the token against forged requests, is put in afterwards, where a mark stands that nobody can guess.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from markupsafe import Markup, escape

from slotcast_publisher.fleet.web.templating import environment
from slotcast_publisher.fleet.web.text import shown

CSRF_FIELD: Final = "csrf"
"""The name of the form field with the token against forged requests."""
CSRF_MARK: Final = f"mark-{secrets.token_hex(16)}"
"""Stands for that token until it is known who asks."""
USER_MARK: Final = f"mark-{secrets.token_hex(16)}"
"""Stands for the name of who asks."""
_DIGEST_CHARS: Final = 12
_AGO: Final = re.compile(r"(<time [^>]*data-at=[^>]*>)[^<]*")
"""How long ago something was: the script counts that itself."""
_AS_OF: Final = re.compile(r'<time [^>]*class="as-of">[^<]*')
"""The moment of what is shown: who watches is told it without the part."""


@dataclass(frozen=True, slots=True)
class PagePart:
    """A part of a page.

    Attributes:
        html: the element, whole.
        digest: changes with what it says.
    """

    html: str
    digest: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page for all who may see and do the same.

    Attributes:
        html: the whole page, with marks for what differs.
        parts: by their ids, likewise.
        title: of the window.
        icon: of the window.
        as_of: the moment of what is shown, in words.
    """

    html: str
    parts: Mapping[str, PagePart]
    title: str
    icon: str
    as_of: str

    def changed(self, have: Mapping[str, str]) -> dict[str, PagePart]:
        """Give the parts that are not those that a watcher has, by their digests."""
        return {name: p for name, p in self.parts.items() if have.get(name) != p.digest}


@dataclass(slots=True)
class _Parts:
    """Takes down the parts while a template is rendered."""

    found: dict[str, PagePart] = field(default_factory=dict)

    def __call__(self, name: str, caller: Callable[[], str]) -> Markup:
        inside = caller()
        digest = digest_of(inside)
        html = f'<div id="{escape(name)}" class="part" data-v="{digest}">{inside}</div>'
        self.found[name] = PagePart(html, digest)
        return Markup(html)  # noqa: S704 - rendered by a template, which escapes


def digest_of(html: str) -> str:
    """Give a digest of what a part says; the passing of time alone changes none."""
    still = _AS_OF.sub("", _AGO.sub(r"\1", html))
    return hashlib.sha256(still.encode()).hexdigest()[:_DIGEST_CHARS]


def render(template: str, title: str, icon: str, as_of: str = "", **context: Any) -> Rendered:
    """Render a page.

    Args:
        template: its file.
        title: of the window.
        icon: of the window.
        as_of: the moment of what is shown, in words.
        context: what the template shows.
    """
    parts = _Parts()
    html = environment().get_template(template).render(part=parts, **context)
    return Rendered(html, parts.found, f"{shown(title)} · Slotcast", icon, as_of)


def csrf_field() -> Markup:
    """Give the form field that holds the token, with a mark in its place."""
    return Markup(f'<input type="hidden" name="{CSRF_FIELD}" value="{CSRF_MARK}">')  # noqa: S704 - ours


def personal(html: str, user: str, csrf: str) -> str:
    """Put in what differs between those who see a page.

    Args:
        html: of a page or a part.
        user: the name of who asks.
        csrf: the token of this person's session.
    """
    return html.replace(CSRF_MARK, str(escape(csrf))).replace(USER_MARK, str(escape(shown(user))))
