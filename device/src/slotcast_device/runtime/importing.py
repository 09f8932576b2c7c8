"""Whether a runtime is there and can be imported, found out without importing it here.

The agent must not need the runtime: an import that takes a process down (an instruction that this
processor has not, a library that is missing) must end in a status, so it is tried in a child.
"""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

from slotcast_schemas.environment import child_environment
from slotcast_schemas.model_formats import LITERT

RUNTIME: Final = "onnxruntime"
"""The name of the package that runs models."""
LITERT_RUNTIME: Final = "ai_edge_litert"
"""The package of LiteRT's runtime: the extra `slotcast-device[litert]`."""
STRICT_RUNTIME: Final = "1.24"
"""The first onnxruntime that itself refuses weights in files outside the model's folder (its pull
request 26776); 1.23.2 was tried, and reads them."""
IMPORT_TIMEOUT_S: Final = 60.0
"""The seconds that an import of it may take, in a process of its own; on a slow card it takes
several."""
_SAID_MAX_CHARS: Final = 200
"""The characters that are kept of what that process said last."""


def runtime_version() -> str:
    """Give the version of the runtime that is installed; empty where none is.

    It may come in another distribution than its own, such as onnxruntime-gpu.
    """
    if found := _version_beside(RUNTIME):
        return found
    import importlib.metadata  # 1 MB, and as long as all else of `status` takes

    try:
        return importlib.metadata.version(RUNTIME)
    except importlib.metadata.PackageNotFoundError:
        others = importlib.metadata.packages_distributions().get(RUNTIME, [])
    return importlib.metadata.version(others[0]) if others else ""


def _version_beside(name: str) -> str:
    """Give the version that is written beside an installed package; empty where it is not.

    As `importlib.metadata` reads it, for the usual case: the first folder of the path that has the
    package has the folder of one distribution by its name.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return ""
    found = list(Path(spec.origin).parent.parent.glob(f"{name}-*.dist-info/METADATA"))
    if len(found) != 1:
        return ""
    with found[0].open(encoding="utf-8", errors="replace") as lines:
        fields = (line.rstrip().partition(": ") for line in lines)
        return next((value for key, _, value in fields if key == "Version"), "")


def is_lenient(version: str) -> bool:
    """Say whether an onnxruntime reads a model's weights from anywhere, unless something else stops
    it; of a version that cannot be read nothing is known.
    """
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(STRICT_RUNTIME)
    except InvalidVersion:
        return False


def has_litert() -> bool:
    """Say whether LiteRT's runtime is installed."""
    return importlib.util.find_spec(LITERT_RUNTIME) is not None


def has_hpke() -> bool:
    """Say whether encrypted releases can be read: the installed `cryptography` has HPKE (RFC 9180).

    It is looked for and not imported, for `status` says it and starts fast.
    """
    found = importlib.util.find_spec("cryptography")
    folders = [] if found is None else found.submodule_search_locations or []
    return any(Path(folder, "hazmat", "primitives", "hpke.py").exists() for folder in folders)


def runnable_formats(commands: Collection[str]) -> frozenset[str]:
    """Say which kinds of model beside ONNX can be run: LiteRT's, and those with a command."""
    return frozenset({*commands, *((LITERT,) if has_litert() else ())})


def import_problem(runtime: str = RUNTIME) -> str:
    """Import a runtime in a child process; say what went wrong, empty where nothing did."""
    command = [sys.executable, "-P", "-B", "-c", f"import numpy, {runtime}"]
    try:
        done = subprocess.run(
            command,
            env=child_environment(),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"not done after {IMPORT_TIMEOUT_S:g} s"
    except OSError as exc:
        return f"no child process: {exc}"
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"the import ends its process by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode(errors="replace").split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return said[:_SAID_MAX_CHARS] or f"exit code {done.returncode}"
