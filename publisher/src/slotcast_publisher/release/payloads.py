"""Payloads: built, proven by applying them, cut into chunks and mapped.

A `Builder` makes the payloads of one kind.
A payload that does not rebuild the very image is never offered: it is an error of ours.
How a codec packs is left to `full` and `delta`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Protocol

import msgspec

from slotcast_publisher.durable import copy_file, fsync_tree, storage_errors, write_atomic
from slotcast_publisher.store import PayloadRecord, ReleaseFolder
from slotcast_schemas import limits, wire
from slotcast_schemas.codecs.encrypted import PREFIX, EncryptedSource
from slotcast_schemas.codecs.source import FilesImage, FileSource, Sink, Source
from slotcast_schemas.errors import PayloadCorrupt
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Base, Payload
from slotcast_schemas.plain_files import open_regular

Progress = Callable[[str, int, int], None]
"""Told what is being done, bytes done, and bytes in all."""


def no_progress(what: str, done: int, total: int) -> None:
    """Say nothing.

    Args:
        what: what is being done.
        done: bytes that are done.
        total: bytes in all.
    """


WHOLE_IMAGE_BUILDERS: Final = ("build_full", "weights")
"""The names of the builders whose payloads need no base."""


class PayloadCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A payload that a builder wrote and nobody has proven yet.

    Attributes:
        plain_sha256: of what it holds, where it is encrypted.
        key: the payload's key, where it is encrypted.
        chunk_size_bytes: of its chunks, where they are sealed.
    """

    codec: str
    file: Path
    base: ReleaseFolder | None = None
    memory_bytes: int = 0
    frames: tuple[int, ...] = ()
    plain_sha256: bytes | None = None
    key: bytes = b""
    chunk_size_bytes: int = 0


Encrypt = Callable[[PayloadCandidate], PayloadCandidate]
"""Seals a payload, or leaves it as it is."""


def as_it_is(candidate: PayloadCandidate) -> PayloadCandidate:
    """Leave a payload as it is."""
    return candidate


class Builder(Protocol):
    """Makes payloads for a release; each goes into a file of its own in `out`.

    Its name is written down when it is through, so that it does not run twice for a release.
    """

    @property
    def name(self) -> str:
        """What `payloads.json` calls the builder; repositories remember it, so it never changes."""

    def build(
        self,
        release: ReleaseFolder,
        earlier: Sequence[ReleaseFolder],
        out: Path,
        progress: Progress,
    ) -> Sequence[PayloadCandidate]:
        """Give the payloads that are worth offering; none is a fine answer.

        Args:
            release: the release to make payloads for.
            earlier: the releases before it, by growing sequence.
            out: an empty folder for the payloads' files.
            progress: told what is being done.
        """


class FullBuilder:
    """Packs the whole image into one payload, which every device can use."""

    name: Final = "build_full"
    """The name that repositories remember, from the time when this was a function so called."""

    def build(
        self,
        release: ReleaseFolder,
        earlier: Sequence[ReleaseFolder],
        out: Path,
        progress: Progress,
    ) -> Sequence[PayloadCandidate]:
        """Give the full payload, which is always worth offering.

        Args:
            release: the release to pack.
            earlier: the releases before it, of which none is needed.
            out: an empty folder for the payload's file.
            progress: told what is being done.
        """
        from slotcast_publisher.release.full_payload import encode_full  # brings numpy

        del earlier
        target = out / "full.bin"
        with storage_errors(target):
            report = encode_full(
                release.images(), target, progress=lambda done, total: progress("pack", done, total)
            )
        codec = f"full+{report.compression}"
        return [PayloadCandidate(codec=codec, file=target, frames=report.frames)]


def add_payloads(
    release: ReleaseFolder,
    earlier: Sequence[ReleaseFolder],
    *,
    chunk_size_bytes: int,
    progress: Progress = no_progress,
    builders: Sequence[Builder],
    encrypt: Encrypt = as_it_is,
) -> list[PayloadRecord]:
    """Build, prove and keep a release's payloads; what is there already is kept.

    Args:
        release: the release to make payloads for.
        earlier: the releases before it, by growing sequence.
        chunk_size_bytes: where payloads are cut; the last chunk may be shorter.
        progress: told what is being done.
        builders: what makes them, in this order.
        encrypt: seals each before it is proven.

    Raises:
        PayloadCorrupt: a payload does not rebuild the image; nothing of it is kept.
        StorageFailed: no room, or a failing disk.
    """
    twin = _same_image(release, earlier)
    if twin is not None:
        _share_whole_images(twin, release, chunk_size_bytes)
    for builder in builders:
        if not release.is_built_by(builder.name):
            _build_payloads(builder, release, earlier, chunk_size_bytes, progress, encrypt)
            release.mark_built(builder.name)
    return release.payloads()


def _share_whole_images(twin: ReleaseFolder, release: ReleaseFolder, chunk_size_bytes: int) -> None:
    """Take over the payloads of the same image that need no base, where they are cut alike."""
    shared = [
        record
        for record in twin.payloads()
        if record.payload.base is None and record.payload.chunk_size_bytes == chunk_size_bytes
    ]
    for record in shared:
        release.share_payload(twin, record)
    for name in WHOLE_IMAGE_BUILDERS if shared else ():
        if twin.is_built_by(name):
            release.mark_built(name)


def _same_image(release: ReleaseFolder, earlier: Sequence[ReleaseFolder]) -> ReleaseFolder | None:
    """Find an earlier release with the same image, cut into files at the same places.

    An encrypted one has a key of its own, with which nothing else is sealed.
    """
    if release.load().encryption is not None:
        return None
    earlier = [each for each in earlier if each.load().encryption is None]
    wanted = _file_digests(release)
    return next((r for r in reversed(earlier) if _file_digests(r) == wanted), None)


def _file_digests(release: ReleaseFolder) -> tuple[bytes, ...]:
    return tuple(file.sha256 for file in release.load().files)


def _build_payloads(
    builder: Builder,
    release: ReleaseFolder,
    earlier: Sequence[ReleaseFolder],
    chunk_size_bytes: int,
    progress: Progress,
    encrypt: Encrypt,
) -> None:
    start_s = time.monotonic()
    staging = release.staging()
    for built in builder.build(release, earlier, staging, progress):
        candidate = encrypt(built)
        prove(candidate, release, progress)
        staged = staging / "payload"
        payload = cut(candidate, staged, chunk_size_bytes)
        record = PayloadRecord(
            payload=payload,
            image_size_bytes=release.load().image_size_bytes,
            build_s=round(time.monotonic() - start_s, 3),
        )
        release.add_payload(staged, record)
    release.drop_staging()


def prove(
    candidate: PayloadCandidate, release: ReleaseFolder, progress: Progress = no_progress
) -> None:
    """Apply a payload as a device would, and compare what comes out with the signed digest.

    Args:
        candidate: the payload.
        release: the release that it must rebuild.
        progress: told what is being done.

    Raises:
        PayloadCorrupt: it is not the image.
    """
    image = release.load()
    digest, done_bytes = hashlib.sha256(), 0

    def sink(data: bytes | memoryview) -> None:
        nonlocal done_bytes
        digest.update(data)
        done_bytes += len(data)
        progress("prove", done_bytes, image.image_size_bytes)

    with ExitStack() as stack:
        payload: Source = stack.enter_context(FileSource(candidate.file))
        if candidate.key:
            payload = EncryptedSource(
                payload,
                candidate.key,
                size_bytes=payload.size_bytes,
                chunk_size_bytes=candidate.chunk_size_bytes,
            )
        base = None
        if candidate.base is not None:
            base = stack.enter_context(image_source(candidate.base))
        _decode(candidate, payload, base, image.image_size_bytes, sink)
    if digest.digest() != image.image_sha256:
        raise PayloadCorrupt(
            f"{candidate.codec}: expected image {image.image_sha256.hex()[:16]},"
            f" got {digest.hexdigest()[:16]}; this is an error in Slotcast, please report it"
        )


def _decode(
    candidate: PayloadCandidate, payload: Source, base: Source | None, size_bytes: int, sink: Sink
) -> None:
    """Undo a codec with the very decoder that devices use."""
    # They bring numpy, and most commands decode nothing.
    from slotcast_schemas.codecs.delta.decoder import decode_delta
    from slotcast_schemas.codecs.full import FULL_CODECS, decode_full

    if candidate.base is not None and base is not None:
        decode_delta(
            payload,
            base,
            image_size_bytes=size_bytes,
            base_sha256=candidate.base.load().image_sha256,
            sink=sink,
        )
    else:
        compression = FULL_CODECS[candidate.codec.removeprefix(PREFIX)]
        decode_full(payload, image_size_bytes=size_bytes, sink=sink, compression=compression)


def image_source(release: ReleaseFolder) -> FilesImage:
    """Open a release's image."""
    return FilesImage([(release.files_dir / f.path, f.size_bytes) for f in release.load().files])


def cut(candidate: PayloadCandidate, staged: Path, chunk_size_bytes: int) -> Payload:
    """Lay a payload and the parts of its chunk map into `staged`.

    Args:
        candidate: the payload.
        staged: the folder to lay both into.
        chunk_size_bytes: where to cut; the last chunk may be shorter.
    """
    size_bytes, sha256 = copy_file(candidate.file, staged / "payload.bin")
    digests = chunk_digests(staged / "payload.bin", chunk_size_bytes)
    step = limits.MAP_PART_CHUNKS
    parts = [
        wire.encode(MapPart(payload=sha256, part=number, digests=b"".join(digests[at : at + step])))
        for number, at in enumerate(range(0, len(digests), step))
    ]
    for number, part in enumerate(parts):
        write_atomic(staged / "map" / str(number), part)
    fsync_tree(staged)
    return Payload(
        codec=candidate.codec,
        sha256=sha256,
        size_bytes=size_bytes,
        chunk_size_bytes=chunk_size_bytes,
        map_parts=tuple(hashlib.sha256(part).digest() for part in parts),
        base=None if candidate.base is None else base_of(candidate.base),
        memory_bytes=candidate.memory_bytes,
        frames=candidate.frames,
        plain_sha256=candidate.plain_sha256,
    )


def base_of(release: ReleaseFolder) -> Base:
    """Name a release as a delta's base."""
    found = release.load()
    return Base(
        sequence=found.sequence,
        version=found.version,
        image_sha256=found.image_sha256,
        size_bytes=found.image_size_bytes,
    )


def chunk_digests(payload: Path, chunk_size_bytes: int) -> list[bytes]:
    """Give the SHA-256 of every chunk of a payload."""
    digests = []
    with storage_errors(payload), open_regular(payload) as file:
        while chunk := file.read(chunk_size_bytes):
            digests.append(hashlib.sha256(chunk).digest())
    return digests
