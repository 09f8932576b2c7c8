"""File names that are not the same file, or none at all, on another system. Pure.

A release is built on one system, served on another, and copied by people to a third. Names that
differ by case alone are one file on some of them, and some names are devices on Windows; a release
with such names would be whole here and broken there. What a name may consist of is said in
`fields`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul"}
    | {f"{port}{number}" for port in ("com", "lpt") for number in range(10)}
)
"""Names of devices on Windows, in any case and with any ending (Microsoft, "Naming Files, Paths,
and Namespaces")."""


def find_unportable(paths: Iterable[str]) -> str:
    """Say what is wrong with the paths of a release, in a sentence; empty if nothing is.

    A folder counts as a name too: `Data/a` and `data/b` are two folders here and one elsewhere.
    """
    spelt: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for part in parts:
            if part.split(".")[0].lower() in RESERVED or part.endswith("."):
                return f"{path!r}: {part!r} is no name of a file on every system"
        for depth in range(1, len(parts) + 1):
            name = "/".join(parts[:depth])
            before = spelt.setdefault(name.lower(), name)
            if before != name:
                return f"{before!r} and {name!r} differ by case alone"
    return ""
