"""Which deltas a release is offered by: from the last releases, or those asked for; if they pay.

How a delta is coded is left to `delta`; that it rebuilds the image is proven by `payloads`.
From which releases a rollout has deltas made is decided by `fleet.steering.observing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_publisher.delta.workers import default_workers
from slotcast_publisher.durable import storage_errors
from slotcast_publisher.errors import NotFound
from slotcast_publisher.release.payloads import Builder, FullBuilder, PayloadCandidate, Progress
from slotcast_publisher.release.weights_builder import WeightsBuilder

if TYPE_CHECKING:
    from slotcast_publisher.delta.encode import DeltaReport
    from slotcast_publisher.delta.known_moves import KnownMoves
    from slotcast_publisher.image_files import Image
    from slotcast_publisher.release.rebase.wanted import Rebasing
    from slotcast_publisher.store import ReleaseFolder

CODEC: Final = "delta+v1"
"""The name in offers of a delta that every device can decode."""

CODEC_WITH_FEATURES: Final = "delta+v2"
"""The name of one that asks for a feature of the format; devices of before pass it over."""

CODEC_COMPACT: Final = "delta+v3"
"""The name of one in the compact form; devices of before pass it over, too."""

WORTH_FEATURES: Final = 0.98
"""The largest share of the plain delta at which one with features is offered beside it, and of the
smaller of these at which one in the compact form is."""

BASES_BY_DEFAULT: Final = 3
"""The number of earlier releases that deltas start from, unless asked."""

WORTH_A_DELTA: Final = 0.85
"""The largest share of the full payload at which a delta is offered; a larger one costs a device
more than it spares."""
DECODER_MEMORY_BYTES: Final = 64 * 1024 * 1024
"""The bytes that decoding needs at most, whatever the model's size; `make bench` measures it."""


@dataclass(frozen=True, slots=True)
class DeltaBuilder:
    """Makes deltas from earlier releases.

    Attributes:
        versions: the releases to start from; None for the last ones with another image, those
            first that were offered and not withdrawn, since these are what devices hold.
        count: how many of the last.
        worth: the largest share of the full payload at which a delta is offered.
        rebasing: how the release was rebased, if it was: its delta from that base is then
            coded as the steps that made it.
        workers: processes that work on a delta at once; as many as the machine allows unless given.
    """

    versions: tuple[str, ...] | None = None
    count: int = BASES_BY_DEFAULT
    worth: float = WORTH_A_DELTA
    rebasing: Rebasing | None = None
    workers: int | None = None

    @property
    def name(self) -> str:
        """What `payloads.json` calls it; from other bases it has another name, and runs anew."""
        return "deltas" if self.versions is None else f"deltas:{','.join(self.versions)}"

    def build(
        self,
        release: ReleaseFolder,
        earlier: Sequence[ReleaseFolder],
        out: Path,
        progress: Progress,
    ) -> list[PayloadCandidate]:
        """Give the deltas that pay, from each base once.

        Args:
            release: the release to make deltas to.
            earlier: the releases before it, by growing sequence.
            out: an empty folder for the deltas.
            progress: told what is being done.

        Raises:
            NotFound: a version was asked for that is no earlier release.
        """
        # The encoder brings numpy, which who only asks for the builder's name does not need.
        from slotcast_publisher.delta.encode import encode_delta

        full = _full_bytes(release)
        made: list[PayloadCandidate] = []
        for number, base in enumerate(self._choose_bases(release, earlier)):
            images = base.images(), release.images()
            encode = partial(
                encode_delta,
                *images,
                progress=partial(progress, f"delta from {base.load().version}"),
                workers=self.workers or default_workers(),
                known=self._moves_from(base),
            )
            target = out / f"delta-{number}.bin"
            with storage_errors(target):
                deltas = list(_deltas(encode, target, full * self.worth))
                deltas += _compact(images, deltas, target)
                made += [
                    _candidate(file, codec, base)
                    for file, codec, size_bytes in deltas
                    if not full or size_bytes <= full * self.worth
                ]
        return made

    def _moves_from(self, base: ReleaseFolder) -> KnownMoves:
        from slotcast_publisher.delta.known_moves import NOTHING_KNOWN

        rebasing = self.rebasing
        if rebasing is None or rebasing.base_version != base.load().version:
            return NOTHING_KNOWN
        return rebasing.report.known

    def _choose_bases(
        self, release: ReleaseFolder, earlier: Sequence[ReleaseFolder]
    ) -> list[ReleaseFolder]:
        """One base for each image: two releases of the same image would give the same delta."""
        done = {release.load().image_sha256}
        done |= {r.payload.base.image_sha256 for r in release.payloads() if r.payload.base}
        bases = []
        for candidate in self._candidate_bases(earlier):
            image = candidate.load().image_sha256
            if image not in done:
                done.add(image)
                bases.append(candidate)
        return bases if self.versions is not None else bases[: self.count]

    def _candidate_bases(self, earlier: Sequence[ReleaseFolder]) -> list[ReleaseFolder]:
        if self.versions is None:
            newest = list(reversed(earlier))
            held = [folder for folder in newest if folder.is_held]
            return held + [folder for folder in newest if not folder.is_held]
        by_version = {folder.load().version: folder for folder in earlier}
        for version in self.versions:
            if version not in by_version:
                raise NotFound(
                    f"expected an earlier release to make a delta from, got {version!r};"
                    f" there are {', '.join(by_version) or 'none'}"
                )
        return [by_version[version] for version in self.versions]


def _candidate(file: Path, codec: str, base: ReleaseFolder) -> PayloadCandidate:
    return PayloadCandidate(codec=codec, file=file, base=base, memory_bytes=DECODER_MEMORY_BYTES)


def _deltas(
    encode: Callable[..., DeltaReport], target: Path, most_bytes: float
) -> Iterator[tuple[Path, str, int]]:
    """Make the delta, and where it asks for a feature a plain one for devices of before."""
    report = encode(target)
    if not report.features:
        yield target, CODEC, report.payload_size_bytes
        return
    if most_bytes and report.payload_size_bytes > most_bytes:
        return  # and a plain one is larger still
    plain = target.with_suffix(".plain")
    plain_bytes = encode(plain, features=0).payload_size_bytes
    yield plain, CODEC, plain_bytes
    if report.payload_size_bytes <= plain_bytes * WORTH_FEATURES:
        yield target, CODEC_WITH_FEATURES, report.payload_size_bytes


def _compact(
    images: tuple[Image, Image], deltas: Sequence[tuple[Path, str, int]], target: Path
) -> list[tuple[Path, str, int]]:
    """Give the smallest delta in the compact form, where that is worth a row of the offer."""
    from slotcast_publisher.delta.compact import write_compact

    smallest = min(deltas, key=lambda each: each[2], default=None)
    if smallest is None:
        return []
    out = target.with_suffix(".compact")
    size_bytes = write_compact(smallest[0], *images, out)
    if size_bytes is None or size_bytes > smallest[2] * WORTH_FEATURES:
        return []
    return [(out, CODEC_COMPACT, size_bytes)]


def _full_bytes(release: ReleaseFolder) -> int:
    """Give the size of the full payload, 0 if there is none (yet)."""
    sizes = [
        each.payload.size_bytes
        for each in release.payloads()
        if each.is_image and each.payload.base is None
    ]
    return min(sizes, default=0)


def tell_rebasing(builder: Builder, rebasing: Rebasing | None) -> Builder:
    """Tell the one that makes deltas how the release was rebased."""
    if rebasing is None or not isinstance(builder, DeltaBuilder):
        return builder
    return replace(builder, rebasing=rebasing)


def all_builders(versions: tuple[str, ...] | None = None) -> tuple[Builder, ...]:
    """Give the ways that a release is offered by, in the order in which they are made.

    Args:
        versions: the releases that deltas start from; None for the last ones.
    """
    return FullBuilder(), WeightsBuilder(), DeltaBuilder(versions)


BUILDERS: Final = all_builders()
"""The ways that a release is offered by unless asked."""
