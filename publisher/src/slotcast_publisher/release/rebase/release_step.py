"""Rebasing a release on its way in: which base, which measure, and what the release says of it.

How a model is rebased is `rebase`'s; here it is decided against what devices hold, on the user's
own samples, and written down so that it is never silent.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from slotcast_publisher.delta.workers import default_workers
from slotcast_publisher.image_files import image_sha256
from slotcast_publisher.release.golden_samples import make_samples
from slotcast_publisher.release.rebase.measures import accuracy_measure, cosine_measure
from slotcast_publisher.release.rebase.search import Measure, rebase
from slotcast_publisher.release.rebase.wanted import RebaseWanted, Rebasing
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.errors import UsageError
from slotcast_schemas.messages.release import Rebased
from slotcast_schemas.samples import SAMPLES_MAX_BYTES, read_samples

_RUNS_MAX: Final = 256
"""The most samples that a candidate is measured on; devices get fewer to probe with."""


def rebase_files(
    files_dir: Path,
    model_files: Sequence[str],
    earlier: Sequence[ReleaseFolder],
    wanted: RebaseWanted,
    samples: Path | None,
    scratch: Path,
) -> Rebasing:
    """Replace a model's files by their rebased selves.

    Args:
        files_dir: the release's files, as given; changed in place.
        model_files: the file that the runtime opens, then its external data.
        earlier: releases of the model, oldest first.
        wanted: the measure and its bound.
        samples: the user's samples.
        scratch: a folder for candidates; removed afterwards.

    Raises:
        UsageError: no samples, no earlier release, or no step keeps the measure.
    """
    if samples is None:
        raise UsageError("--rebase needs --samples: inputs on which the model is compared")
    base = _base(earlier, wanted.base)
    entry = model_files[0]
    scratch.mkdir(parents=True)
    try:
        report = rebase(
            base.images(),
            [(name, files_dir / name) for name in model_files],
            scratch / "candidate",
            measure=_measure(files_dir, entry, samples, wanted, scratch / "measure.npz"),
            at_least=wanted.at_least,
            workers=default_workers(),
        )
        given_sha256 = image_sha256(files_dir / name for name in model_files)
        for name, path in report.files:
            shutil.copyfile(path, files_dir / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    says = Rebased(
        given_sha256=given_sha256,
        measure=f"mean_{wanted.measure}" if wanted.measure == "cosine" else wanted.measure,
        distance=report.chosen.quality,
        step=report.chosen.coarseness,
    )
    return Rebasing(report, base.load().version, says)


def _base(earlier: Sequence[ReleaseFolder], version: str | None) -> ReleaseFolder:
    """Give the release to rebase on: the one asked for, or the last that devices may hold."""
    if version is not None:
        found = [folder for folder in earlier if folder.load().version == version]
    else:
        found = [folder for folder in earlier if folder.is_held] or list(earlier)
    if not found:
        raise UsageError(
            f"--rebase: expected an earlier release to rebase on, got {version or 'none'}"
        )
    return found[-1]


def _measure(
    files_dir: Path, entry: str, samples: Path, wanted: RebaseWanted, out: Path
) -> Measure:
    probe = make_samples(
        files_dir,
        entry,
        samples,
        out,
        seed=0,
        max_samples=_RUNS_MAX,
        max_bytes=SAMPLES_MAX_BYTES,
    )
    if not out.exists():
        raise UsageError(f"--rebase: {samples} gave no samples that fit the model")
    kept = read_samples(out)
    if wanted.measure == "cosine":
        return cosine_measure(entry, kept)
    if kept.labels is None:
        raise UsageError(f"--rebase: {samples} has no labels to measure accuracy by")
    return accuracy_measure(entry, kept, wanted.output or probe.label_output or "")
