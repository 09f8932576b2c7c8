"""In which order workers take the files of tests, so that no processor is idle and none is last.

Files with a broker mostly wait, for devices and processes; the others compute. One after the other
they would leave the processors idle first, and have too few of them afterwards, so both are taken
at the same pace, by the time that they take. Of each kind the longest come first: one that is begun
last keeps a single worker busy when all others have ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pytest

from tests.support.file_seconds import read_seconds

_UNKNOWN_WAITING_S: Final = 5.0
"""The seconds of a file with a broker that nobody has measured."""

_UNKNOWN_TEST_S: Final = 0.05
"""The seconds of each test of another file that nobody has measured, or that took next to none."""


@dataclass(frozen=True, slots=True)
class FileOfTests:
    """A file, and how long it takes.

    Attributes:
        path: of the file, from the root.
        seconds: that it takes, or is thought to.
        waits: whether it talks to a broker.
    """

    path: str
    seconds: float
    waits: bool = False


def order_files(files: Iterable[FileOfTests]) -> list[str]:
    """Give the paths in the order in which they are to be begun."""
    given = list(files)
    places: list[tuple[float, str]] = []
    for waits in (True, False):
        kind = sorted(
            (file for file in given if file.waits is waits),
            key=lambda file: (-file.seconds, file.path),
        )
        all_s = sum(file.seconds for file in kind)
        before_s = 0.0
        for file in kind:
            places.append((before_s / all_s, file.path))
            before_s += file.seconds
    return [path for _, path in sorted(places, key=lambda place: place[0])]


def order_items(
    items: Sequence[pytest.Item], measured_s: Mapping[str, float] | None = None
) -> list[pytest.Item]:
    """Give tests with their files in that order; each file's tests stay together, as they are.

    Args:
        items: the tests.
        measured_s: how long files took; what is kept of it in the repository unless given.
    """
    known = read_seconds() if measured_s is None else measured_s
    by_file: dict[str, list[pytest.Item]] = {}
    for item in items:
        by_file.setdefault(item.nodeid.partition("::")[0], []).append(item)
    files = [_measure(path, mine, known) for path, mine in by_file.items()]
    return [item for path in order_files(files) for item in by_file[path]]


def _measure(path: str, items: Sequence[pytest.Item], known: Mapping[str, float]) -> FileOfTests:
    waits = items[0].get_closest_marker("broker") is not None
    unknown_s = _UNKNOWN_WAITING_S if waits else _UNKNOWN_TEST_S * len(items)
    return FileOfTests(path, known.get(path, unknown_s), waits=waits)
