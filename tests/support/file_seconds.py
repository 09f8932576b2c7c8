"""How long each file of tests takes, measured now and then and kept beside this module.

    make test ARGS=--junitxml=build/tests.xml
    .venv/bin/python -m tests.support.file_seconds build/tests.xml

It only decides which file is begun first (`file_order`), so it may be out of date: what it does not
know is guessed, and what is no more is passed over. A file whose tests are skipped where it is
measured, for want of a container engine above all, keeps the time that it took elsewhere.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

_ROOT: Final = Path(__file__).parents[2]
TABLE: Final = Path(__file__).with_suffix(".json")
"""Where they are kept: seconds by the file's path from the root."""

LEAST_S: Final = 1.0
"""The least seconds of a file that is written down: of the others there are hundreds, and it does
not matter when they run."""


def read_seconds(table: Path = TABLE) -> dict[str, float]:
    """Give the seconds of the files that take long, by path."""
    known: dict[str, float] = json.loads(table.read_text())
    return known


def measure_files(
    report: Path, known_s: Mapping[str, float], root: Path = _ROOT
) -> dict[str, float]:
    """Add up what a JUnit report of pytest says of each file's tests; the longest first.

    Args:
        report: what `--junitxml` wrote.
        known_s: what is kept so far, for files of which no test ran.
        root: the folder that the tests' modules are named from.
    """
    taken_s: dict[str, float] = defaultdict(float)
    for case in ET.parse(report).iter("testcase"):
        path = _file_of(case.get("classname", ""), root)
        if path is not None and case.find("skipped") is None:
            taken_s[path] += float(case.get("time", "0"))
    kept_s = {path: seconds for path, seconds in known_s.items() if (root / path).is_file()}
    files = [(path, round(seconds, 1)) for path, seconds in (kept_s | taken_s).items()]
    files.sort(key=lambda file: (-file[1], file[0]))
    return {path: seconds for path, seconds in files if seconds >= LEAST_S}


def _file_of(classname: str, root: Path) -> str | None:
    """Give the path of a test's module; None where there is none, such as of a doctest."""
    parts = classname.split(".")
    while parts:  # the last may be classes
        path = "/".join(parts) + ".py"
        if (root / path).is_file():
            return path
        parts.pop()
    return None


if __name__ == "__main__":
    measured = measure_files(Path(sys.argv[1]), read_seconds())
    TABLE.write_text(json.dumps(measured, indent=1) + "\n")
