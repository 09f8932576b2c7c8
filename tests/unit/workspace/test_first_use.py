"""What libraries build at their first use is built, or safe, before many threads use it at once.

Each case is a fresh process, since the first time comes once; see tests/support/first_use.py.
"""

from __future__ import annotations

import ast
import functools
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec
import numpy as np
import pytest
import zstandard

from slotcast_schemas.messages import ALL
from tests.support import models as zoo
from tests.support.engine import REPOSITORY
from tests.support.first_use import IMAGE
from tests.support.fleet import Publisher, model_bytes

PACKAGES: Final = tuple(
    f"{name}/src/slotcast_{name}" for name in ("schemas", "device", "publisher")
)
DECODING: Final = frozenset({"decode", "convert", "_read_json"})


def modules_that_decode() -> Iterator[tuple[ModuleType, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            if path.parent.name == "migrations" and path.name == "env.py":
                continue  # run by alembic alone, in its own context
            text = path.read_text()
            if not any(f"{word}(" in text for word in DECODING):
                continue  # parsing all of them takes seconds in each worker
            parts = path.relative_to((REPOSITORY / package).parent).with_suffix("").parts
            name = ".".join(part for part in parts if part != "__init__")
            yield importlib.import_module(name), ast.parse(text)


@functools.cache
def decoded_types() -> set[type[msgspec.Struct]]:
    """Find every struct of ours that is named in a call that decodes."""
    found: set[type[msgspec.Struct]] = set()
    for module, tree in modules_that_decode():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if called in DECODING:
                inside = (
                    name for value in (*call.args[1:], *call.keywords) for name in ast.walk(value)
                )
                named = (getattr(module, n.id, None) for n in inside if isinstance(n, ast.Name))
                found |= {n for n in named if isinstance(n, type) and issubclass(n, msgspec.Struct)}
    return found


def first_use(*arguments: object) -> None:
    """Run a case in a process of its own, which must end well."""
    command = [sys.executable, "-m", "tests.support.first_use", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-2000:]}"


PROCESSES: Final = 5


@pytest.mark.parametrize("process", range(PROCESSES))
def test_many_threads_may_decode_the_first_message_of_a_type(process: int) -> None:
    """Some types in each process, since each type has a first time of its own."""
    names = sorted(f"{kind.__module__}:{kind.__qualname__}" for kind in decoded_types() | set(ALL))
    first_use("decode", *names[process::PROCESSES])


def test_the_types_of_state_reports_and_configuration_are_among_them() -> None:
    names = {kind.__name__ for kind in decoded_types()}
    assert names >= {
        "ModelState",
        "AppReport",
        "Config",
        "ProbeRequest",
        "Note",
        "Offer",
        "Settings",
    }


def test_many_threads_may_verify_the_first_notice(tmp_path: Path) -> None:
    publisher = Publisher.make(tmp_path / "repo")
    publisher.release("clf", "1", {"model.onnx": model_bytes(1)})
    (tmp_path / "notice").write_bytes(publisher.repo.offer("clf", "1"))
    (tmp_path / "root").write_bytes(publisher.repo.roles.root_bytes())
    first_use("verify", tmp_path / "notice", tmp_path / "root", tmp_path / "trust")


def test_many_threads_may_unpack_the_first_payload(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(zstandard.ZstdCompressor().compress(IMAGE))
    first_use("unpack", tmp_path / "packed", REPOSITORY / "tests/assets/delta")


def test_many_threads_may_open_the_first_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(zoo.classifier())
    rows = np.ones((2, 1, zoo.FEATURES), np.float32)
    np.savez(tmp_path / "samples.npz", **{"input:x": rows})  # type: ignore[arg-type]  # numpy's stub mistakes names for options
    first_use("model", tmp_path / "m.onnx", tmp_path / "samples.npz")
