"""Small deltas once more, in the compact form: the same copies and the same new bytes, said short.

What a delta in the long form says is read back from it, so nothing is searched for a second time
but in its other bytes. Only deltas of which nothing is coded have a compact form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slotcast_publisher.delta.flat_script import flatten
from slotcast_publisher.delta.layout import image_of
from slotcast_publisher.delta.said_segments import TRIED_MAX, crc32_of, given_bytes, said_by
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.compact import (
    SCRIPT_MAX,
    Script,
    pack_compact,
    pack_script,
)
from slotcast_schemas.codecs.delta.segments import SEGMENTS_MAX
from slotcast_schemas.codecs.source import Source

_WINDOWS: Final = (4, 8, 16, 32)
"""The least bytes of copies that are tried."""


def write_compact(delta: Path, base: Image, target: Image, out: Path) -> int | None:
    """Write to `out` what a delta says, in the compact form; None where that is no smaller.

    Args:
        delta: the delta in the long form.
        base: files of the release that it starts from.
        target: files of the release that it makes.
        out: the compact delta; replaced if it exists. It may be the delta itself.

    Returns:
        Its size in bytes.

    Raises:
        SlotDamaged: a file cannot be read.
        OSError: `out` cannot be written.
    """
    if delta.stat().st_size > TRIED_MAX:
        return None
    payload = delta.read_bytes()
    with image_of(base) as old, image_of(target) as new:
        compact = _compact(payload, old, new)
    if compact is None or len(compact) >= len(payload):
        return None
    out.write_bytes(compact)
    return len(compact)


def _compact(payload: bytes, old: Source, new: Source) -> bytes | None:
    said = said_by(payload, old, new)
    if said is None:
        return None
    crc32 = crc32_of(new, 0, new.size_bytes)
    candidates = []
    for window in _WINDOWS:
        flat = flatten(old, new, said.segments, window)
        if flat is None or len(flat) > SEGMENTS_MAX:
            continue
        script = pack_script(Script(flat, given_bytes(new, flat), crc32))
        if len(script) < SCRIPT_MAX:
            candidates.append(pack_compact(script, said.header.base_sha256, crc32))
    return min(candidates, key=len, default=None)
