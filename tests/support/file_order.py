"""In which order workers take the files of tests, so that no processor is idle and none is last.

Files with a broker mostly wait, for devices and processes; the others compute. One after the other
they would leave the processors idle first, and have too few of them afterwards, so both are taken
at the same pace. Of each kind those come first that may take long: one that is begun last keeps a
single worker busy when all others have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest


@dataclass(frozen=True, slots=True)
class FileOfTests:
    """A file, and what tells how long it takes.

    Attributes:
        path: of the file, from the root.
        count: of its tests.
        waits: whether it talks to a broker.
        timeout_s: the longest time that one of its tests may take; 0 where it says nothing.
    """

    path: str
    count: int
    waits: bool = False
    timeout_s: float = 0.0

    @property
    def _rank(self) -> tuple[float, bool, int]:
        """Least for what may take longest; unit tests are short, unless there are many of them."""
        return (-self.timeout_s, self.path.startswith("tests/unit/"), -self.count)


def order_files(files: Iterable[FileOfTests]) -> list[str]:
    """Give the paths in the order in which they are to be begun."""
    given = list(files)
    places: list[tuple[float, str]] = []
    for waits in (True, False):
        kind = sorted((file for file in given if file.waits is waits), key=lambda file: file._rank)
        places += [((at + 0.5) / len(kind), file.path) for at, file in enumerate(kind)]
    return [path for _, path in sorted(places, key=lambda place: place[0])]


def order_items(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Give tests with their files in that order; each file's tests stay together, as they are."""
    by_file: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = [
        FileOfTests(
            path,
            len(mine),
            waits=mine[0].get_closest_marker("broker") is not None,
            timeout_s=max(map(_timeout_of, mine)),
        )
        for path, mine in by_file.items()
    ]
    return [item for path in order_files(files) for item in by_file[path]]


def _timeout_of(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return 0.0 if marker is None else float(marker.args[0])
