"""One run of another delta tool in a process of its own: `python -m benchmarks.delta_peers TASK`.

Each tool gets its best reasonable settings. Memory is counted above the interpreter with the tool's
own module not yet loaded.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from slotcast_publisher.delta.measured_process import Meter

Tool = Callable[[Path, Path, Path], None]


def _bsdiff4(old: Path, new: Path, patch: Path) -> None:
    import bsdiff4

    patch.write_bytes(bsdiff4.diff(old.read_bytes(), new.read_bytes()))


def _bsdiff4_apply(old: Path, patch: Path, new: Path) -> None:
    import bsdiff4

    new.write_bytes(bsdiff4.patch(old.read_bytes(), patch.read_bytes()))


def _hdiffpatch(old: Path, new: Path, patch: Path) -> None:
    import hdiffpatch

    zstd = hdiffpatch.COMPRESSION_ZSTD
    plain = hdiffpatch.diff(old.read_bytes(), new.read_bytes(), zstd, validate=False)
    packed = hdiffpatch.recompress(plain, hdiffpatch.COMPRESSION_LZMA2)
    patch.write_bytes(min(plain, packed, key=len))


def _hdiffpatch_apply(old: Path, patch: Path, new: Path) -> None:
    import hdiffpatch

    new.write_bytes(hdiffpatch.apply(old.read_bytes(), patch.read_bytes()))


def _xdelta3(old: Path, new: Path, patch: Path) -> None:
    """The program: PyPI's module of that name no longer runs. -B: it sees all of the old file."""
    window = f"{max(old.stat().st_size, 1 << 19)}"
    _run("xdelta3", "-e", "-f", "-9", "-S", "djw", "-B", window, "-s", old, new, patch)


def _xdelta3_apply(old: Path, patch: Path, new: Path) -> None:
    window = f"{max(old.stat().st_size, 1 << 19)}"
    _run("xdelta3", "-d", "-f", "-B", window, "-s", old, patch, new)


def _run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True)


def _zstd(old: Path, new: Path, patch: Path) -> None:
    """What `zstd -19 --long=27 --patch-from` does: the old file as a raw prefix."""
    import zstandard

    prefix, image = old.read_bytes(), new.read_bytes()
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(image),
        dict_size=len(prefix),
        window_log=max(10, min(27, (len(prefix) + len(image)).bit_length())),
        enable_ldm=True,
    )
    compressor = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(prefix, dict_type=zstandard.DICT_TYPE_RAWCONTENT),
        compression_params=parameters,
    )
    patch.write_bytes(compressor.compress(image))


def _zstd_apply(old: Path, patch: Path, new: Path) -> None:
    import zstandard

    raw = zstandard.DICT_TYPE_RAWCONTENT
    prefix = zstandard.ZstdCompressionDict(old.read_bytes(), dict_type=raw)
    decompressor = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=1 << 28)
    new.write_bytes(decompressor.decompress(patch.read_bytes()))


def _z4ai(old: Path, new: Path, patch: Path) -> None:
    z4ai = importlib.import_module("z4ai")  # no part of our environment
    patch.write_bytes(z4ai.compress_delta(new.read_bytes(), reference=old.read_bytes()))


def _z4ai_apply(old: Path, patch: Path, new: Path) -> None:
    z4ai = importlib.import_module("z4ai")
    new.write_bytes(z4ai.decompress_delta(patch.read_bytes(), reference=old.read_bytes()))


TOOLS: Final[dict[str, tuple[Tool, Tool]]] = {
    "bsdiff4": (_bsdiff4, _bsdiff4_apply),
    "hdiffpatch": (_hdiffpatch, _hdiffpatch_apply),
    "xdelta3": (_xdelta3, _xdelta3_apply),
    "zstd --patch-from": (_zstd, _zstd_apply),
    "z4ai": (_z4ai, _z4ai_apply),
}


def _main(task: dict[str, Any]) -> dict[str, Any]:
    meter = Meter()
    create, apply = TOOLS[task["tool"]]
    paths = [Path(task[name]) for name in ("old", "input", "output")]
    (create if task["do"] == "create" else apply)(*paths)
    is_program = task["tool"] == "xdelta3"
    return {"size_bytes": paths[2].stat().st_size, "cost": meter.cost(workers=int(is_program))}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_main(json.loads(sys.argv[1]))))
