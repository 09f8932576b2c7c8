"""The `full` payload: one zstd frame a file, end to end, or the image as it is if smaller.

Frames of their own let a device that has a file already leave its frame unfetched; a decoder that
reads across frames sees the whole image all the same. Decides how hard to compress; how a payload
is cut into chunks and offered is left to others.
The decoder is `slotcast_schemas.codecs.full`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.full import WINDOW_MAX_BYTES, Compression

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are packed or copied at once."""

_NARROW_LOG: Final = 18
"""A window of 256 KiB, as a power of two."""
_QUICK_LEVEL: Final = 1
"""The level of zstd by which windows are compared."""

_WORTH_A_WIDE_WINDOW: Final = 0.995
"""The share of what a narrow window gives below which a wide one pays, which costs devices
memory."""

_BEST_LEVEL_UP_TO_BYTES: Final = 32 * 1024 * 1024
"""The most bytes of an image that zstd packs at its best usual level, 19; of a larger one it takes
too long."""

_WORTH_UNPACKING: Final = 0.99
"""The share of the image above which packing does not pay, and it travels as it is."""


@dataclass(frozen=True, slots=True)
class FullReport:
    """What `encode_full` wrote."""

    image_size_bytes: int
    payload_size_bytes: int
    compression: Compression
    frames: tuple[int, ...]
    """Bytes of the payload that each file takes, in order."""


def choose_level(image_size_bytes: int) -> int:
    """Choose the slow zstd level that is tried beside the fastest one, by the image's size.

    Trained weights shrink by their exponents' entropy, which every level finds; a graph, text and
    int8 weights by more. So the slowest level is kept for images where it costs seconds.
    """
    return 19 if image_size_bytes <= _BEST_LEVEL_UP_TO_BYTES else 9


def encode_full(
    files: Image, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> FullReport:
    """Write the image of `files` to `out`; the same files give the same bytes.

    Args:
        files: the release's files in manifest order.
        out: the payload; replaced if it exists.
        progress: told bytes done and bytes in all.

    Returns:
        Sizes, and how the payload is packed: as zstd only if that saves at least 1 %.

    Raises:
        OSError: a file cannot be read, or `out` cannot be written.
    """
    sizes = tuple(path.stat().st_size for _, path in files)
    size_bytes = sum(sizes)
    level = choose_level(size_bytes)
    frames = _write(files, out, size_bytes, level, progress)
    if sum(frames) <= size_bytes * _WORTH_UNPACKING:
        return FullReport(size_bytes, sum(frames), "zstd", frames)
    with out.open("wb") as target:
        for _, path in files:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, _STEP_BYTES)
    return FullReport(size_bytes, size_bytes, "none", sizes)


def _write(
    files: Image,
    out: Path,
    size_bytes: int,
    level: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, ...]:
    frames: list[int] = []
    done_bytes = 0

    def count_piece(piece_bytes: int) -> None:
        nonlocal done_bytes
        done_bytes += piece_bytes
        if progress is not None:
            progress(done_bytes, size_bytes)

    with out.open("wb") as target:
        for _, path in files:
            frames.append(_write_frame(path, target, level, count_piece))
    return tuple(frames)


def _write_frame(
    path: Path, target: BinaryIO, level: int, count_piece: Callable[[int], None]
) -> int:
    """Write a file's frame, by the fastest level where no other makes it smaller; give its size.

    On fp32 weights that is so, and such a frame is decoded sooner (docs/adr/0006).
    """
    start = target.tell()
    choice = _choose_window(path)
    _pack(path, _parameters(level, path, choice.window_log), target.write, count_piece)
    if target.tell() - start >= choice.size_bytes:
        target.seek(start)
        target.truncate()
        _pack(path, _parameters(_QUICK_LEVEL, path, choice.window_log), target.write)
    return target.tell() - start


@dataclass(frozen=True, slots=True)
class _WindowChoice:
    """What a file takes at the fastest level, and the window that it is worth."""

    window_log: int
    size_bytes: int


def _choose_window(path: Path) -> _WindowChoice:
    """A window is what a decoding device holds in memory: 256 KiB, where more saves nothing.

    On the real models at hand 8 MiB saves under 0.02 % (docs/adr/0006). A file that repeats itself
    at a distance, such as one with a tensor stored twice, is worth more; the fastest level tells,
    for it looks for matches at a distance too.
    """
    widest = min(WINDOW_MAX_BYTES.bit_length() - 1, max(10, path.stat().st_size.bit_length()))
    log = min(_NARROW_LOG, widest)
    narrow = _WindowChoice(log, _packed_bytes(path, log))
    if widest == log:
        return narrow
    wide = _WindowChoice(widest, _packed_bytes(path, widest))
    return wide if wide.size_bytes < narrow.size_bytes * _WORTH_A_WIDE_WINDOW else narrow


def _packed_bytes(path: Path, window_log: int) -> int:
    sizes: list[int] = []
    _pack(path, _parameters(_QUICK_LEVEL, path, window_log), lambda data: sizes.append(len(data)))
    return sum(sizes)


def _parameters(level: int, path: Path, window_log: int) -> zstandard.ZstdCompressionParameters:
    """One thread, so that the bytes do not depend on how many cores there are."""
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=path.stat().st_size,
        window_log=window_log,
        write_content_size=1,
        enable_ldm=level == _QUICK_LEVEL,
    )


def _pack(
    path: Path,
    parameters: zstandard.ZstdCompressionParameters,
    write: Callable[[bytes], object],
    count_piece: Callable[[int], None] = lambda _: None,
) -> None:
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    packing = compressor.compressobj(size=path.stat().st_size)
    with path.open("rb") as source:
        while piece := source.read(_STEP_BYTES):
            write(packing.compress(piece))
            count_piece(len(piece))
    write(packing.flush())
