"""The JSON keys that docs/cli.md promises."""

from __future__ import annotations

import re
from pathlib import Path

_DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def documented(command: str) -> set[str]:
    """Give the keys that a command's section promises."""
    sections = rf"^## `slotcast {command}`.*?(?=^## |\Z)"
    section = re.search(sections, _DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert section, command
    return set(re.findall(r"^\| `(\w+)` \|", section[0], re.MULTILINE))
