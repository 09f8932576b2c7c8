"""What it costs in bytes that a full payload is easy to unpack: a narrow window, a fast level.

Each model is packed as the publisher does it, and by the slowest level in a window of 8 MiB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import zstandard

from benchmarks.report import Figure, Options
from benchmarks.transfer_world import generated_model
from slotcast_publisher.release.full_payload import encode_full

WIDE_LOG: Final = 23
SLOWEST: Final = 19
LIMIT: Final = 1.001


def run(options: Options) -> list[Figure]:
    """Pack every real model, or a generated one where there is none, in both ways."""
    return [_figure(path, options.work / "payload") for path in _models(options)]


def _models(options: Options) -> list[Path]:
    real = sorted(options.models.glob("*.onnx")) if options.models else []
    if real:
        return real[:3] if options.quick else real
    options.say("a generated model stands for real ones")
    return [generated_model(options.work / "model.onnx", 8_700_000, options.seed)]


def _figure(path: Path, out: Path) -> Figure:
    ours = encode_full([(path.name, path)], out).payload_size_bytes
    window = zstandard.get_frame_parameters(out.read_bytes()[:18]).window_size
    slowest = _slowest_bytes(path)
    return Figure(
        f"payload / zstd level {SLOWEST} in 8 MiB, {path.stem}",
        ours / slowest,
        "ratio",
        limit=LIMIT,
        note=f"{ours:,} bytes in a window of {window // 1024} KiB; {slowest:,}",
    )


def _slowest_bytes(path: Path) -> int:
    data = path.read_bytes()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        SLOWEST, source_size=len(data), window_log=WIDE_LOG, write_content_size=1
    )
    return len(zstandard.ZstdCompressor(compression_params=parameters).compress(data))
