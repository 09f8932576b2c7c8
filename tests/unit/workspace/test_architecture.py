"""docs/architecture.md names what there is, and nothing that there is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = ("schemas", "device", "publisher")


def sources(distribution: str) -> Path:
    return ROOT / distribution / "src" / f"slotcast_{distribution}"


def tree_of(distribution: str) -> str:
    """The part of the drawn tree that is a distribution's."""
    tree = DOCUMENT.split("```")[1]
    start = tree.index(f"{distribution}/src/")
    following = [tree.index(f"{name}/src/") for name in PACKAGES]
    end = min((place for place in following if place > start), default=len(tree))
    return tree[start:end]


def drawn(distribution: str) -> set[str]:
    """The folders and modules that the tree names: the words before the gap in each line."""
    lines = tree_of(distribution).splitlines()[1:]
    columns = (re.split(r" {2,}", line.strip())[0] for line in lines)
    return {word.rstrip("/") for column in columns for word in column.split()}


def rooms(distribution: str) -> set[str]:
    """The folders with code at any depth, and the modules of the root."""
    package = sources(distribution)
    folders = {str(f.parent.relative_to(package)) for f in package.rglob("*.py")} - {"."}
    modules = {file.stem for file in package.glob("*.py")} - {"__init__", "__main__"}
    return folders | modules


@pytest.mark.parametrize("distribution", PACKAGES)
def test_the_tree_is_the_tree(distribution: str) -> None:
    there = rooms(distribution) - {"codecs/delta", "share"}
    assert drawn(distribution) == there


def places() -> Iterator[str]:
    """What the walks and the table point to."""
    text = DOCUMENT.split("```")[2]
    yield from re.findall(r"`([a-z_]+(?:/[a-z_]*)+)`", text)


def test_every_place_that_a_walk_names_is_there() -> None:
    missing = [
        place
        for place in places()
        if not any(
            (sources(name) / f"{place}.py").exists() or (sources(name) / place).is_dir()
            for name in PACKAGES
        )
    ]
    assert missing == []
