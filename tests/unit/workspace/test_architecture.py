"""docs/architecture.md names what there is, and nothing that there is not."""

from __future__ import annotations

import ast
import re
import sys
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


WALKS = DOCUMENT.split("```")[2]


def test_every_place_that_a_walk_names_is_there() -> None:
    missing = [
        place
        for place in re.findall(r"`([a-z_]+(?:/[a-z_]*)+)`", WALKS)
        if not any(
            (sources(name) / f"{place}.py").exists() or (sources(name) / place).is_dir()
            for name in PACKAGES
        )
    ]
    assert missing == []


def test_every_module_that_a_walk_names_without_its_folder_is_there() -> None:
    """`jobs`, or a neighbour of the one before it; `current` alone is a link, not a module."""
    files = [file for name in PACKAGES for file in sources(name).rglob("*.py")]
    known = {file.stem for file in files} | {file.parent.name for file in files}
    named = set(re.findall(r"`([a-z][a-z_]+)`", WALKS))
    assert named - known == {"current"}


CORE_IMPORTS = {
    *("__future__", "collections", "dataclasses", "datetime", "enum", "hashlib", "itertools"),
    *("math", "msgspec", "packaging", "random", "sys", "types", "typing"),
    *("slotcast_device.core", "slotcast_schemas"),
}
"""All that the device's core may import: what holds and computes values, and nothing that asks the
system; `sys` only for who has its table of states printed."""


def imported(tree: ast.Module) -> Iterator[str]:
    """The dotted names that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield f"{'.' * node.level}{node.module or ''}"


def test_the_core_imports_what_is_known_to_do_no_io() -> None:
    """The contract of `pyproject.toml` names what is forbidden; here nothing else is let in."""
    core = sources("device") / "core"
    strange = {
        (file.name, name)
        for file in core.rglob("*.py")
        for name in imported(ast.parse(file.read_text()))
        if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in CORE_IMPORTS)
    }
    assert strange == set()


def docstrings(tree: ast.Module) -> Iterator[str]:
    """All texts that stand by themselves: docstrings, also of constants and fields."""
    for node in ast.walk(tree):
        match node:
            case ast.Expr(ast.Constant(str(text))):
                yield text


PLACED = re.compile(r"`(?:[a-z_]+\.)*([a-z_]+)\.([A-Z][a-z]\w+)`")


def test_every_class_that_a_docstring_places_in_a_module_is_there() -> None:
    """Such as `look_results.AskGate`: the class, or the module, may have got another name since."""
    files = [file for name in PACKAGES for file in sources(name).rglob("*.py")]
    texts = {file: file.read_text() for file in files}
    there = {
        (file.stem, found[1] or found[2])  # a class, or a type under another name
        for file, text in texts.items()
        for found in re.finditer(r"^ *class (\w+)|^(\w+) = ", text, re.MULTILINE)
    }
    wrong = {
        (file.name, found[0])
        for file, text in texts.items()
        if PLACED.search(text)  # to parse every module takes seconds
        for said in docstrings(ast.parse(text))
        for found in PLACED.finditer(said)
        if (found[1], found[2]) not in there and found[1] not in sys.stdlib_module_names
    }
    assert wrong == set()
