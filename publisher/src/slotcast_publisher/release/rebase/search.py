"""Rebasing: a new model moved a little, so that its delta becomes small, and never silently.

A full fine-tune moves every weight, and most of each move is noise. `rebase` quantises the moves
with one step for the whole model and rebuilds the new model from old + steps itself; *that* model
is released and signed, so devices are still bit-exact to what was signed. A closed loop finds the
coarsest step that keeps the user's own measure. Later deltas start from what devices hold, so
nothing drifts. What the measure is, is left to the caller; `rebase_quality` has two.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.encode import DeltaReport, encode_delta
from slotcast_publisher.delta.known_moves import KnownMoves
from slotcast_publisher.delta.layout import find_tensors, image_of
from slotcast_publisher.delta.low_rank import factor_bits, fit_low_rank
from slotcast_publisher.delta.match import Match, match_tensors
from slotcast_publisher.delta.tensors import TensorPair
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.elements import FLOAT16, FLOAT32, Bits, ElementKind
from slotcast_schemas.codecs.delta.predict import apply_low_rank, apply_rebase
from slotcast_schemas.codecs.delta.segments import (
    LowRank,
    Rebase,
    TensorSegment,
    Transposition,
)
from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import UsageError

Measure = Callable[[Image], float]
"""How good a model is, the more the better; it is given the files of a candidate."""

COARSENESS: Final = (4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
"""The steps that are tried, as multiples of the mean square root of all moves, coarsest first."""

_BISECTIONS: Final = 2
"""The number of times that the gap between a step that passed and one that did not is halved."""

_DEAD_ZONE: Final = 0.1
"""How much later than at one half a move is rounded up, in steps: moves under 0.6 of a step are
dropped, which saves symbols for hardly more error."""

_FACTORED_ENERGY: Final = 1e-3
"""The share of a move's energy that low-rank factors may miss."""

_FACTORED_BITS: Final = 1.0
"""The bits for each weight above which factors are worse than steps, which cost one or two."""


class NotRebasable(UsageError):
    """No step keeps the measure, or nothing in the model can be rebased."""


@dataclass(frozen=True, slots=True)
class RebaseRow:
    """One candidate: how coarse, what its delta weighs, and how good it is."""

    coarseness: float
    payload_bytes: int
    quality: float
    is_kept: bool


@dataclass(frozen=True, slots=True)
class RebaseReport:
    """What was made, and how far it is from what was given.

    Attributes:
        files: the rebased model's files, in the order of the given ones.
        known: how it was made, for `encode_delta`.
        rows: every candidate, in the order tried; `chosen` is the one that `files` holds.
        given_quality: the measure of the model as it was given.
        moved: root mean square of rebased less given, as a share of given less old.
        delta: the payload's report.
    """

    files: Image
    known: KnownMoves
    rows: list[RebaseRow]
    chosen: RebaseRow
    given_quality: float
    moved: float
    delta: DeltaReport


@dataclass(slots=True)
class _Plan:
    """Which tensors are rebased, and how."""

    base: Image
    target: Image
    matches: list[Match]
    rms: float = 0.0
    factors: dict[int, LowRank] = field(default_factory=dict)


def rebase(
    base: Image,
    target: Image,
    folder: Path,
    *,
    measure: Measure,
    at_least: float,
    workers: int = 1,
    say: Callable[[RebaseRow], object] = lambda _: None,
) -> RebaseReport:
    """Find the coarsest step that keeps the measure, and write that model and its delta.

    Args:
        base: files that devices hold.
        target: files of the new model, as they were given.
        folder: gets `image/`, the rebased files, and `payload`, the delta to them from the base.
        measure: of a candidate's files.
        at_least: what the measure must give for a candidate to be kept.
        workers: processes to make deltas with.
        say: told every candidate as it is tried.

    Raises:
        NotRebasable: the given model itself misses the measure, every step does, or no tensor of
            floats has an old self.
    """
    given_quality = measure(target)
    if not given_quality >= at_least:
        raise NotRebasable(
            f"expected the given model to measure at least {at_least:g}, got {given_quality:g}"
        )
    plan = _plan(base, target)
    rows: list[RebaseRow] = []

    def attempt(coarseness: float) -> RebaseRow:
        row, _ = _attempt(plan, coarseness, folder, measure, at_least, workers)
        rows.append(row)
        say(row)
        return row

    chosen = _search(attempt)
    if chosen is None:
        best = max(row.quality for row in rows)
        raise NotRebasable(
            f"expected a step that keeps the measure at {at_least:g}, the best reached {best:g}; "
            "release without rebasing, or allow a lower measure"
        )
    row, report = _attempt(plan, chosen.coarseness, folder, measure, at_least, workers)
    files = _files(folder, target)
    known = _known(plan, row.coarseness)
    moved = _distance(plan, files) / plan.rms if plan.rms else 0.0
    return RebaseReport(files, known, rows, row, given_quality, moved, report)


def _search(attempt: Callable[[float], RebaseRow]) -> RebaseRow | None:
    """From coarse to fine until one is kept, then between it and the last that was not."""
    refused: float | None = None
    for coarseness in COARSENESS:
        kept = attempt(coarseness)
        if kept.is_kept:
            break
        refused = coarseness
    else:
        return None
    for _ in range(_BISECTIONS if refused is not None else 0):
        assert refused is not None  # noqa: S101  (or there is no bisection)
        middle = attempt(math.sqrt(kept.coarseness * refused))
        if middle.is_kept:
            kept = middle
        else:
            refused = middle.coarseness
    return kept


def _plan(base: Image, target: Image) -> _Plan:
    """Matrices of floats with an old self; vectors are few bytes and stay exact."""
    with image_of(base) as old, image_of(target) as new:
        matches = [
            match
            for match in match_tensors(old, find_tensors(base), new, find_tensors(target))
            if match.new.kind in (FLOAT32, FLOAT16)
            and len(match.new.dims) > 1
            # What only looks like weights must stay as it is.
            and not match.new.is_guess
        ]
        plan = _Plan(base, target, matches)
        moves, count = 0.0, 0
        for match in matches:
            pair, tensor = _pair(match, old, new)
            factors = _factors(pair, tensor, match.new.row)
            if factors is not None:
                plan.factors[match.new.offset] = factors
                continue
            for _, before, after in pair.strips(tensor):
                moves += float(np.square(_moves(match.new.kind, before, after)).sum())
                count += len(before)
    if not plan.factors and not moves:
        raise NotRebasable("expected tensors of floats that moved, got none; nothing to rebase")
    plan.rms = math.sqrt(moves / count) if count else 0.0
    return plan


def _pair(match: Match, old: Source, new: Source) -> tuple[TensorPair, TensorSegment]:
    place = match.new
    tensor = TensorSegment(place.size_bytes, match.old.offset, place.kind, block=place.count)
    if match.is_transposed:
        rows, columns = match.old.dims
        tensor = replace(tensor, transposed=Transposition(rows, columns, 0))
    return TensorPair(old, new, place.offset), tensor


def _moves(kind: ElementKind, old: Bits, new: Bits) -> NDArray[np.float64]:
    """New less old, zero where either is not finite."""
    float_type = np.dtype("<f2") if kind == FLOAT16 else np.dtype("<f4")
    with np.errstate(all="ignore"):
        moves = new.view(float_type).astype(np.float64) - old.view(float_type)
    return np.where(np.isfinite(moves), moves, 0.0)


def _factors(pair: TensorPair, tensor: TensorSegment, row: int) -> LowRank | None:
    """Factors that are all of the move but for rounding, the shortest numbers of them."""
    best = None
    for factors in fit_low_rank(pair, tensor, row):
        if factor_bits(factors) > _FACTORED_BITS * tensor.count:
            continue
        missed, total = 0.0, 0.0
        product = factors.left.astype(np.float64) @ factors.right
        for first, old, new in pair.strips(tensor):
            moves = _moves(tensor.kind, old, new)
            missed += float(np.square(moves - product.ravel()[first : first + len(old)]).sum())
            total += float(np.square(moves).sum())
        if missed <= _FACTORED_ENERGY * total:
            best = factors
    return best


def _known(plan: _Plan, coarseness: float) -> KnownMoves:
    step = np.float32(coarseness * plan.rms)
    return KnownMoves(Rebase(step) if step > 0 else None, plan.factors)


def _attempt(
    plan: _Plan,
    coarseness: float,
    folder: Path,
    measure: Measure,
    at_least: float,
    workers: int,
) -> tuple[RebaseRow, DeltaReport]:
    known = _known(plan, coarseness)
    files = _files(folder, plan.target)
    _write(plan, known, files)
    report = encode_delta(plan.base, files, folder / "payload", workers=workers, known=known)
    quality = measure(files)
    is_kept = bool(quality >= at_least)
    return RebaseRow(coarseness, report.payload_size_bytes, quality, is_kept), report


def _files(folder: Path, target: Image) -> list[tuple[str, Path]]:
    return [(name, folder / "image" / name) for name, _ in target]


def _write(plan: _Plan, known: KnownMoves, files: list[tuple[str, Path]]) -> None:
    """The given files with the rebased tensors' bytes in their places."""
    starts: list[tuple[int, Path]] = []
    end = 0
    for (_, given), (_, path) in zip(plan.target, files, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(given, path)
        starts.append((end, path))
        end += given.stat().st_size
    with image_of(plan.base) as old, image_of(plan.target) as new:
        for match in plan.matches:
            start, path = max(each for each in starts if each[0] <= match.new.offset)
            pair, tensor = _pair(match, old, new)
            with path.open("r+b") as file:
                for first, bits in _rebased(pair, tensor, match, known):
                    offset = match.new.offset - start + tensor.kind.size_bytes(first)
                    os.pwrite(file.fileno(), bits.tobytes(), offset)


def _rebased(
    pair: TensorPair, tensor: TensorSegment, match: Match, known: KnownMoves
) -> Iterator[tuple[int, Bits]]:
    """The strips that change, from their first element on."""
    factors = known.factors.get(match.new.offset)
    if factors is not None:
        columns = factors.right.shape[1]
        # Strips of whole rows, as the decoder will have them.
        tensor = replace(tensor, predictor=factors)
        for first, old, _ in pair.strips(tensor):
            left = factors.left[first // columns : (first + len(old)) // columns]
            yield first, apply_low_rank(tensor.kind, LowRank(left, factors.right), old)
    elif known.rebase is not None and _is_within(pair, tensor, known.rebase):
        for first, old, new in pair.strips(tensor):
            steps = _steps(_moves(tensor.kind, old, new), known.rebase)
            difference = steps.astype(tensor.kind.signed).view(tensor.kind.unsigned)
            yield first, apply_rebase(tensor.kind, known.rebase, old, difference)


def _steps(moves: NDArray[np.float64], rebase: Rebase) -> NDArray[np.float64]:
    scaled = moves / np.float64(rebase.step)
    whole: NDArray[np.float64] = np.floor(np.abs(scaled) + (0.5 - _DEAD_ZONE))
    return np.copysign(whole, scaled)


def _is_within(pair: TensorPair, tensor: TensorSegment, rebase: Rebase) -> bool:
    """Whether every element is finite and few enough steps away; else the tensor stays as given."""
    limit = min(1 << 24, (1 << (tensor.kind.bits - 1)) - 1)
    float_type = np.dtype("<f2") if tensor.kind == FLOAT16 else np.dtype("<f4")
    for _, old, new in pair.strips(tensor):
        if not np.all(np.isfinite(new.view(float_type))):
            return False
        if np.abs(_steps(_moves(tensor.kind, old, new), rebase)).max() > limit:
            return False
    return True


def _distance(plan: _Plan, files: Image) -> float:
    """Root mean square of what was written less what was given, over the stepped tensors."""
    missed, count = 0.0, 0
    with image_of(plan.target) as given, image_of(files) as made:
        for match in plan.matches:
            place = match.new
            if place.offset in plan.factors:
                continue
            tensor = TensorSegment(place.size_bytes, place.offset, place.kind)
            for _, before, after in TensorPair(given, made, place.offset).strips(tensor):
                missed += float(np.square(_moves(place.kind, before, after)).sum())
                count += len(before)
    return math.sqrt(missed / count) if count else 0.0


def table(report: RebaseReport) -> list[str]:
    """Give size against quality, a line for each candidate, and what was chosen."""
    image_bytes = report.delta.image_size_bytes
    lines = [f"{'step / rms':>10}{'delta bytes':>14}{'of the file':>13}{'measure':>12}"]
    for row in sorted(report.rows, key=lambda row: -row.coarseness):
        mark = "  <- chosen" if row.coarseness == report.chosen.coarseness else ""
        sizes = f"{row.payload_bytes:>14,}{row.payload_bytes / image_bytes:>13.2%}"
        lines.append(f"{row.coarseness:>10.3f}{sizes}{row.quality:>12.6f}{mark}")
    said = (
        f"this release is rebased: it measures {report.chosen.quality:.6f}, as given "
        f"{report.given_quality:.6f}; its weights are {report.moved:.1%} of their move off"
    )
    return [*lines, said]
