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
from tempfile import TemporaryFile
from typing import IO, BinaryIO, Final

import zstandard

from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.full import WINDOW_MAX_BYTES, Compression
from slotcast_schemas.plain_files import open_regular

_STEP_BYTES: Final = 1024 * 1024
"""The bytes that are packed or copied at once."""

_NARROW_LOG: Final = 18
"""A window of 256 KiB, as a power of two."""
_QUICK_LEVEL: Final = 1
"""The level of zstd by which windows are compared."""

_WORTH_A_WIDE_WINDOW: Final = 0.9995
"""The share of what a narrow window gives below which a wide one pays, which costs devices
memory."""

_SURE_OF_A_WIDE_WINDOW: Final = 0.995
"""The share below which the quick level alone says so."""

_NOTHING_TO_FIND: Final = 0.999
"""The share of the quick level's size above which the slow level found nothing in the narrow
window, and is not asked for the wide one: so it is with weights."""

_BEST_LEVEL: Final = 19
"""zstd's best usual level, which packs 2 MB/s."""
_FASTER_LEVEL: Final = 9
"""zstd's level that packs faster, for what the best one makes hardly smaller."""

_BEST_LEVEL_UP_TO_BYTES: Final = 32 * 1024 * 1024
"""The most bytes of a file that are packed at the best level unasked; for a larger one, pieces of
it are asked first."""
_PIECE_BYTES: Final = 512 * 1024
_PIECES: Final = 8
_WORTH_THE_BEST_LEVEL: Final = 0.9995
"""The share of what the faster level makes of the pieces below which the best one pays."""

_WORTH_UNPACKING: Final = 0.999
"""The share of the image above which packing does not pay, and it travels as it is."""


@dataclass(frozen=True, slots=True)
class FullReport:
    """What `encode_full` wrote."""

    image_size_bytes: int
    payload_size_bytes: int
    compression: Compression
    frames: tuple[int, ...]
    """Bytes of the payload that each file takes, in order."""


def choose_level(path: Path) -> int:
    """Choose the slow zstd level that is tried beside the fastest one.

    Trained weights shrink by their exponents' entropy, which every level finds; a graph, text and
    int8 weights by more. So the slowest level is kept for files where it costs seconds, or where
    it pays: by pieces from all over the file.
    """
    size_bytes = path.stat().st_size
    if size_bytes <= _BEST_LEVEL_UP_TO_BYTES:
        return _BEST_LEVEL
    best, faster = (zstandard.ZstdCompressor(level) for level in (_BEST_LEVEL, _FASTER_LEVEL))
    best_bytes = faster_bytes = 0
    with open_regular(path) as file:
        for number in range(_PIECES):
            file.seek((size_bytes - _PIECE_BYTES) * number // (_PIECES - 1))
            piece = file.read(_PIECE_BYTES)
            best_bytes += len(best.compress(piece))
            faster_bytes += len(faster.compress(piece))
    return _BEST_LEVEL if best_bytes < faster_bytes * _WORTH_THE_BEST_LEVEL else _FASTER_LEVEL


def encode_full(
    files: Image, out: Path, *, progress: Callable[[int, int], None] | None = None
) -> FullReport:
    """Write the image of `files` to `out`; the same files give the same bytes.

    Args:
        files: the release's files in manifest order.
        out: the payload; replaced if it exists.
        progress: told bytes done and bytes in all.

    Returns:
        Sizes, and how the payload is packed: as zstd only if that saves at least 0.1 %.

    Raises:
        OSError: a file cannot be read, or `out` cannot be written.
    """
    sizes = tuple(path.stat().st_size for _, path in files)
    size_bytes = sum(sizes)
    frames = _write(files, out, size_bytes, progress)
    if sum(frames) <= size_bytes * _WORTH_UNPACKING:
        return FullReport(size_bytes, sum(frames), "zstd", frames)
    with out.open("wb") as target:
        for _, path in files:
            with open_regular(path) as source:
                shutil.copyfileobj(source, target, _STEP_BYTES)
    return FullReport(size_bytes, size_bytes, "none", sizes)


def _write(
    files: Image,
    out: Path,
    size_bytes: int,
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
            frames.append(_write_frame(path, target, count_piece))
    return tuple(frames)


def _write_frame(path: Path, target: BinaryIO, count_piece: Callable[[int], None]) -> int:
    """Write a file's frame, by the fastest level where no other makes it smaller; give its size.

    On fp32 weights that is so, and such a frame is decoded sooner (docs/adr/0006).
    """
    start, quick, level = target.tell(), _look(path), choose_level(path)
    with _temporary(target) as first, _temporary(target) as second:
        best = first
        _pack(path, _parameters(level, path, quick.first_window_log), first.write, count_piece)
        if quick.first_window_log < quick.widest_log and (
            first.tell() < quick.size_bytes * _NOTHING_TO_FIND
        ):
            _pack(path, _parameters(level, path, quick.widest_log), second.write)
            best = second if second.tell() < first.tell() * _WORTH_A_WIDE_WINDOW else first
        if best.tell() >= quick.size_bytes:
            _pack(path, _parameters(_QUICK_LEVEL, path, quick.window_log), target.write)
        else:
            best.seek(0)
            shutil.copyfileobj(best, target, _STEP_BYTES)
    return target.tell() - start


def _temporary(beside: BinaryIO) -> IO[bytes]:
    return TemporaryFile(dir=Path(beside.name).parent)


@dataclass(frozen=True, slots=True)
class _QuickFrame:
    """What a file takes at the fastest level, in the window that it is worth there.

    `first_window_log` is of the window that the slow level tries first, `widest_log` of the widest.
    """

    window_log: int
    size_bytes: int
    first_window_log: int
    widest_log: int


def _look(path: Path) -> _QuickFrame:
    """Give the quick frame, which tells where the slow level has to look.

    A window is what a decoding device holds in memory: 256 KiB, where more saves nothing. On most
    real models 8 MiB saves under 0.02 % (docs/adr/0006). A file that repeats itself at a distance,
    such as one with a tensor stored twice, is worth more; the fastest level finds long repeats.
    """
    widest = min(WINDOW_MAX_BYTES.bit_length() - 1, max(10, path.stat().st_size.bit_length()))
    log = min(_NARROW_LOG, widest)
    narrow_bytes = wide_bytes = _packed_bytes(path, log)
    if widest > log:
        wide_bytes = _packed_bytes(path, widest)
    is_sure = wide_bytes < narrow_bytes * _SURE_OF_A_WIDE_WINDOW
    if wide_bytes < narrow_bytes * _WORTH_A_WIDE_WINDOW:
        return _QuickFrame(widest, wide_bytes, widest if is_sure else log, widest)
    return _QuickFrame(log, narrow_bytes, log, widest)


def _count_nothing(size_bytes: int) -> None:
    """Leave bytes uncounted, which were or will be counted elsewhere."""


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
    count_piece: Callable[[int], None] = _count_nothing,
) -> None:
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    packing = compressor.compressobj(size=path.stat().st_size)
    with open_regular(path) as source:
        while piece := source.read(_STEP_BYTES):
            write(packing.compress(piece))
            count_piece(len(piece))
    write(packing.flush())
