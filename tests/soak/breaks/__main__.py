"""Breaks one line at a time, and says which test notices.

    python -m tests.soak.breaks [--only NAME]

Each break is made in a copy of the source tree; the tests run from the copy. A break that nothing
notices is a hole in the tests, and ends the run with 1. docs/reliability.md quotes the table, and
docs/security.md what `--only attacks` says.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.soak.breaks import BREAKS, ROOT, Break
from tests.soak.breaks.attacks import GROUP
from tests.soak.breaks.device import CORE, CUTS, STEPS
from tests.soak.breaks.rollouts import ROLLOUTS

SWEEPS: Final = {
    CUTS: "power cuts",
    STEPS: "single steps",
    CORE: "the core's steps",
    ROLLOUTS: "simulated rollouts",
}
PYTEST: Final = ("-m", "pytest", "-q", "-x")
_A_TEST_FAILED: Final = 1
"""What pytest ends with where tests ran and one failed; more is a mistake of who asks."""


def main() -> int:
    """Make every break; 1 if one is not noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.breaks")
    parser.add_argument("--only", default="", help="breaks whose name has this in it")
    options = parser.parse_args()
    chosen = [broken for broken in BREAKS if options.only in broken.name]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="slotcast-breaks-") as folder:
        copy_tree(Path(folder))
        check_attacks_are_stopped(chosen, Path(folder))
        for broken in chosen:
            noticed = notice(broken, Path(folder))
            missed += noticed is None
            print(row_of(broken, noticed), flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} were noticed", flush=True)
    return 1 if missed else 0


def copy_tree(to: Path) -> None:
    """Copy what the tests need."""
    for name in ("schemas", "device", "publisher", "tests", "mosquitto"):
        shutil.copytree(
            ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    shutil.copy(ROOT / "pyproject.toml", to)


def check_attacks_are_stopped(chosen: list[Break], tree: Path) -> None:
    """See that the attacks' tests pass while nothing is broken: then a failure is the break's.

    Args:
        chosen: what is going to be broken.
        tree: the copy.

    Raises:
        RuntimeError: one fails, or is skipped here.
    """
    tests = [broken.test[-1] for broken in chosen if broken.check]
    if not tests:
        return
    done = run((*PYTEST, *tests), tree)
    if done.returncode or "skipped" in done.stdout:
        raise RuntimeError(f"before anything is broken:\n{done.stdout[-4000:]}{done.stderr}")


def notice(broken: Break, tree: Path) -> str | None:
    """Break, run, mend; gives the line by which it was noticed, or None.

    Args:
        broken: what to change.
        tree: the copy.

    Raises:
        ValueError: the text is not there once.
        RuntimeError: an attack's test could not run.
    """
    file = tree / broken.path
    text = file.read_text()
    if text.count(broken.old) != 1:
        raise ValueError(f"{broken.name}: expected its text once in {broken.path}")
    file.write_text(text.replace(broken.old, broken.new))
    try:
        done = run(broken.test, tree)
    finally:
        file.write_text(text)
    if done.returncode == 0:
        return None
    if broken.check and (done.returncode != _A_TEST_FAILED or "\nFAILED " not in done.stdout):
        raise RuntimeError(f"{broken.name}: its test did not run:\n{done.stdout[-4000:]}")
    said = [line for line in done.stdout.splitlines() if line.startswith(("  ", "E  "))]
    found = [s for s in said if any(w in s for w in ("Broken:", "DidNotEnd:", "Error:", "Move:"))]
    return (found or said or ["?"])[0].strip()[:150]


def run(arguments: tuple[str, ...], tree: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in the copy, with the sources of the copy.

    Args:
        arguments: of Python.
        tree: the copy.
    """
    sources = [tree, *(tree / name / "src" for name in ("schemas", "device", "publisher"))]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources))},
        capture_output=True,
        text=True,
        check=False,
    )


def row_of(broken: Break, noticed: str | None) -> str:
    """Give a row of the table.

    Args:
        broken: what was changed.
        noticed: the line by which it was noticed; None if it was not.
    """
    if broken.check:
        attack, test = broken.name.removeprefix(GROUP), broken.test[-1].removeprefix("tests/")
        return f"| {attack} | {broken.check} | {f'`{test}`' if noticed else 'NOT NOTICED'} |"
    by = SWEEPS.get(broken.test, "simulation")
    return f"| {broken.name} | {by} | {noticed or 'NOT NOTICED'} |"


if __name__ == "__main__":
    sys.exit(main())
