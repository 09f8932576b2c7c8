"""A delta tried: made and applied, each in a process of its own, compared and measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slotcast_publisher.delta.measured_process import ChildFailed, run_child
from slotcast_publisher.image_files import Image
from slotcast_schemas.errors import PayloadCorrupt, UsageError

_CHILD: Final = "slotcast_publisher.delta.measured_process"
"""The module that makes, and applies, a delta in a process of its own."""

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are read and compared at once."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took, with its start.

    `peak_bytes` is above the bare interpreter when making, above the interpreter with numpy loaded
    when applying; `resident_bytes` is all of it. Worker processes are added to both.
    """

    cpu_s: float
    wall_s: float
    peak_bytes: int
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class DeltaTrial:
    """What came of it; `segments` are the rows of the table of segments."""

    old_bytes: int
    new_bytes: int
    patch_bytes: int
    identical: bool
    create: Cost
    apply: Cost
    segments: list[dict[str, Any]]


def try_delta(old: Image, new: Image, *, workers: int = 1) -> DeltaTrial:
    """Make a delta from one image to another, apply it, compare and measure.

    Args:
        old: files of the old image, in order.
        new: files of the new one.
        workers: processes to make it with.

    Raises:
        UsageError: a file cannot be read.
        PayloadCorrupt: a process failed; its last words are in the message.
    """
    for _, path in (*old, *new):
        if not path.is_file():
            raise UsageError(f"expected a file to compare, got {path}")
    with tempfile.TemporaryDirectory(prefix="slotcast-delta-") as folder:
        try:
            return _try_in(Path(folder), old, new, workers)
        except ChildFailed as exc:
            raise PayloadCorrupt(str(exc)) from exc


def _try_in(folder: Path, old: Image, new: Image, workers: int) -> DeltaTrial:
    new_bytes = sum(path.stat().st_size for _, path in new)
    task: dict[str, Any] = {
        "old": [(name, str(path.resolve())) for name, path in old],
        "new": [(name, str(path.resolve())) for name, path in new],
        "patch": str(folder / "patch"),
        "out": str(folder / "image"),
        "new_bytes": new_bytes,
        "workers": workers,
    }
    made = run_child(_CHILD, {**task, "do": "create"})
    applied = run_child(_CHILD, {**task, "do": "apply", "base_sha256": made["base_sha256"]})
    with (folder / "image").open("rb") as got:
        identical = _same(got.read, new)
    return DeltaTrial(
        old_bytes=sum(path.stat().st_size for _, path in old),
        new_bytes=new_bytes,
        patch_bytes=(folder / "patch").stat().st_size,
        identical=identical,
        create=Cost(**made["cost"]),
        apply=Cost(**applied["cost"]),
        segments=made["segments"],
    )


def _same(read: Callable[[int], bytes], files: Image) -> bool:
    """Whether what `read` gives is just the files' bytes."""
    return all(read(len(piece)) == piece for piece in _pieces(files)) and not read(1)


def _pieces(files: Image) -> Iterator[bytes]:
    for _, path in files:
        with path.open("rb") as file:
            while piece := file.read(_STEP_BYTES):
                yield piece
