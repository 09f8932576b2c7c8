"""What it costs in bytes that a full payload needs a window of 256 KiB to unpack, and not of 8 MiB.

Each model is compressed twice, by the level and the parameters that the publisher uses for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import zstandard

from benchmarks.report import Figure, Options
from benchmarks.transfer_world import generated_model
from slotcast_publisher.full import choose_level

NARROW_LOG, WIDE_LOG = 18, 23
LIMIT: Final = 1.001


def run(options: Options) -> list[Figure]:
    """Compress every real model, or a generated one where there is none, in both windows."""
    return [_figure(path) for path in _models(options)]


def _models(options: Options) -> list[Path]:
    real = sorted(options.models.glob("*.onnx")) if options.models else []
    if real:
        return real[:3] if options.quick else real
    options.say("a generated model stands for real ones")
    return [generated_model(options.work / "model.onnx", 8_700_000, options.seed)]


def _figure(path: Path) -> Figure:
    narrow, wide = (_packed_bytes(path, log) for log in (NARROW_LOG, WIDE_LOG))
    return Figure(
        f"window of 256 KiB / of 8 MiB, {path.stem}",
        narrow / wide,
        "ratio",
        limit=LIMIT,
        note=f"{narrow:,} and {wide:,} bytes",
    )


def _packed_bytes(path: Path, window_log: int) -> int:
    data = path.read_bytes()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        choose_level(len(data)),
        source_size=len(data),
        window_log=window_log,
        write_content_size=1,
    )
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))
