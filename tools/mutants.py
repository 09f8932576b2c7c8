"""Changes one thing at a time in what decides and what decodes, and counts what the tests notice.

    make mutants                        both parts, all of it
    make mutants ARGS="core"            the device's core alone
    make mutants ARGS="core plan"       what has `plan` in its name, and how each survivor differs

The tool is mutmut (https://mutmut.readthedocs.io); it wants one folder `src`, so the tree is laid
out anew below build/mutants. What was tried before and has not changed is not tried again. A
mutant counts as found if a unit or a property test fails on it; the score of each file is printed,
and the survivors are listed in build/mutants/PART/survivors.txt.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MUTMUT: Final = Path(sys.executable).with_name("mutmut")
FOUND: Final = frozenset({1, 3, 36, -24, -11, 24, 255})
"""Exit codes of a mutant that a test noticed: by a failure, an error, a time that ran out."""


@dataclass(frozen=True, slots=True)
class Part:
    """What is changed, and which tests are to notice."""

    name: str
    mutate: str
    tests: tuple[str, ...]


PARTS: Final = (
    Part(
        "core",
        "src/slotcast_device/core/*",
        (
            "tests/unit/device/core",
            "tests/property/test_transfer.py",
            "tests/property/test_broker_limits.py",
        ),
    ),
    Part(
        "codecs",
        "src/slotcast_schemas/codecs/*",
        ("tests/unit/codecs", "tests/unit/delta/test_round_trip.py", "tests/property"),
    ),
)
TESTS_READ: Final = ("device", "docs", "examples")
"""What tests look at beside what they import."""
SETTINGS: Final = """
[tool.pytest.ini_options]
pythonpath = ["."]
addopts = ["--import-mode=importlib"]
markers = ["broker: ", "container: ", "soak: "]

[tool.mutmut]
source_paths = ["src"]
also_copy = {copied}
only_mutate = ["{mutate}"]
pytest_add_cli_args = ["-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
"""


def lay_out(part: Part, folder: Path) -> None:
    """Copy sources and tests as mutmut wants them; times are kept, for it goes by them."""
    folder.mkdir(parents=True, exist_ok=True)
    for distribution in ("schemas", "device", "publisher"):
        package = f"slotcast_{distribution}"
        source = ROOT / distribution / "src" / package
        shutil.copytree(source, folder / "src" / package, dirs_exist_ok=True)
    for name in ("tests", *TESTS_READ):
        shutil.copytree(ROOT / name, folder / name, dirs_exist_ok=True)
    tests = json.dumps(list(part.tests))
    (folder / "pyproject.toml").write_text(
        SETTINGS.format(mutate=part.mutate, tests=tests, copied=json.dumps(list(TESTS_READ)))
    )


def results(folder: Path) -> dict[str, dict[str, int | None]]:
    """Give the exit code of each mutant, by file; None where it was not tried."""
    found = {}
    for meta in sorted((folder / "mutants" / "src").rglob("*.meta")):
        codes = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            found[meta.name.removesuffix(".meta")] = codes
    return found


def report(part: Part, folder: Path) -> tuple[int, int]:
    """Print the score of each file, and list the survivors; give (found, all)."""
    found, count, survivors = 0, 0, []
    for name, codes in results(folder).items():
        noticed = Counter(code in FOUND for code in codes.values())
        found, count = found + noticed[True], count + len(codes)
        survivors += [key for key, code in codes.items() if code not in FOUND]
        print(f"{part.name:8} {name:24} {noticed[True]:5} of {len(codes):5} found")
    (folder / "survivors.txt").write_text("".join(f"{key}\n" for key in survivors))
    print(f"{part.name:8} {'all':24} {found:5} of {count:5} found, {found / max(1, count):.1%}")
    return found, count


def run(part: Part, pattern: str) -> int:
    """Try the mutants of a part; with a pattern, only those, and show the survivors."""
    folder = ROOT / "build" / "mutants" / part.name
    lay_out(part, folder)
    chosen = [f"*{pattern}*"] if pattern else []
    done = subprocess.run([MUTMUT, "run", *chosen], cwd=folder, check=False)
    report(part, folder)
    if pattern:
        for key in (folder / "survivors.txt").read_text().split():
            if pattern in key:
                subprocess.run([MUTMUT, "show", key], cwd=folder, check=False)
    return done.returncode


def main(arguments: list[str]) -> int:
    """Run the parts that are named, or all."""
    names = {part.name for part in PARTS}
    if arguments and arguments[0] not in names:
        print(f"expected one of {', '.join(sorted(names))}, got {arguments[0]!r}", file=sys.stderr)
        return 64
    pattern = arguments[1] if len(arguments) > 1 else ""
    return max(run(part, pattern) for part in PARTS if part.name in {*(arguments[:1] or names)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
