"""What the workspace promises whoever installs it: few packages, pinned, from no fixed place."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.engine import REPOSITORY

CONSTRAINTS: Final = (REPOSITORY / "constraints.txt").read_text()
OWN: Final = frozenset({"slotcast-schemas", "slotcast-device", "slotcast-publisher"})


def pulled_by(distribution: str) -> frozenset[str]:
    """Give the names of all that an install of `distribution` brings here, itself included."""
    found: set[str] = set()
    waiting = [(distribution, "")]
    while waiting:
        name, extra = waiting.pop()
        found.add(canonicalize_name(name))
        for line in requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [
                    (needed.name, one)
                    for one in (*needed.extras, "")
                    if one or canonicalize_name(needed.name) not in found
                ]
    return frozenset(found)


def declared(distribution: str) -> frozenset[str]:
    text = (REPOSITORY / distribution / "pyproject.toml").read_text()
    return names_of(tomllib.loads(text)["project"]["dependencies"])


def names_of(requirements: Iterable[str]) -> frozenset[str]:
    return frozenset(canonicalize_name(Requirement(line).name) for line in requirements)


def test_a_device_install_pulls_neither_the_publisher_nor_what_only_it_needs() -> None:
    only_publisher = declared("publisher") - declared("device") - declared("schemas")
    assert only_publisher >= {"onnx", "typer", "rich"}
    assert not pulled_by("slotcast-device") & (only_publisher | {"slotcast-publisher"})


def test_who_only_signs_and_publishes_installs_no_database() -> None:
    text = (REPOSITORY / "publisher" / "pyproject.toml").read_text()
    fleet = names_of(tomllib.loads(text)["project"]["optional-dependencies"]["fleet"])
    assert fleet >= {"sqlalchemy", "alembic", "psycopg"}
    assert not pulled_by("slotcast-publisher") & fleet


def test_a_publisher_install_pulls_no_device() -> None:
    assert "slotcast-device" not in pulled_by("slotcast-publisher")


@pytest.mark.parametrize("distribution", ["schemas", "device", "publisher"])
def test_every_declared_dependency_is_pinned(distribution: str) -> None:
    names = re.findall(r"^([\w.-]+)==", CONSTRAINTS, re.MULTILINE)
    pinned = {canonicalize_name(name) for name in names}
    assert declared(distribution) - OWN <= pinned


RUNTIMES: Final = frozenset({"onnxruntime", "ai-edge-litert"})
"""Which of them is there is for the device or the publisher to say; the schemas try."""


def imported(distribution: str) -> frozenset[str]:
    """Name the installs whose packages a distribution's modules import, as far as they are here."""
    found: set[str] = set()
    for file in (REPOSITORY / distribution / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    installs = packages_distributions()
    foreign = (found - sys.stdlib_module_names) & installs.keys()
    return frozenset(canonicalize_name(installs[name][0]) for name in foreign)


@pytest.mark.parametrize("distribution", ["schemas", "device", "publisher"])
def test_every_package_that_is_imported_is_declared(distribution: str) -> None:
    text = (REPOSITORY / distribution / "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"].get("optional-dependencies", {})
    named = declared(distribution).union(*map(names_of, extras.values()))
    left_out = RUNTIMES if distribution == "schemas" else frozenset()
    assert imported(distribution) - OWN - left_out - named == frozenset()


def test_the_constraints_have_a_hash_for_each_version_and_no_address() -> None:
    for requirement in re.split(r"\n(?=\S)", CONSTRAINTS.strip()):
        first, *hashes = requirement.split(" \\\n")
        assert re.fullmatch(r"[\w.-]+==[\w.+!]+( ; .+)?", first), first
        assert hashes, f"{first} has no hash"
        assert all(re.fullmatch(r" +--hash=sha256:[0-9a-f]{64}", one) for one in hashes), first
