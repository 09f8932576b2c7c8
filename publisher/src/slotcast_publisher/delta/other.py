"""The bytes around the tensors: the cheapest of plain, patch against old bytes, and dictionary.

The decoder is `slotcast_schemas.codecs.delta.other`.
"""

from __future__ import annotations

import bz2
from collections.abc import Iterator, Sequence
from typing import Final

import bsdiff4
import numpy as np
import zstandard

from slotcast_publisher.delta.exact_copies import Step, find_copies
from slotcast_publisher.delta.patch_in_place import find_in_place
from slotcast_publisher.delta.weights import WeightsPiece, encode_weights
from slotcast_publisher.delta.worth_trying import (
    compress_xz,
    has_common_bytes,
    has_repetitions,
    likely_packers,
)
from slotcast_schemas.codecs.delta.bounded_fields import FieldWriter
from slotcast_schemas.codecs.delta.packed import (
    PACK_BZ2,
    PACK_NONE,
    PACK_WEIGHTS,
    PACK_XZ,
    PACK_ZSTD,
    ZSTD_WINDOW_MAX,
)
from slotcast_schemas.codecs.delta.segments import (
    MODE_DICTIONARY,
    MODE_PATCH,
    MODE_PLAIN,
    MODE_SPARSE_PATCH,
    OtherStreams,
)

_SLOW_UP_TO_BYTES: Final = 1024 * 1024
"""The most bytes for which the slow packers are always tried."""

_WORTH_MORE_TRIES: Final = 0.97
"""The share of the bytes that a quick packer must get below for the slow ones to be tried on
many."""

_MUCH_LARGER: Final = 8
_WORTH_SORTING: Final = 0.9
"""Old bytes that are so many times as large as the data are sorted only if, as a dictionary, they
made the packed data smaller than this share. Otherwise every section of a model would be so long
in sorting: each has some hundred bytes of names, and the same old bytes."""

_CLEARLY_BETTER: Final = 0.95
"""The share of what zstd's fastest levels make of weights, below which no slow packer is tried on
them: such gain one or two hundredths."""

_CHAIN_LOG_MAX: Final = 23
"""The size of zstd's search tree, as a power of two: half of what level 19 would take for 16 MiB.
That saves 32 MB, and hardly a match is lost."""

_QUICK_WINDOW_LOG_MAX: Final = 23
"""The widest window of a fast level, as a power of two: what level 19 has."""

_WEIGHTS_MIN_BYTES: Final = 4096
"""The least bytes of tensors among the others for which a section of weights is tried."""

_WORTH_WEIGHTS: Final = 0.99
"""The share of what else there is below which weights are coded as such: decoders of before cannot
read that."""

_WINDOWS: Final = (4, 8)
"""The least bytes of exact copies that are tried; the small one, of which some are equal by chance,
on few bytes alone."""

_SMALL_BYTES: Final = 64 * 1024
"""The bytes up to which all of them are tried."""

Packed = tuple[OtherStreams, bytes]
"""How the other bytes are stored, and the packed streams."""


def encode_other(
    data: bytes,
    old: bytes,
    ranges: list[tuple[int, int]],
    *,
    is_noise: bool,
    is_patch_hopeless: bool = False,
    is_in_crumbs: bool = False,
    weights: Sequence[WeightsPiece] = (),
) -> Packed:
    """Give how to make `data`, and the stored streams.

    Args:
        data: the section's other bytes.
        old: bytes of the base that may help.
        ranges: where those lie in the base.
        is_noise: the bytes are weights without an old self: searching them is in vain.
        is_patch_hopeless: so many of them are, that suffix sorting takes too long.
        is_in_crumbs: the decoder will read them a few at a time, which decoders of the first
            release lose track of in a stream of LZMA2 of more than 16 KiB.
        weights: the tensors among them, and what lies between; empty where a decoder must not be
            asked to know such.
    """
    coded = _weights(data, weights)
    plain = _plain(data, is_noise=is_noise or coded is not None, is_in_crumbs=is_in_crumbs)
    if coded is not None and not is_noise and len(coded[1]) > _CLEARLY_BETTER * _cost(*plain):
        plain = _plain(data, is_noise=False, is_in_crumbs=is_in_crumbs)
    candidates = [plain]
    in_place = find_in_place(data, old) if not is_noise else None
    if in_place is not None:
        candidates.append(_patch(*in_place, ranges))
    if data and old and not is_noise and has_common_bytes(data, old):
        dictionary = _dictionary(data, old, ranges)
        candidates.append(dictionary)
        if not is_patch_hopeless and is_patch_worth_it(data, old, plain, dictionary):
            candidates += _patches(data, old, ranges)
    best_of_all = min(candidates, key=lambda candidate: _cost(*candidate))
    if coded is not None and len(coded[1]) < _WORTH_WEIGHTS * _cost(*best_of_all):
        return coded
    return best_of_all


def _weights(data: bytes, weights: Sequence[WeightsPiece]) -> Packed | None:
    """Code the data as weights; None where there are too few among them."""
    if sum(piece.size_bytes for piece in weights if piece.kind is not None) < _WEIGHTS_MIN_BYTES:
        return None
    packed = encode_weights(data, weights)
    return OtherStreams(MODE_PLAIN, [], [(PACK_WEIGHTS, len(packed), len(data))]), packed


def is_patch_worth_it(data: bytes, old: bytes, plain: Packed, dictionary: Packed) -> bool:
    """Say whether to sort the old bytes' suffixes, which takes its time however little is new.

    Args:
        data: what is to be made.
        old: bytes of the base that may help.
        plain: the data packed without them.
        dictionary: the data packed with them as a dictionary.
    """
    best = min(len(plain[1]), len(dictionary[1]))
    if len(data) < len(old) // _MUCH_LARGER:
        return best < _WORTH_SORTING * len(plain[1])
    # Suffix sorting noise takes minutes and finds nothing; small inputs are always tried.
    return len(data) <= _SLOW_UP_TO_BYTES or best < _WORTH_MORE_TRIES * len(data)


def _cost(streams: OtherStreams, packed: bytes) -> int:
    return len(packed) + 2 * len(streams.ranges) + 4 * len(streams.streams)


def pack(data: bytes, *, is_noise: bool = False, is_in_crumbs: bool = False) -> tuple[int, bytes]:
    """Give the smallest packing of a stream: the packer's code, and the bytes.

    Args:
        data: the stream.
        is_noise: it is weights, which only their distribution makes smaller.
        is_in_crumbs: it is read a few bytes at a time (see `encode_other`).
    """
    packers = {PACK_ZSTD} if is_noise else likely_packers(data)
    if is_in_crumbs:
        packers = packers - {PACK_XZ} | {PACK_ZSTD}
    packed = [(PACK_NONE, data)]
    if PACK_ZSTD in packers:
        is_quick = is_noise or not has_repetitions(data)
        compressor = _quick_compressor(data) if is_quick else zstandard.ZstdCompressor(19)
        packed.append((PACK_ZSTD, compressor.compress(data)))
    if PACK_XZ in packers:
        packed.append((PACK_XZ, compress_xz(data)))
    if PACK_BZ2 in packers:
        packed.append((PACK_BZ2, bz2.compress(data, 9)))
    return min(packed, key=lambda each: len(each[1]))


def _quick_compressor(data: bytes) -> zstandard.ZstdCompressor:
    """Zstd at a fast level, with the slowest one's window: a tensor may be there twice."""
    window_log = min(_QUICK_WINDOW_LOG_MAX, max(10, len(data).bit_length()))
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, source_size=len(data), window_log=window_log
    )
    return zstandard.ZstdCompressor(compression_params=parameters)


def _plain(data: bytes, *, is_noise: bool, is_in_crumbs: bool) -> Packed:
    packer, packed = pack(data, is_noise=is_noise, is_in_crumbs=is_in_crumbs)
    return OtherStreams(MODE_PLAIN, [], [(packer, len(packed), len(data))]), packed


def _dictionary(data: bytes, old: bytes, ranges: list[tuple[int, int]]) -> Packed:
    prefix = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    window_log = min(ZSTD_WINDOW_MAX.bit_length() - 1, (len(old) + len(data)).bit_length())
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19,
        source_size=len(data),
        dict_size=len(old),
        window_log=max(10, window_log),
        chain_log=min(_CHAIN_LOG_MAX, max(10, window_log + 1)),
        enable_ldm=True,
    )
    packed = zstandard.ZstdCompressor(dict_data=prefix, compression_params=parameters).compress(
        data
    )
    return OtherStreams(MODE_DICTIONARY, ranges, [(PACK_ZSTD, len(packed), len(data))]), packed


def _patches(data: bytes, old: bytes, ranges: list[tuple[int, int]]) -> Iterator[Packed]:
    """Bsdiff's patch, and those of copies that are equal to the last byte."""
    yield _patch(*_read_bsdiff(bsdiff4.diff(old, data)), ranges)
    for window in _WINDOWS if len(data) <= _SMALL_BYTES else _WINDOWS[-1:]:
        found = find_copies(data, old, window)
        if found is not None:
            steps, inserted = found
            yield _patch(steps, bytes(sum(added for added, _, _ in steps)), inserted, ranges)


def _patch(
    controls: list[Step], difference: bytes, extra: bytes, ranges: list[tuple[int, int]]
) -> Packed:
    """A patch's streams, the controls by column, the differences dense or sparse."""
    columns = [FieldWriter() for _ in range(3)]
    for add, insert, seek in controls:
        columns[0].uint(add)
        columns[1].uint(insert)
        columns[2].sint(seek)
    before = [(*pack(bytes(column.data)), len(column.data)) for column in columns]
    after = (*pack(extra), len(extra))
    dense = [(*pack(difference), len(difference))]
    sparse = _sparse(difference)
    is_sparse = sparse and sum(len(each[1]) for each in sparse) < len(dense[0][1])
    streams = [*before, *(sparse if is_sparse else dense), after]
    sizes = [(packer, len(packed), size) for packer, packed, size in streams]
    mode = MODE_SPARSE_PATCH if is_sparse else MODE_PATCH
    return OtherStreams(mode, ranges, sizes), b"".join(packed for _, packed, _ in streams)


def _sparse(difference: bytes) -> list[tuple[int, bytes, int]]:
    """Zeros before each value, and the values; nothing where there are too many of them."""
    dense = np.frombuffer(difference, dtype=np.uint8)
    places = np.flatnonzero(dense)
    if len(places) > len(dense) // 8:
        return []
    gaps = FieldWriter()
    for gap in np.diff(places, prepend=-1) - 1:
        gaps.uint(int(gap))
    values = dense[places].tobytes()
    return [(*pack(stream), len(stream)) for stream in (bytes(gaps.data), values)]


def _read_bsdiff(patch: bytes) -> tuple[list[Step], bytes, bytes]:
    """Controls, difference and extra bytes of a BSDIFF40 file, the format of bsdiff's author.

    The file and not the library's inner function, whose result differs between its versions.
    """
    control_bytes, difference_bytes = (int(size) for size in np.frombuffer(patch[8:24], "<i8"))
    end = 32 + control_bytes
    fields = np.frombuffer(bz2.decompress(patch[32:end]), dtype="<u8")
    sizes = (fields & np.uint64((1 << 63) - 1)).astype(np.int64)
    signed = np.where(fields >> np.uint64(63), -sizes, sizes).reshape(-1, 3)
    controls = [(int(add), int(insert), int(seek)) for add, insert, seek in signed]
    difference = bz2.decompress(patch[end : end + difference_bytes])
    return controls, difference, bz2.decompress(patch[end + difference_bytes :])
