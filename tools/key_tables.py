"""Writes tables of keys, and drawings of states, in the documents from the code they are of.

`python tools/key_tables.py` rewrites what stands between the markers; a test
(tests/unit/workspace/test_key_tables.py) says whether all is in step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from slotcast_publisher.cli.limit_options import option_of
from slotcast_publisher.fleet.rollout.plan import Plan
from slotcast_publisher.fleet.rollout.state_table import GROUP, ROLLOUT, diagram
from slotcast_publisher.fleet.simulate.script import Script
from slotcast_publisher.release.chosen_limits import default_in_words, limit_keys
from slotcast_publisher.settings import Settings
from slotcast_schemas.describe import Key, keys_of
from slotcast_schemas.reasons import Actor, Reason

DOCS: Final = Path(__file__).parents[1] / "docs"
BEGIN: Final = "<!-- {}: written by tools/key_tables.py -->"
END: Final = "<!-- end of {} -->"


def limits() -> str:
    """Give the table of limits, with the option of each."""
    rows = [
        f"| `{key.name}` | `{option_of(key.name)}` | {_values(key)} | {default_in_words(key)} |"
        f" {_cell(key.meaning)} |"
        for key in limit_keys()
    ]
    return "\n".join(
        ["| key | option | values | default | meaning |", "|---|---|---|---|---|", *rows]
    )


def settings() -> str:
    """Give the table of what `slotcast.toml` has."""
    rows = [
        f"| `{key.name}` | {_values(key)} | {_setting_default(key)} | {_cell(key.meaning)} |"
        for key in keys_of(Settings)
    ]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows])


def plan() -> str:
    """Give the table of what the plan of a rollout has."""
    return _file_keys(Plan)


def script() -> str:
    """Give the table of what the script of a simulation has."""
    return _file_keys(Script)


def _file_keys(kind: type) -> str:
    """Give the table of what a file of this kind has."""
    rows = [
        f"| `{key.name}` | {_values(key)} | {_plan_default(key)} | {_cell(key.meaning)} |"
        for key in keys_of(kind)
    ]
    return "\n".join(["| key | values | default | meaning |", "|---|---|---|---|", *rows])


def rollout() -> str:
    """Draw the states of a rollout."""
    return f"```mermaid\n{diagram(ROLLOUT)}```"


def group() -> str:
    """Draw the states of a rollout's group."""
    return f"```mermaid\n{diagram(GROUP)}```"


def reasons() -> str:
    """Give the table of reasons, by who must act."""
    rows = [
        f"| {actor} | `{reason}` | {_cell(reason.meaning)} |"
        for actor in Actor
        for reason in Reason
        if reason.actor is actor
    ]
    return "\n".join(["| who must act | reason | meaning |", "|---|---|---|", *rows])


def _setting_default(key: Key) -> str:
    if key.required:
        return ""
    return "none" if key.default in (None, ()) else f"`{key.default}`"


def _plan_default(key: Key) -> str:
    """A default as the file would say it; `none` where it has no word for it."""
    match key.default:
        case _ if key.required:
            return ""
        case None | () | {} | "":
            return "none"
        case bool(value):
            return f"`{str(value).lower()}`"
        case tuple(values):
            return f"`{[*values]}`"
        case str(value):
            return f'`"{value}"`'
        case int(value):
            return f"`{value}`"
        case value:
            return f"`{value:g}`"


def _values(key: Key) -> str:
    return _cell(f"{key.unit}: {key.values}" if key.unit else key.values)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


TABLES: Final[dict[str, tuple[str, Callable[[], str]]]] = {
    "limits": ("health-check.md", limits),
    "settings": ("cli.md", settings),
    "plan": ("fleet.md", plan),
    "script": ("simulate.md", script),
    "rollout": ("fleet.md", rollout),
    "group": ("fleet.md", group),
    "reasons": ("device.md", reasons),
}


def page_with(name: str, page: str) -> str:
    """Give a page with the table of this name written anew."""
    begin, end = BEGIN.format(name), END.format(name)
    before, rest = page.split(begin)
    return f"{before}{begin}\n\n{TABLES[name][1]()}\n\n{end}{rest.split(end)[1]}"


def main() -> int:
    """Write all of them."""
    for name, (file, _) in TABLES.items():
        page = DOCS / file
        page.write_text(page_with(name, page.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
