"""Checks that what the documents point to is there: files that are linked, and targets of make.

Decides nothing about what the documents say.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
_MAKE: Final = re.compile(r"(?:`|^\s*)make ([a-z-]+)", re.MULTILINE)
_TARGET: Final = re.compile(r"^([a-z-]+):", re.MULTILINE)


def documents() -> list[Path]:
    """Give the Markdown files that git knows."""
    known = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in known.stdout.split("\0") if name]


def complaints(document: Path, targets: frozenset[str]) -> Iterator[str]:
    """Give a line for each thing in `document` that points to nothing."""
    text = document.read_text(encoding="utf-8")
    for link in _LINK.findall(text):
        if "://" not in link and not (document.parent / link).exists():
            yield f"links to {link}, which is not there"
    for target in _MAKE.findall(text):
        if target not in targets:
            yield f"names `make {target}`, which is no target of the Makefile"


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    targets = frozenset(_TARGET.findall((ROOT / "Makefile").read_text(encoding="utf-8")))
    checked = documents()
    wrong = [
        f"{document.relative_to(ROOT)} {complaint}"
        for document in checked
        for complaint in complaints(document, targets)
    ]
    print("\n".join([*wrong, f"{len(checked)} documents, {len(wrong)} complaints"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
