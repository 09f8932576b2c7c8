"""Builds wheels and sdists of the three distributions into `dist/`, and says what they need.

The same sources give the same bytes, on any day and in any folder (hatchling dates everything by
`SOURCE_DATE_EPOCH`, or by a constant). Beside them, for each of the two commands,
`dist/requirements-<command>.txt`: the closed set of what an install of it brings, with versions
and hashes from `constraints.txt` and the hashes of our own wheels. With it pip fetches and
installs nothing else, and resolves nothing.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT: Final = Path(__file__).resolve().parents[1]
DIST: Final = ROOT / "dist"
DISTRIBUTIONS: Final = ("schemas", "device", "publisher")
_PINNED: Final = re.compile(r"^([\w.-]+)==.*(?:\n .*)*", re.MULTILINE)


def build(folder: Path) -> None:
    """Build the wheel and the sdist of the distribution in `folder`."""
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(DIST)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"error: {folder.name} does not build:\n{done.stdout}{done.stderr}")


def needed_by(distribution: str) -> frozenset[str]:
    """Give the names of all that an install of `distribution` may bring on any machine."""
    found: set[str] = set()
    waiting = [Requirement(distribution)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:  # for other machines: constraints.txt says which
            continue
        waiting += [
            one
            for one in map(Requirement, lines)
            if _may_apply(one, wanted.extras) and canonicalize_name(one.name) not in found
        ]
    return frozenset(found)


def _may_apply(requirement: Requirement, extras: set[str]) -> bool:
    """Whether somebody who asked for `extras` may get it, on some machine with some Python."""
    if requirement.marker is None or "extra" not in str(requirement.marker):
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def pinned() -> dict[str, list[str]]:
    """Give the entries of `constraints.txt`, by name: one, or one for each range of Pythons."""
    entries: dict[str, list[str]] = {}
    for match in _PINNED.finditer((ROOT / "constraints.txt").read_text()):
        entries.setdefault(canonicalize_name(match[1]), []).append(match[0])
    return entries


def own() -> dict[str, list[str]]:
    """Give the entries of our own wheels."""
    entries: dict[str, list[str]] = {}
    for wheel in sorted(DIST.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        entries[name] = [f"{name}=={version} \\\n    --hash=sha256:{digest}"]
    return entries


def main() -> None:
    """Build all, and write what each command needs."""
    shutil.rmtree(DIST, ignore_errors=True)
    for distribution in DISTRIBUTIONS:
        build(ROOT / distribution)
    entries = pinned() | own()
    for command in ("device", "publisher"):
        names = sorted(needed_by(f"slotcast-{command}") & entries.keys())
        text = "\n".join(entry for name in names for entry in entries[name])
        (DIST / f"requirements-{command}.txt").write_text(text + "\n")
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size:>9}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
