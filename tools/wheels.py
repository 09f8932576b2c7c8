"""Builds wheels and sdists of the three distributions into `dist/`, and says what they need.

The same sources give the same bytes, on any day and in any folder (hatchling dates everything by
`SOURCE_DATE_EPOCH`, or by a constant). Beside them, for each of the two commands,
`dist/requirements-<command>.txt`: the closed set of what an install of it brings, with versions
and hashes from `constraints.txt` and the hashes of our own wheels. With it pip fetches and
installs nothing else, and resolves nothing. `dist/sbom-<command>.cdx.json` is the same set as a
bill of materials (CycloneDX 1.6), and `dist/SHA256SUMS` has the digest of every other file.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import uuid
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
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


def bill_of(command: str, entries: list[str]) -> str:
    """Give the bill of materials of a command: all that its list of requirements names.

    Args:
        command: `device` or `publisher`.
        entries: of the list.
    """
    components = [_component(entry) for entry in entries]
    main = next(one for one in components if one.name == f"slotcast-{command}")
    text = "\n".join(entries)
    bom = Bom(
        serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"slotcast-{command}\n{text}"),
        metadata=BomMetaData(component=main),
        components=[one for one in components if one is not main],
    )
    bom.metadata.timestamp = None
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _component(entry: str) -> Component:
    """Give one package; where its index has several files of it, any of them is it."""
    line = entry.split(" \\\n", maxsplit=1)[0]
    wanted = Requirement(line)
    name, version = canonicalize_name(wanted.name), str(wanted.specifier).removeprefix("==")
    digests = sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry))
    one_file = [HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in digests]
    marker = [Property(name="slotcast:where", value=str(wanted.marker))] if wanted.marker else []
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        purl=PackageURL("pypi", None, name, version),
        bom_ref=line,
        hashes=one_file if len(digests) == 1 else None,
        properties=[
            *marker,
            *(Property(name="slotcast:file_sha256", value=digest) for digest in digests),
        ],
    )


def main() -> None:
    """Build all, and write what each command needs."""
    shutil.rmtree(DIST, ignore_errors=True)
    for distribution in DISTRIBUTIONS:
        build(ROOT / distribution)
    entries = pinned() | own()
    for command in ("device", "publisher"):
        names = sorted(needed_by(f"slotcast-{command}") & entries.keys())
        needed = [entry for name in names for entry in entries[name]]
        (DIST / f"requirements-{command}.txt").write_text("\n".join(needed) + "\n")
        (DIST / f"sbom-{command}.cdx.json").write_text(bill_of(command, needed))
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(DIST.iterdir())
    ]
    (DIST / "SHA256SUMS").write_text("".join(sums))
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size:>9}  {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
