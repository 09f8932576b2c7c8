"""Running one coverage-guided fuzz target (atheris, which is libFuzzer for Python).

    python -m tests.soak.fuzzing offer -max_total_time=60      one target, libFuzzer's options
    python -m tests.soak.fuzzing offer crash-1234...           one input again

A target is a module `tests.soak.fuzz_NAME` with `seeds()`, which gives valid inputs to start
from, and `one_input(data)`, which raises if the one sentence of its docstring does not hold.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from typing import Final

TARGETS: Final = (
    *("notice", "release", "offer", "map", "status", "want", "report", "renewal"),
    *("full", "weights", "delta", "encrypted", "state", "config", "samples", "finders"),
)
"""Every decoder of bytes that came from outside, or from a disk that may lie."""


def main(arguments: list[str]) -> None:
    """Fuzz until libFuzzer's options say enough; the process ends with 77 if an input breaks it."""
    import atheris

    if not arguments or arguments[0] not in TARGETS:
        sys.exit(f"expected one of {', '.join(TARGETS)}, got {' '.join(arguments) or 'nothing'}")
    name, *options = arguments
    with atheris.instrument_imports(
        include=[
            *("slotcast_schemas", "slotcast_device", "slotcast_publisher.delta"),
            *("slotcast_publisher.certificates", "slotcast_publisher.fleet.intake"),
        ]
    ):
        target = importlib.import_module(f"tests.soak.fuzz_{name}")
    with tempfile.TemporaryDirectory(prefix=f"slotcast-fuzz-{name}-") as folder:
        for number, seed in enumerate(target.seeds()):
            (Path(folder) / f"seed-{number}").write_bytes(seed)
        corpus = [] if any(not o.startswith("-") for o in options) else [folder]
        atheris.Setup([sys.argv[0], "-rss_limit_mb=2048", *options, *corpus], target.one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
