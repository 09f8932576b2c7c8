"""Changes one thing at a time in what decides and what decodes, and counts what the tests notice.

    make mutants                          both parts, all of it
    make mutants ARGS="core"              the device's core alone
    make mutants ARGS="core plan"         what has `plan` in its name, and how each survivor differs
    make mutants ARGS="codecs --tenth 3"  a tenth of them, by the last digit of their numbers
    make mutants ARGS="core --jobs 1"     on one processor
    make mutants ARGS="core --fresh"      without what earlier runs found
    make mutants ARGS="core --report"     try nothing, print what is known

The tool is mutmut (https://mutmut.readthedocs.io); it wants one folder `src`, so the
tree is laid out anew below build/mutants. A mutant counts as found if a unit or a property test
fails on it. What was found stays found while its function is the same; what was not is tried again
once a test or any source has changed. The score of each file is printed, and the survivors are
listed in build/mutants/PART/survivors.txt.
"""

from __future__ import annotations

import argparse
import ast
import fnmatch
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MUTMUT: Final = Path(sys.executable).with_name("mutmut")


class Fate(StrEnum):
    """What became of a mutant."""

    FOUND = "found"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    WORDS = "only words"
    UNTRIED = "untried"


FOUND: Final = frozenset({1, 3, -11})
"""Exit codes of a mutant on which a test failed, or raised, or broke the interpreter."""
TIMED_OUT: Final = frozenset({36, -24, 24, 152, -9, 255})
"""Exit codes of one that ran into its bound of time: a loop without end."""


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
        (
            "tests/unit/codecs",
            "tests/unit/delta/test_formats.py",
            "tests/unit/delta/test_moved_lines.py",
            "tests/unit/delta/test_records.py",
            "tests/unit/delta/test_round_trip.py",
            "tests/property/test_delta_models.py",
        ),
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
timeout_multiplier = 20.0
pytest_add_cli_args = ["-p", "no:cacheprovider", "--hypothesis-profile=mutants"]
pytest_add_cli_args_test_selection = {tests}
"""
PROFILE: Final = '''
"""The same few examples each time, and no search for a smaller one: that a test fails is enough."""

from hypothesis import HealthCheck, Phase, settings

settings.register_profile(
    "mutants",
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
'''


def lay_out(part: Part, folder: Path) -> None:
    """Copy sources and tests as mutmut wants them; times are kept, for it goes by them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tests", "mutants/tests", *TESTS_READ):
        shutil.rmtree(folder / name, ignore_errors=True)
    for distribution in ("schemas", "device", "publisher"):
        package = f"slotcast_{distribution}"
        shutil.copytree(ROOT / distribution / "src" / package, folder / "src" / package)
    for name in ("tests", *TESTS_READ):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "conftest.py").write_text(PROFILE)
    (folder / "pyproject.toml").write_text(
        SETTINGS.format(
            mutate=part.mutate,
            tests=json.dumps(list(part.tests)),
            copied=json.dumps([*TESTS_READ, "conftest.py"]),
        )
    )
    forget(folder)


def forget(folder: Path) -> None:
    """Drop the results of files that are gone; and of survivors, where anything has changed."""
    hashed = hashlib.sha256()
    for path in sorted(p for top in ("src", "tests") for p in (folder / top).rglob("*.py")):
        hashed.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    seen = folder / "seen.sha256"
    is_same = seen.exists() and seen.read_text() == hashed.hexdigest()
    seen.write_text(hashed.hexdigest())
    if not is_same:
        (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    for made in list((folder / "mutants" / "src").rglob("*.py")):
        made.unlink()  # made anew: a run that was stopped may have left half of it
    for meta in list((folder / "mutants" / "src").rglob("*.meta")):
        if not (folder / meta.relative_to(folder / "mutants").with_suffix("")).exists():
            meta.unlink()
        elif not is_same:
            held = json.loads(meta.read_text())
            codes = held["exit_code_by_key"]
            held["exit_code_by_key"] = {
                key: code if code in FOUND else None for key, code in codes.items()
            }
            meta.write_text(json.dumps(held))


# --- what became of them --------------------------------------------------------------------------


def fates(folder: Path) -> dict[str, dict[str, Fate]]:
    """Give what became of each mutant, by file."""
    top = folder / "mutants" / "src"
    found = {}
    for meta in sorted(top.rglob("*.meta")):
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        if codes:
            made = meta.with_suffix("")
            words = only_words(made) if made.exists() else set()  # gone until it is made anew
            name = meta.relative_to(top).with_suffix("").as_posix().split("/", 2)[-1]
            found[name] = {key: fate(code, is_words=key in words) for key, code in codes.items()}
    return found


def fate(code: int | None, *, is_words: bool) -> Fate:
    """Say what became of a mutant, by the exit code of its tests."""
    if is_words:
        return Fate.WORDS
    if code is None:
        return Fate.UNTRIED
    if code in TIMED_OUT:
        return Fate.TIMED_OUT
    return Fate.FOUND if code in FOUND else Fate.SURVIVED


def only_words(mutated: Path) -> set[str]:
    """Find the mutants that differ in nothing but a sentence for people: a string with a space."""
    module = ".".join(mutated.with_suffix("").parts[mutated.parts.index("src") + 1 :])
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(mutated.read_text()))
        if isinstance(node, ast.FunctionDef) and "__mutmut_" in node.name
    }
    plain = {name: _without_sentences(node) for name, node in functions.items()}
    return {
        f"{module}.{name}"
        for name, text in plain.items()
        if text == plain[f"{name.rpartition('__mutmut_')[0]}__mutmut_orig"]
        and not name.endswith("__mutmut_orig")
    }


def _without_sentences(function: ast.FunctionDef) -> str:
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            node.value = "a sentence"
    return "\n".join(ast.dump(part) for part in [function.args, *function.body])


def report(part: Part, folder: Path) -> None:
    """Print the score of each file as a table, and list the survivors."""
    rows, survivors = [], []
    total: Counter[Fate] = Counter()
    for name, by_key in fates(folder).items():
        counted = Counter(by_key.values())
        total += counted
        rows.append(_row(name, counted))
        survivors += [key for key, became in by_key.items() if became is Fate.SURVIVED]
    (folder / "survivors.txt").write_text("".join(f"{key}\n" for key in survivors))
    columns = (part.name, "tried", "found", "by time", "survive", "score", "words", "untried")
    print(f"\n| {' | '.join(columns)} |\n|---|{'---:|' * (len(columns) - 1)}")
    print("\n".join([*rows, _row("all", total)]))


def _row(name: str, counted: Counter[Fate]) -> str:
    found = counted[Fate.FOUND] + counted[Fate.TIMED_OUT]
    tried = found + counted[Fate.SURVIVED]
    cells = (tried, found, counted[Fate.TIMED_OUT], tried - found)
    score = f"{found / tried:.1%}" if tried else "-"
    apart = f"{counted[Fate.WORDS]} | {counted[Fate.UNTRIED]}"
    return f"| {name} | {' | '.join(map(str, cells))} | {score} | {apart} |"


# --- trying them ----------------------------------------------------------------------------------


def run(part: Part, chosen: str, jobs: int) -> int:
    """Try the mutants of a part.

    Args:
        part: which.
        chosen: a glob for the names of those that are to be tried if they were not found yet, of
            which each survivor is shown then; empty tries all, and shows none.
        jobs: how many at once.
    """
    folder = ROOT / "build" / "mutants" / part.name
    lay_out(part, folder)
    names = (left(folder, chosen) or [chosen]) if chosen else []
    done = mutmut(folder, "run", "--max-children", str(jobs), *names)
    anew = left(folder, chosen, Fate.UNTRIED) if chosen else []
    if anew:  # of functions that have changed, and had no mutants before
        done = mutmut(folder, "run", "--max-children", str(jobs), *anew)
    report(part, folder)
    for key in left(folder, chosen, Fate.SURVIVED) if chosen else []:
        mutmut(folder, "show", key)
    return done


def left(folder: Path, chosen: str, *wanted: Fate) -> list[str]:
    """Give the mutants whose names match a glob that were not found."""
    among = wanted or (Fate.SURVIVED, Fate.UNTRIED)
    return [
        key
        for by_key in fates(folder).values()
        for key, became in by_key.items()
        if became in among and fnmatch.fnmatch(key, chosen)
    ]


def mutmut(folder: Path, *arguments: str) -> int:
    """Run the tool in a folder that was laid out for it."""
    return subprocess.run([MUTMUT, *arguments], cwd=folder, check=False).returncode


def main() -> int:
    """Run the parts that are named, or all."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", nargs="?", choices=names, help="all if left out")
    parser.add_argument("pattern", nargs="?", default="", help="only mutants with this in the name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processors to use")
    parser.add_argument("--tenth", default="", help="only those whose number ends in this digit")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs found")
    parser.add_argument("--report", action="store_true", help="try nothing, print what is known")
    chosen = parser.parse_args()
    code = 0
    for part in PARTS:
        folder = ROOT / "build" / "mutants" / part.name
        if chosen.part not in {None, part.name}:
            continue
        if chosen.report:
            report(part, folder)
            continue
        if chosen.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        glob = f"*{chosen.pattern}*{chosen.tenth}" if chosen.pattern or chosen.tenth else ""
        code = max(code, run(part, glob, chosen.jobs))
    return code


if __name__ == "__main__":
    sys.exit(main())
