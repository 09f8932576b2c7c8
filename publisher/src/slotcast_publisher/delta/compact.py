"""Small deltas once more, in the compact form: the same copies and the same new bytes, said short.

What a delta in the long form says is read back from it, so nothing is searched for a second time
but in its other bytes. Only what a delta says of which nothing is coded can be; besides, an image
of less than 1 MiB is tried as bytes that are all given, with the base as a dictionary.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slotcast_publisher.delta.flat_script import flatten_each
from slotcast_publisher.delta.layout import image_of
from slotcast_publisher.delta.said_segments import TRIED_MAX, crc32_of, given_bytes, said_by
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.delta.compact import (
    Script,
    pack_compact,
    pack_script,
)
from slotcast_schemas.codecs.delta.script_packers import SCRIPT_MAX, dictionary_of
from slotcast_schemas.codecs.delta.segments import SEGMENTS_MAX, Other, Segment
from slotcast_schemas.codecs.source import Source

_SMALL_BYTES: Final = 128
"""The bytes of a delta up to which no dictionary is tried: it takes seconds for a large base."""

_BASE_SHA256: Final = slice(32, 64)
"""Where in a long delta the digest of its base is."""

_WHOLE_MAX: Final = SCRIPT_MAX - 16
"""Images of fewer bytes fit in a script as a whole."""


def write_compact(delta: Path, base: Image, target: Image, out: Path) -> int | None:
    """Write to `out` what a delta says, in the compact form; None where none is smaller.

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
    crc32 = crc32_of(new, 0, new.size_bytes)
    scripts = _scripts(said.segments, old, new, crc32) if said is not None else []
    sha256 = payload[_BASE_SHA256]
    candidates = [pack_compact(script, sha256, crc32) for script in scripts]
    best = min(candidates, key=len, default=None)
    if len(payload if best is None else best) <= _SMALL_BYTES:
        return best
    dictionary = dictionary_of(old)
    candidates += [
        pack_compact(script, sha256, crc32, dictionary)
        for script in (*scripts[-1:], whole_script(new, crc32))
        if script is not None
    ]
    return min(candidates, key=len, default=None)


def whole_script(new: Source, crc32: int) -> bytes | None:
    """Give the script of an image that is all given; None where no script has room for it.

    Args:
        new: the image.
        crc32: of it.
    """
    if not 0 < new.size_bytes < _WHOLE_MAX:
        return None
    image = new.read_at(0, new.size_bytes)
    return pack_script(Script([Other(new.size_bytes)], image, crc32))


def _scripts(segments: list[Segment], old: Source, new: Source, crc32: int) -> list[bytes]:
    """The same said with copies of different least sizes."""
    scripts = []
    for flat in flatten_each(old, new, segments):
        if len(flat) > SEGMENTS_MAX:
            continue
        script = pack_script(Script(flat, given_bytes(new, flat), crc32))
        if len(script) < SCRIPT_MAX:
            scripts.append(script)
    return scripts
