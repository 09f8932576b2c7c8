"""How the script of a compact delta is packed: as a whole, by whichever packer gives the fewest.

Of scripts that resemble the base without being copies of it, such as the numbers of a tree after
one more tree, Zstandard makes least with the base for a dictionary: each short match is said in
fewer bits than a copy of a segment takes.
"""

from __future__ import annotations

import lzma
import zlib
from typing import Final, Protocol

import zstandard

from slotcast_schemas.codecs.source import Source
from slotcast_schemas.errors import PayloadCorrupt

SCRIPT_MAX: Final = 1024 * 1024
"""A script has fewer bytes, packed or not: a decoder holds it whole."""

DICTIONARY_MAX: Final = 4 * 1024 * 1024
"""The most bytes of the base that are a dictionary: of a larger one, half from each end, where
formats keep what is no weight."""

PACK_NONE: Final = 0
PACK_DEFLATE: Final = 1
PACK_LZMA: Final = 2
PACK_DICTIONARY: Final = 3
"""The packers, as the format numbers them."""

_LZMA_FILTERS: Final = [
    {"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": SCRIPT_MAX, "lc": 0, "lp": 0, "pb": 0}
]

_FRAME_START: Final = bytes.fromhex("28b52ffd00")
"""What every frame begins with that says neither its size nor a checksum; it is left out."""

_STEP_BYTES: Final = 64
"""The packed bytes that are unpacked at once."""

_WINDOW_LOG_MIN: Final = 10
_WINDOW_MAX: Final = 2 * DICTIONARY_MAX
"""The largest window: the dictionary and the script must both lie in it."""


class _Unpacker(Protocol):
    """What tells whether a stream ended, and what came after it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


def dictionary_of(base: Source) -> bytes:
    """Give the bytes of a base that a script may refer back to."""
    size_bytes = base.size_bytes
    if size_bytes <= DICTIONARY_MAX:
        return base.read_at(0, size_bytes)
    half = DICTIONARY_MAX // 2
    return base.read_at(0, half) + base.read_at(size_bytes - half, half)


def pack_smallest(raw: bytes) -> tuple[int, bytes]:
    """Give the packer that needs no base and gives the fewest bytes, and those."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9)
    packed = {
        PACK_NONE: raw,
        PACK_DEFLATE: deflate.compress(raw) + deflate.flush(),
        PACK_LZMA: lzma.compress(raw, lzma.FORMAT_RAW, filters=_LZMA_FILTERS),
    }
    packer = min(packed, key=lambda each: len(packed[each]))
    return packer, packed[packer]


def pack_with_dictionary(raw: bytes, dictionary: bytes) -> bytes:
    """Pack a script with `PACK_DICTIONARY`.

    Args:
        raw: the script.
        dictionary: the base's `dictionary_of`.
    """
    window_log = max(_WINDOW_LOG_MIN, (len(dictionary) + len(raw)).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(raw),
        dict_size=len(dictionary),
        window_log=window_log,
        enable_ldm=True,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
    )
    compressor = zstandard.ZstdCompressor(dict_data=_raw(dictionary), compression_params=parameters)
    return compressor.compress(raw).removeprefix(_FRAME_START)


def unpack(packer: int, packed: bytes, base: Source) -> bytes:
    """Give a script's bytes, never more than there may be.

    Args:
        packer: how it is packed, one that is known.
        packed: its bytes.
        base: the image that the delta starts from.

    Raises:
        PayloadCorrupt: it does not unpack, to fewer than `SCRIPT_MAX` bytes and nothing after.
        SlotDamaged: the base cannot be read.
    """
    if packer == PACK_NONE:
        return packed
    unpacker: _Unpacker
    try:
        if packer == PACK_DEFLATE:
            unpacker = zlib.decompressobj(-15)
            raw = unpacker.decompress(packed, SCRIPT_MAX)
        elif packer == PACK_LZMA:
            unpacker = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=_LZMA_FILTERS)
            raw = unpacker.decompress(packed, SCRIPT_MAX)
        else:
            unpacker = _of_zstd(dictionary_of(base))
            raw = _unpack_in_steps(unpacker, packed)
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as exc:
        raise PayloadCorrupt(f"expected a packed script, got: {exc}") from exc
    if not unpacker.eof or unpacker.unused_data:
        raise PayloadCorrupt(
            f"expected a packed script of fewer than {SCRIPT_MAX} bytes and nothing after it,"
            f" got {len(raw)} bytes so far and {len(unpacker.unused_data)} after it"
        )
    return raw


def _of_zstd(dictionary: bytes) -> zstandard.ZstdDecompressionObj:
    decompressor = zstandard.ZstdDecompressor(
        dict_data=_raw(dictionary), max_window_size=_WINDOW_MAX
    )
    return decompressor.decompressobj()


def _unpack_in_steps(unpacker: zstandard.ZstdDecompressionObj, packed: bytes) -> bytes:
    """Unpack until the frame ends, or there is more than a script may have.

    The object gives all that its input makes, which is 128 KiB for every 4 bytes, but it alone says
    where the frame ended.
    """
    raw = bytearray()
    for start in range(0, len(packed), _STEP_BYTES):
        if unpacker.eof or len(raw) >= SCRIPT_MAX:
            raise PayloadCorrupt(
                f"expected a packed script of fewer than {SCRIPT_MAX} bytes and nothing after it,"
                f" got {len(raw)} bytes so far and {len(packed) - start} after them"
            )
        step = packed[start : start + _STEP_BYTES]
        raw += unpacker.decompress(step if start else _FRAME_START + step)
    return bytes(raw)


def _raw(dictionary: bytes) -> zstandard.ZstdCompressionDict | None:
    if not dictionary:
        return None
    return zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
