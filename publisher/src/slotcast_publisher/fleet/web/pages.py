"""The few pages that need nobody to be signed in: sign-in, one-time links, errors."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("slotcast_publisher.fleet.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def plain_page(template: str, **context: Any) -> str:
    """Give a page as HTML.

    Args:
        template: its file.
        context: what the template shows; escaped.
    """
    return _environment().get_template(template).render(**context)
