"""Deltas: how many bytes they save against other tools, and what they cost to make and to apply.

Real pairs are taken from the folder of models, where there is one; two more, of 8.7 and 90 MB, are
drawn by `benchmarks.pairs`, which says how; `moved_rows` moves rows and columns in every way,
`opaque_files` does in files of no known format, `tree_pairs` has models of trees, and
`package_pairs` files of public packages.
Every payload is applied and compared. Every tool runs in a process of its own, and what it came to
is kept (`delta_rivals`). `--quick` leaves out pairs on which other tools take minutes; `--only
REGEX` takes some; `--table FILE` writes the sizes there.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.delta_rivals import BSDIFF, JUDGED, KEPT, PeerRun, Peers, installed_tools
from benchmarks.delta_table import Row, write_table
from benchmarks.few_moved import few_moved_figures
from benchmarks.moved_rows import moved_pairs
from benchmarks.opaque_files import opaque_pairs
from benchmarks.package_pairs import package_pairs
from benchmarks.pairs import LARGE, SMALL, write_pair
from benchmarks.report import CannotRun, Figure, Options
from benchmarks.tree_pairs import tree_pairs
from slotcast_publisher.delta.try_delta import DeltaTrial, try_delta
from slotcast_publisher.delta.workers import default_workers
from slotcast_publisher.release.golden_samples import make_samples
from slotcast_publisher.release.rebase.measures import cosine_measure
from slotcast_publisher.release.rebase.search import rebase
from slotcast_schemas.samples import read_samples

_MEBIBYTE: Final = 1024 * 1024
_COSINE_MIN: Final = 0.9999

_OF_BEST: Final = 1.05
"""The most that a delta may cost of the best other tool's, whatever happened to the model."""

_SEARCHED_IN_VAIN: Final = ("unrelated, fp32", "unrelated, fp16")
"""Pairs in which there is nothing to find, and that are large beside the start of a process."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two files and what their delta must achieve; a limit of None is not asked for."""

    name: str
    old: Path
    new: Path
    of_bsdiff: float | None = None
    of_best: float | None = None
    of_file: float | None = None
    is_timed: bool = False
    is_large: bool = False


def run(options: Options) -> list[Figure]:
    """Sizes, CPU time and memory of deltas, against the tools that people use today."""
    if shutil.which("xdelta3") is None:
        raise CannotRun("expected the program xdelta3; `tools/apt-install xdelta3` installs it")
    figures: list[Figure] = []
    trials: dict[str, DeltaTrial] = {}
    rows: list[Row] = []
    peers = Peers(options.work, KEPT, options.say)
    for pair in _pairs(options):
        if not re.search(options.only, pair.name):
            continue
        options.say(f"{pair.name}: ours")
        trial = try_delta(
            [("model.onnx" if pair.old.suffix == ".onnx" else "file.bin", pair.old)],
            [("model.onnx" if pair.new.suffix == ".onnx" else "file.bin", pair.new)],
            workers=default_workers(),
        )
        trials[pair.name] = trial
        # Of a large pair bsdiff4 alone is asked for: the others take their time for nothing.
        tools = (BSDIFF,) if pair.is_large else installed_tools()
        runs = peers.runs(pair.name, pair.old, pair.new, tools)
        figures += _figures(pair, trial, runs)
        sizes = {tool: run.patch_bytes for tool, run in runs.items()}
        rows.append(Row(pair.name, trial.new_bytes, trial.patch_bytes, sizes))
    if options.table is not None:
        write_table(options.table, rows)
    if options.only:
        return figures
    rebased = _rebased(options) if options.models else []
    return figures + _memory(trials) + rebased + list(few_moved_figures(options))


def _rebased(options: Options) -> list[Figure]:
    """A full fine-tune of a real encoder, rebased as far as the mean cosine stays at 0.9999."""
    assert options.models is not None
    options.say("t_v1 to t_full, rebased")
    old, new = options.models / "t_v1.onnx", options.models / "t_full.onnx"
    rng = np.random.default_rng(options.seed)
    ids = rng.integers(1, 500, (48, 16))
    given, kept = options.work / "given.npz", options.work / "samples.npz"
    np.savez(given, ids=ids, mask=np.ones_like(ids))
    make_samples(options.models, new.name, given, kept, seed=options.seed, max_samples=48)
    folder = options.work / "rebased"
    folder.mkdir()
    report = rebase(
        [("model.onnx", old)],
        [("model.onnx", new)],
        folder,
        measure=cosine_measure("model.onnx", read_samples(kept)),
        at_least=_COSINE_MIN,
    )
    share = report.chosen.payload_bytes / report.delta.image_size_bytes
    note = (
        f"step {report.chosen.coarseness:.2f} of the root mean square, 48 samples of random tokens"
    )
    return [
        Figure("t_v1 to t_full, rebased: share of the file", share, "ratio", 0.065, note=note),
        Figure(
            "t_v1 to t_full, rebased: mean cosine",
            report.chosen.quality,
            "",
            limit=_COSINE_MIN,
            better=">=",
        ),
    ]


def _pairs(options: Options) -> Iterator[Pair]:
    small = options.work / "small"
    small.mkdir()
    yield from _real_pairs(options.models, quick=options.quick) if options.models else ()
    old, new = write_pair(small, SMALL, options.seed)
    yield Pair("made, fp32, 8.7 MB", old, new, of_bsdiff=0.63, is_timed=True)
    yield from _other_files(options)
    yield from _moved_rows(options)
    if not options.quick:
        for each in package_pairs():
            yield Pair(each.name, each.old, each.new, of_best=_OF_BEST)
        large = options.work / "large"
        large.mkdir()
        old, new = write_pair(large, LARGE, options.seed)
        yield Pair("made, fp32, 90 MB", old, new, of_bsdiff=0.40, is_timed=True, is_large=True)


def _real_pairs(models: Path, *, quick: bool) -> Iterator[Pair]:
    def pair(old: str, new: str, **limits: Any) -> Pair:
        paths = models / f"{old}.onnx", models / f"{new}.onnx"
        if missing := [path for path in paths if not path.is_file()]:
            raise CannotRun(f"expected the model {missing[0]}, which is not there")
        return Pair(f"{old} to {new}", *paths, **limits)

    yield pair("c_v1_int8", "c_v2_int8", of_bsdiff=0.92)
    yield pair("t_v1", "t_lora", of_bsdiff=0.15)
    yield pair("c_v1", "c_head", of_best=1.0)
    yield pair("t_v1_fp16", "t_full_fp16", of_bsdiff=0.52)
    if not quick:
        yield pair("c_v1", "c_v2", of_bsdiff=0.63, is_timed=True)
        yield pair("t_v1", "t_full", of_bsdiff=0.63, is_timed=True)
        yield pair("t_v1", "t_v1_other_exporter", of_file=0.003)


def _other_files(options: Options) -> Iterator[Pair]:
    """Files that are no models: the interpreter's own library as text, edited here and there."""
    rng = random.Random(options.seed)
    library = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))[: 2 * _MEBIBYTE]
    lines = []
    for line in text.split(b"\n"):
        chance = rng.random()
        if chance < 0.004:
            continue
        if chance < 0.008:
            lines.append(b"    # " + bytes(rng.choices(b"abcdefghij ", k=40)))
        is_edited = 0.008 <= chance < 0.012
        lines.append(line.replace(b"self", b"that") if is_edited else line)
    paths = options.work / "old.txt", options.work / "new.txt"
    paths[0].write_bytes(text)
    paths[1].write_bytes(b"\n".join(lines))
    yield Pair("a text, edited", *paths, of_best=1.02)


def _moved_rows(options: Options) -> Iterator[Pair]:
    """Rows and columns that came, went or moved, in models and other files, and trees."""
    models = ((pair, ".onnx") for pair in moved_pairs(options.seed))
    others = ((pair, ".bin") for pair in opaque_pairs(options.seed))
    trees = ((pair, ".onnx") for pair in tree_pairs(options.seed))
    for number, (pair, suffix) in enumerate(itertools.chain(models, others, trees)):
        old, new = (options.work / f"moved-{number}-{age}{suffix}" for age in ("old", "new"))
        old.write_bytes(pair.old)
        new.write_bytes(pair.new)
        yield Pair(pair.name, old, new, of_best=_OF_BEST)


def _figures(pair: Pair, trial: DeltaTrial, peers: dict[str, PeerRun]) -> list[Figure]:
    name, bsdiff = pair.name, peers.get(BSDIFF)
    judged = [tool for tool in JUDGED if tool in peers]
    others = ", ".join(f"{tool} {run.patch_bytes:,}" for tool, run in peers.items())
    figures = [
        Figure(f"{name}: identical", float(trial.identical), "", limit=1, better="=="),
        Figure(f"{name}: delta", trial.patch_bytes, "bytes", note=others),
        Figure(
            f"{name}: share of the file",
            trial.patch_bytes / trial.new_bytes,
            "ratio",
            limit=pair.of_file,
        ),
    ]
    if bsdiff is not None:
        ratio = trial.patch_bytes / bsdiff.patch_bytes
        figures.append(Figure(f"{name}: against bsdiff4", ratio, "ratio", pair.of_bsdiff))
    if not pair.is_large and judged:
        best = min(judged, key=lambda tool: peers[tool].patch_bytes)
        against_best = trial.patch_bytes / peers[best].patch_bytes
        figures.append(
            Figure(f"{name}: against the best", against_best, "ratio", pair.of_best, note=best)
        )
    if pair.name in _SEARCHED_IN_VAIN:
        for_ten_megabytes = trial.create.cpu_s / (trial.new_bytes / 1e7)
        figures.append(
            Figure(f"{name}: making it, for each 10 MB", for_ten_megabytes, "CPU s", limit=5)
        )
    return figures + (_timed(pair, trial, bsdiff) if pair.is_timed and bsdiff else [])


def _timed(pair: Pair, trial: DeltaTrial, bsdiff: PeerRun) -> list[Figure]:
    create = trial.create.cpu_s / bsdiff.create_cpu_s
    apply = trial.apply.cpu_s / bsdiff.apply_cpu_s
    return [
        Figure(
            f"{pair.name}: CPU to create, against bsdiff4",
            create,
            "ratio",
            limit=1 / 50 if pair.is_large else 1 / 10,
            note=f"{trial.create.cpu_s:.2f} s against {bsdiff.create_cpu_s:.1f} s",
        ),
        Figure(
            f"{pair.name}: CPU to apply, against bsdiff4",
            apply,
            "ratio",
            limit=0.35 if pair.is_large else None,
            note=f"{trial.apply.cpu_s:.2f} s against {bsdiff.apply_cpu_s:.1f} s",
        ),
        Figure(
            f"{pair.name}: memory to create",
            trial.create.peak_bytes / 1e6,
            "MB",
            limit=256,
            note="above the bare interpreter, workers added",
        ),
        Figure(
            f"{pair.name}: memory to apply",
            trial.apply.peak_bytes / 1e6,
            "MB",
            limit=64,
            note=f"above interpreter and numpy; bsdiff4 {bsdiff.apply_peak_bytes / 1e6:.0f} MB",
        ),
    ]


def _memory(trials: dict[str, DeltaTrial]) -> list[Figure]:
    """How much the memory to apply grows from a small model to a large one."""
    small, large = (trials.get(f"made, fp32, {size} MB") for size in ("8.7", "90"))
    if small is None or large is None:
        return []
    growth = (large.apply.peak_bytes - small.apply.peak_bytes) / 1e6
    return [Figure("memory to apply, 90 MB less 8.7 MB", growth, "MB", limit=4)]
