"""The `full` payload: one zstd frame a file, end to end, or the image as it is if smaller.

Frames of their own let a device that has a file already leave its frame unfetched; a decoder that
reads across frames sees the whole image all the same. Decides how hard to compress; how a payload
is cut into chunks and offered is left to others.
The decoder is `slotcast_schemas.codecs.full`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import zstandard

from slotcast_schemas.codecs.full import WINDOW_MAX_BYTES, Compression

Image = Sequence[tuple[str, Path]]
"""A release's files in manifest order: each file's path in the release, and where it is now."""

_STEP_BYTES: Final = 1024 * 1024
_NARROW_LOG: Final = 18
"""A window of 256 KiB, as a power of two."""
_WORTH_A_WIDE_WINDOW: Final = 0.995
_BEST_LEVEL_UP_TO_BYTES: Final = 32 * 1024 * 1024
_WORTH_UNPACKING: Final = 0.99


@dataclass(frozen=True, slots=True)
class FullReport:
    """What `encode_full` wrote."""

    image_size_bytes: int
    payload_size_bytes: int
    compression: Compression
    level: int
    frames: tuple[int, ...]
    """Bytes of the payload that each file takes, in order."""


def choose_level(image_size_bytes: int) -> int:
    """The zstd level for an image of that size.

    Trained weights shrink by their exponents' entropy, which every level finds: on a 90 MB fp32
    model level 19 saves 1 % more than level 3 for 40 times the time. So the slow level is kept for
    images where it costs seconds, such as int8 models, whose graph is a large part.
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
        return FullReport(size_bytes, sum(frames), "zstd", level, frames)
    with out.open("wb") as target:
        for _, path in files:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, _STEP_BYTES)
    return FullReport(size_bytes, size_bytes, "none", 0, sizes)


def _write(
    files: Image,
    out: Path,
    size_bytes: int,
    level: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[int, ...]:
    frames: list[int] = []
    done_bytes = 0
    with out.open("wb") as target:
        for _, path in files:
            start = target.tell()
            file_bytes = path.stat().st_size
            compressor = zstandard.ZstdCompressor(
                compression_params=_parameters(level, path, file_bytes)
            )
            with (
                path.open("rb") as source,
                compressor.stream_writer(target, size=file_bytes, closefd=False) as stream,
            ):
                while piece := source.read(_STEP_BYTES):
                    stream.write(piece)
                    done_bytes += len(piece)
                    if progress is not None:
                        progress(done_bytes, size_bytes)
            frames.append(target.tell() - start)
    return tuple(frames)


def _parameters(level: int, path: Path, size_bytes: int) -> zstandard.ZstdCompressionParameters:
    """One thread, so that the bytes do not depend on how many cores there are."""
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=size_bytes,
        window_log=_choose_window_log(path, size_bytes),
        write_content_size=1,
    )


def _choose_window_log(path: Path, size_bytes: int) -> int:
    """A window is what a decoding device holds in memory: 256 KiB, where more saves nothing.

    On the real models at hand 8 MiB saves under 0.02 % (docs/adr/0006). A file that repeats itself
    at a distance, such as one with a tensor stored twice, is worth more; the fastest level with
    long-distance matching tells.
    """
    widest = min(WINDOW_MAX_BYTES.bit_length() - 1, max(10, size_bytes.bit_length()))
    if widest <= _NARROW_LOG:
        return widest
    narrow, wide = (_quick_size(path, size_bytes, log) for log in (_NARROW_LOG, widest))
    return widest if wide < narrow * _WORTH_A_WIDE_WINDOW else _NARROW_LOG


def _quick_size(path: Path, size_bytes: int, window_log: int) -> int:
    """How many bytes a file takes in that window, compressed in a hurry."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, source_size=size_bytes, window_log=window_log, enable_ldm=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with path.open("rb") as source:
        return sum(map(len, compressor.read_to_iter(source, size=size_bytes)))
