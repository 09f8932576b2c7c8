"""Counts what a reader of a distribution must choose among: doors, arrows, doubled names.

    python tools/rooms.py device               the tree as it is
    python tools/rooms.py device b00f5db       the same of an older commit

A room is a folder or a file directly below the package; an arrow says that one room imports from
another; an arrow back is one of two that point at each other. A doubled name is a class, or a
file, that the distribution has more than once.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DISTRIBUTIONS: Final = ("schemas", "device", "publisher")


def modules(package: Path) -> dict[str, ast.Module]:
    """Give the parsed modules of a package by their path below it, without the suffix."""
    return {
        str(file.relative_to(package).with_suffix("")): ast.parse(file.read_text())
        for file in sorted(package.rglob("*.py"))
    }


def rooms(package: Path) -> set[str]:
    """Name the folders with code and the files directly below a package."""
    found = {path.name for path in package.iterdir() if any(path.glob("*.py"))}
    files = {path.stem for path in package.glob("*.py")}
    return (found | files) - {"__init__", "__main__"}


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Give the dotted names that a module imports from its own package, without its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == package:
                yield from (alias.name for alias in node.names)
            elif node.module.startswith(f"{package}."):
                yield node.module.removeprefix(f"{package}.")


def arrows(package: Path, parsed: Mapping[str, ast.Module]) -> set[tuple[str, str]]:
    """Give every pair of rooms of which the first imports from the second, by the modules."""
    names = rooms(package)
    found = set()
    for path, tree in parsed.items():
        here = path.split("/")[0]
        there = {name.split(".")[0] for name in imported(tree, package.name)}
        found |= {(here, room) for room in there & names if room != here and here in names}
    return found


def doubled(names: Iterator[str]) -> list[str]:
    """Give the names that stand for two things or more."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def report(package: Path) -> str:
    """Say in lines what a reader of the package meets."""
    parsed = modules(package)
    found = arrows(package, parsed)
    classes = (
        node.name
        for tree in parsed.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    files = (path.rpartition("/")[2] for path in parsed)
    same_files = [name for name in doubled(files) if name not in {"__init__", "__main__"}]
    same_classes = doubled(classes)
    both_ways = sorted(pair for pair in found if pair < pair[::-1] and pair[::-1] in found)
    return "\n".join(
        (
            f"rooms directly below {package.name}: {len(rooms(package))}",
            f"arrows between them: {len(found)}, both ways: {both_ways or 'none'}",
            f"file names used twice or more: {len(same_files)} {' '.join(same_files)}",
            f"public class names used twice or more: {len(same_classes)} {' '.join(same_classes)}",
        )
    )


def main(arguments: list[str]) -> int:
    """Report on a distribution, now or at a commit."""
    if not arguments or arguments[0] not in DISTRIBUTIONS:
        print(f"expected one of {', '.join(DISTRIBUTIONS)}, and perhaps a commit", file=sys.stderr)
        return 64
    source = f"{arguments[0]}/src/slotcast_{arguments[0]}"
    if len(arguments) == 1:
        print(report(ROOT / source))
        return 0
    command = ["git", "-C", str(ROOT), "archive", arguments[1], source]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # not in Python 3.11.2
        archive.extractall(folder)
        print(report(Path(folder) / source))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
