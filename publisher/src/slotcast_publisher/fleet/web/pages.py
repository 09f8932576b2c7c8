"""The few pages that need nobody to be signed in: sign-in, one-time links, errors."""

from __future__ import annotations

from typing import Any

from slotcast_publisher.fleet.web.templating import environment


def plain_page(template: str, **context: Any) -> str:
    """Give a page as HTML.

    Args:
        template: its file.
        context: what the template shows; escaped.
    """
    return environment().get_template(template).render(**context)
