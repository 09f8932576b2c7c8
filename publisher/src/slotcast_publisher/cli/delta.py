"""`slotcast delta OLD NEW`: what a delta between two files would cost, tried and measured.

It makes the delta, applies it, compares the result and shows where the bytes went; nothing is kept,
signed or sent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from slotcast_publisher.cli.common import Json, emit, size
from slotcast_publisher.delta.try_delta import Cost, DeltaTrial, try_delta
from slotcast_publisher.delta.workers import default_workers
from slotcast_schemas.errors import PayloadCorrupt, UsageError

Old = Annotated[Path, typer.Argument(help="File or folder that devices hold.", show_default=False)]
New = Annotated[Path, typer.Argument(help="File or folder to be sent.", show_default=False)]
Workers = Annotated[
    int,
    typer.Option(
        min=0, help="Processes to make it with; 0: two, as far as there are cores, within 256 MB."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(delta)


def delta(old: Old, new: New, json: Json = False, workers: Workers = 0) -> None:
    """Try a delta between two models: make, apply, compare, measure."""
    trial = try_delta(_files(old), _files(new), workers=workers or default_workers())
    emit(json, _fields(trial), _lines(trial))
    if not trial.identical:
        raise PayloadCorrupt(
            f"expected the delta to rebuild {new}, got other bytes; report this bug"
        )


def _files(path: Path) -> list[tuple[str, Path]]:
    """The file, or a folder's files in order of their names; each with its name in the release.

    Raises:
        UsageError: there is no such file or folder.
    """
    if path.is_dir():
        files = sorted(each for each in path.rglob("*") if each.is_file())
        return [(each.relative_to(path).as_posix(), each) for each in files]
    if not path.is_file():
        raise UsageError(f"expected a file or a folder, got {path}")
    return [(path.name, path)]


def _fields(trial: DeltaTrial) -> dict[str, Any]:
    return {
        "old_bytes": trial.old_bytes,
        "new_bytes": trial.new_bytes,
        "patch_bytes": trial.patch_bytes,
        "identical": trial.identical,
        "create_cpu_s": round(trial.create.cpu_s, 3),
        "create_wall_s": round(trial.create.wall_s, 3),
        "create_peak_bytes": trial.create.peak_bytes,
        "create_resident_bytes": trial.create.resident_bytes,
        "apply_cpu_s": round(trial.apply.cpu_s, 3),
        "apply_wall_s": round(trial.apply.wall_s, 3),
        "apply_peak_bytes": trial.apply.peak_bytes,
        "apply_resident_bytes": trial.apply.resident_bytes,
        "segments": trial.segments,
    }


def _lines(trial: DeltaTrial) -> list[str]:
    share = trial.patch_bytes / trial.new_bytes if trial.new_bytes else 0.0
    verdict = "identical when applied" if trial.identical else "WRONG when applied"
    lines = [
        f"delta      {size(trial.patch_bytes)}, {share:.2%} of {size(trial.new_bytes)}, {verdict}",
        f"make       {_cost(trial.create)}",
        f"apply      {_cost(trial.apply)} with numpy",
        "",
        f"{'segments':<24}{'number':>8}{'of the image':>16}{'coded, about':>16}",
    ]
    rows = sorted(trial.segments, key=lambda row: -row["target_bytes"])
    return lines + [_row(row) for row in rows]


def _cost(cost: Cost) -> str:
    peak = size(cost.peak_bytes)
    return f"{cost.cpu_s:.2f} s of CPU in {cost.wall_s:.2f} s, {peak} above the interpreter"


def _row(row: dict[str, Any]) -> str:
    sizes = f"{size(row['target_bytes']):>16}{size(row['coded_bytes']):>16}"
    return f"{row['kind']:<24}{row['segments']:>8}{sizes}"
