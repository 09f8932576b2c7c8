"""Where the tensors of a release lie, whatever its files are.

An offset counts from the start of the image, the release's files laid end to end.
Each format has its finder in `formats`; what no finder explains is searched by its looks.
A file that is not what its name promises has no tensors, and is searched as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from slotcast_publisher.delta.formats import archive, gguf, tflite
from slotcast_publisher.delta.formats.by_looks import SEARCHED_MIN_BYTES, find_by_looks
from slotcast_publisher.delta.formats.onnx import find_in_onnx
from slotcast_publisher.delta.formats.safetensors import find_in_safetensors
from slotcast_publisher.delta.place import TensorPlace
from slotcast_publisher.image_files import Image
from slotcast_schemas.codecs.source import FilesImage, Source

TENSOR_MIN_BYTES: Final = 128
"""The least bytes of a tensor that is coded as one; smaller ones cost more to describe than they
save, and go with the bytes around them."""

_MAGIC_BYTES: Final = 16
"""The bytes that a file's format is known by."""


def image_of(files: Image) -> FilesImage:
    """Open files, laid end to end, for reading."""
    return FilesImage([(path, path.stat().st_size) for _, path in files])


def find_tensors(files: Image, *, is_opaque: bool = False) -> list[TensorPlace]:
    """Find every tensor of at least 128 bytes, by its place in the image; none overlaps another.

    Args:
        files: the release's files in manifest order.
        is_opaque: all are searched by their looks, as if no format were known.

    Raises:
        SlotDamaged: a file cannot be read.
    """
    starts: dict[str, tuple[int, int]] = {}
    offset = 0
    for name, path in files:
        size_bytes = path.stat().st_size
        starts[name] = (offset, size_bytes)
        offset += size_bytes
    found: list[TensorPlace] = []
    number_lists: list[tuple[int, int]] = []
    for name, path in () if is_opaque else files:
        with FilesImage([(path, starts[name][1])]) as source:
            if name.endswith(".onnx"):
                contents = find_in_onnx(source, name, starts)
                found += contents.tensors
                number_lists += contents.number_lists
            else:
                found += [place.moved(starts[name][0]) for place in _find_in_file(source, name)]
    told = list(_without_overlaps(found))
    known = sorted([*((place.offset, place.end) for place in told), *number_lists])
    with image_of(files) as image:
        guessed = [
            place
            for start, size_bytes in _gaps(known, starts.values())
            for place in find_by_looks(image, start, size_bytes)
        ]
    return list(_without_overlaps([*told, *guessed]))


def _find_in_file(source: Source, name: str, depth: int = 0) -> list[TensorPlace]:
    """Tensors of a file that stands for itself, by the format that its first bytes tell.

    Args:
        source: the file.
        name: its path.
        depth: in how many archives it lies.
    """
    start = source.read_at(0, min(_MAGIC_BYTES, source.size_bytes))
    if start[4:8] == tflite.IDENTIFIER:
        return tflite.find_in_tflite(source)
    if start.startswith(gguf.MAGIC):
        return gguf.find_in_gguf(source)
    if start.startswith(archive.MAGIC):
        return archive.find_in_archive(source, _find_in_file, depth)
    if name.endswith(".safetensors") or start[8:9] == b"{":
        return find_in_safetensors(source)
    return []


def _without_overlaps(found: Iterable[TensorPlace]) -> Iterator[TensorPlace]:
    end = 0
    for place in sorted(found, key=lambda place: (place.offset, place.size_bytes)):
        if place.offset >= end and place.size_bytes >= TENSOR_MIN_BYTES:
            yield place
            end = place.end


def _gaps(
    known: list[tuple[int, int]], files: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """Ranges of files of which nothing is known and that are long enough to be searched."""
    for start, size_bytes in files:
        end = start + size_bytes
        inside = [each for each in known if start <= each[0] < end]
        ends = [start, *(stop for _, stop in inside)]
        begins = [*(begin for begin, _ in inside), end]
        for low, high in zip(ends, begins, strict=True):
            if high - low >= SEARCHED_MIN_BYTES:
                yield low, high - low
