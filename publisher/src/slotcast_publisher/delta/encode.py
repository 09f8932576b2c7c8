"""The delta encoder: an old image and a new image in, a payload out.

Finds tensors, matches them, plans sections, has them encoded on all cores and writes them in order.
The same files give the same payload, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from slotcast_publisher.delta.alignment import cut_alike
from slotcast_publisher.delta.field_order import (
    Runs,
    in_field_order,
    shuffled_and_trained,
    take_apart,
)
from slotcast_publisher.delta.guess_doubt import is_guess_doubtful, is_only_one_told
from slotcast_publisher.delta.known_moves import NOTHING_KNOWN, KnownMoves
from slotcast_publisher.delta.layout import find_tensors, image_of
from slotcast_publisher.delta.origins import find_origins
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.delta.section import EncodedSection, SegmentUse, encode_section
from slotcast_publisher.delta.sectioning import SectionPlan, plan_sections
from slotcast_publisher.delta.shorter import shorten
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.headers import (
    FEATURE_GATHER,
    FEATURE_RECORDS,
    HEADER_SIZE,
    KNOWN_FEATURES,
    Header,
)
from slotcast_schemas.codecs.delta.records import RECORDS_SIZE_BYTES, pack_runs
from slotcast_schemas.codecs.source import Source

_HASH_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are read and hashed at once."""

_POOL_FROM_SECTIONS: Final = 3
"""The least number of sections for which other processes are started."""

_POOL_FROM_BYTES: Final = 16 * 1024 * 1024
"""The least bytes of a target for which other processes are started: each start is a third of a
second of CPU, in which one process encodes 5 MB (`make bench ARGS=delta`)."""


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One line of the table of segments."""

    kind: str
    segments: int
    target_bytes: int
    coded_bytes: int


@dataclass(frozen=True, slots=True)
class DeltaReport:
    """What `encode_delta` wrote."""

    base_size_bytes: int
    base_sha256: bytes
    image_size_bytes: int
    payload_size_bytes: int
    section_count: int
    segments: list[SegmentRow]
    features: int = 0
    """What the decoder must be able to do, beyond what every decoder can."""


def encode_delta(
    base: Image,
    target: Image,
    out: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
    known: KnownMoves = NOTHING_KNOWN,
    features: int = KNOWN_FEATURES,
) -> DeltaReport:
    """Write to `out` what makes the image of `target` from that of `base`.

    Args:
        base: files of the release that devices hold.
        target: files of the new release.
        out: the payload; replaced if it exists.
        progress: told bytes of the target done, and in all.
        workers: processes to use; the payload does not depend on it.
        known: how `rebase` made the target, if it did; a wrong word here only costs bytes.
        features: those that a decoder may be asked for, a bit each; 0 for what every one can.

    Raises:
        SlotDamaged: a file cannot be read, or changed while it was.
        OSError: `out` cannot be written.
    """
    encode = partial(
        _encode, base, target, progress=progress, workers=workers, known=known, features=features
    )
    report = encode(out, _Way())
    beside = out.with_name(f"{out.name}.beside")
    try:
        for way in _other_ways(base, target, features, report):
            other = encode(beside, way)
            if other.payload_size_bytes < report.payload_size_bytes:
                beside.replace(out)
                report = other
        shorter = shorten(out, base, target)
        if shorter is not None:
            report = replace(report, payload_size_bytes=shorter[0], section_count=shorter[1])
        return report
    finally:
        beside.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Way:
    """How to look at both images: which tensors of blocks stay whole, and where guesses count."""

    whole: frozenset[str] = frozenset()
    is_guessing: bool = True
    is_opaque: bool = False

    def tensors_of(self, files: Image) -> list[TensorPlace]:
        places = find_tensors(files, is_opaque=self.is_opaque)
        return places if self.is_guessing else [each for each in places if not each.is_guess]


def _other_ways(base: Image, target: Image, features: int, report: DeltaReport) -> Iterator[_Way]:
    """Give the ways that may come to less than the first one did."""
    with image_of(base) as old, image_of(target) as new:
        both = old, find_tensors(base), new, find_tensors(target)
        whole = frozenset[str]()
        if features & FEATURE_RECORDS & report.features:
            whole = shuffled_and_trained(*both)
        is_doubtful = is_guess_doubtful(*both, report.payload_size_bytes)
        is_one_opaque = is_only_one_told(both[1], both[3], report.payload_size_bytes)
    if whole:
        yield _Way(whole)
    if is_doubtful:
        yield _Way(is_guessing=False)
    if is_one_opaque:
        yield _Way(is_opaque=True)


def _encode(
    base: Image,
    target: Image,
    out: Path,
    way: _Way,
    *,
    progress: Callable[[int, int], None] | None,
    workers: int,
    known: KnownMoves,
    features: int,
) -> DeltaReport:
    with image_of(base) as old, image_of(target) as new:
        old_tensors, new_tensors = way.tensors_of(base), way.tensors_of(target)
        ordered = _Ordered.of(old, old_tensors, new, new_tensors, features, way.whole)
        may_gather = bool(features & FEATURE_GATHER)
        plans = _plan(*ordered.sources(old, new), ordered, may_gather=may_gather)
        sha256 = _sha256(old)
        header = Header(old.size_bytes, new.size_bytes, sha256, len(plans))
        needed, table = ordered.features, ordered.table()
        if any(plan.has_gathered for plan in plans):
            needed |= FEATURE_GATHER
        rows: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
        done_bytes, payload_bytes = 0, HEADER_SIZE + len(table)
        with out.open("wb") as file:
            file.write(header.pack() + table)
            for section in _encoded(
                base, target, plans, partial(_encode_one, known, features, ordered.runs), workers
            ):
                file.write(section.payload)
                needed |= section.features
                payload_bytes += len(section.payload)
                done_bytes += section.image_bytes
                _add_uses(rows, section.uses)
                if progress is not None:
                    progress(done_bytes, new.size_bytes)
            file.seek(0)
            file.write(replace(header, features=needed).pack())
        return DeltaReport(
            base_size_bytes=old.size_bytes,
            base_sha256=sha256,
            image_size_bytes=new.size_bytes,
            payload_size_bytes=payload_bytes,
            section_count=len(plans),
            segments=[SegmentRow(kind, *row) for kind, row in rows.items()],
            features=needed,
        )


@dataclass(frozen=True, slots=True)
class _Ordered:
    """The tensors of both images, in field order where that pays and a decoder may be asked it."""

    old_tensors: list[TensorPlace]
    new_tensors: list[TensorPlace]
    runs: Runs

    @classmethod
    def of(
        cls,
        base: Source,
        old: list[TensorPlace],
        target: Source,
        new: list[TensorPlace],
        features: int,
        whole: frozenset[str],
    ) -> _Ordered:
        if not features & FEATURE_RECORDS:
            return cls(old, new, ((), ()))
        old, old_runs, new, new_runs = take_apart(base, old, target, new, whole)
        return cls(old, new, (tuple(old_runs), tuple(new_runs)))

    @property
    def features(self) -> int:
        return FEATURE_RECORDS if any(self.runs) else 0

    def sources(self, old: Source, new: Source) -> tuple[Source, Source]:
        return in_field_order(old, new, self.runs)

    def table(self) -> bytes:
        """What follows the header: how long the runs are, and the runs."""
        if not self.features:
            return b""
        packed = pack_runs(*self.runs)
        return len(packed).to_bytes(RECORDS_SIZE_BYTES, "little") + packed


def _plan(old: Source, new: Source, ordered: _Ordered, *, may_gather: bool) -> list[SectionPlan]:
    old_tensors, new_tensors = cut_alike(old, ordered.old_tensors, new, ordered.new_tensors)
    if not new.size_bytes:
        return []
    origins = find_origins(old, old_tensors, new, new_tensors, may_gather=may_gather)
    return plan_sections(old.size_bytes, new.size_bytes, origins)


def _encoded(
    base: Image,
    target: Image,
    plans: list[SectionPlan],
    encode_one: Callable[[Image, Image, SectionPlan], EncodedSection],
    workers: int,
) -> Iterator[EncodedSection]:
    """Sections in order, a few at a time, so that finished ones do not pile up in memory."""
    if workers <= 1 or not _pays_a_pool(plans):
        for plan in plans:
            yield encode_one(base, target, plan)
        return
    # Spawned, not forked: the caller may have threads, and a fork would share its memory's count.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(plans)), mp_context=context) as pool:
        ahead = []
        for plan in plans:
            ahead.append(pool.submit(encode_one, base, target, plan))
            if len(ahead) > workers:
                yield ahead.pop(0).result()
        for future in ahead:
            yield future.result()


def _pays_a_pool(plans: list[SectionPlan]) -> bool:
    if len(plans) < _POOL_FROM_SECTIONS or sum(p.size_bytes for p in plans) < _POOL_FROM_BYTES:
        return False
    # Sections that are searched by suffixes take turns, or they would not fit the memory together.
    return not any(plan.is_heavy for plan in plans)


def _encode_one(
    known: KnownMoves, features: int, runs: Runs, base: Image, target: Image, plan: SectionPlan
) -> EncodedSection:
    with image_of(base) as old, image_of(target) as new:
        sources = in_field_order(old, new, runs)
        return encode_section(*sources, plan, known, features=features)


def _add_uses(rows: dict[str, list[int]], uses: list[SegmentUse]) -> None:
    for use in uses:
        row = rows[use.kind]
        row[0] += 1
        row[1] += use.target_bytes
        row[2] += use.coded_bytes


def _sha256(source: Source) -> bytes:
    digest = hashlib.sha256()
    for offset in range(0, source.size_bytes, _HASH_STEP_BYTES):
        size_bytes = min(_HASH_STEP_BYTES, source.size_bytes - offset)
        digest.update(source.read_at(offset, size_bytes))
    return digest.digest()
