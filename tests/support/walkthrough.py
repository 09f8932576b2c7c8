"""The commands of a page of the documents, for a test that walks it."""

from __future__ import annotations

import re
from typing import Final

from tests.support.engine import REPOSITORY

_HEADING: Final = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK: Final = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(page: str, where: str) -> dict[str, str]:
    """Give the page's shell blocks marked with `where` (such as ```sh device), by heading."""
    text = (REPOSITORY / "docs" / page).read_text()
    _, *parts = _HEADING.split(text)
    found: dict[str, str] = {}
    for heading, part in zip(parts[::2], parts[1::2], strict=True):
        blocks = [body for marked, body in _BLOCK.findall(part) if marked == where]
        if blocks:
            found[heading] = "".join(blocks)
    return found
