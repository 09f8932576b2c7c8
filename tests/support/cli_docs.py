"""The JSON keys that docs/cli.md promises."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from slotcast_publisher.cli import app
from tests.support.cli_runner import CliRunner

_DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


def documented(command: str) -> set[str]:
    """Give the keys that a command's section promises."""
    sections = rf"^## `slotcast {command}`.*?(?=^## |\Z)"
    section = re.search(sections, _DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert section, command
    return set(re.findall(r"^\| `(\w+)` \|", section[0], re.MULTILINE))


def run_documented(command: str, *arguments: object) -> dict[str, Any]:
    """Run a command of the publisher with `--json`; give what it says, in the keys promised."""
    words = [*command.split(), *map(str, arguments), "--json"]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    fields: dict[str, Any] = json.loads(result.stdout)
    assert set(fields) == documented(command)
    return fields
