"""Tensors in zip archives whose members are stored as they are: TorchScript, torch.save, bundles.

PyTorch writes one member a storage, `NAME/data/7`, and says in `NAME/data.pkl` what lies in it; a
bundle such as MediaPipe's .task has whole models as members.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Final

from slotcast_publisher.delta.formats.torch_pickle import Storage, read_storages
from slotcast_publisher.delta.place import TensorPlace, place_of
from slotcast_schemas.codecs.source import Source, SourcePart

MAGIC: Final = b"PK\x03\x04"

_MEMBERS_MAX: Final = 1 << 16
"""The most members that are looked at."""

_DEPTH_MAX: Final = 4
"""The most archives within archives that are looked into."""

_PICKLE_MAX_BYTES: Final = 4 * 1024 * 1024
"""The most bytes of a pickle that is read."""

_LOCAL_HEADER_BYTES: Final = 30
"""The bytes of a member's own header, before its name and extra field (APPNOTE.TXT, 4.3.7)."""

Find = Callable[[Source, str, int], list[TensorPlace]]


def find_in_archive(source: Source, find: Find, depth: int = 0) -> list[TensorPlace]:
    """Find the tensors of the members that are not compressed.

    Args:
        source: the archive.
        find: finds the tensors of a member that is a file of its own kind, so deep in archives.
        depth: in how many archives this one lies.
    """
    if depth >= _DEPTH_MAX:
        return []
    try:
        with zipfile.ZipFile(_SourceFile(source)) as archive:
            members = dict(_stored(source, archive.infolist()[:_MEMBERS_MAX]))
    except (zipfile.BadZipFile, ValueError, NotImplementedError, UnicodeDecodeError):
        return []
    found: list[TensorPlace] = []
    taken: set[str] = set()
    for name, (start, size_bytes) in members.items():
        if name.endswith("/data.pkl") and size_bytes <= _PICKLE_MAX_BYTES:
            folder = name.removesuffix(".pkl")
            for key, storage in read_storages(source.read_at(start, size_bytes)).items():
                place = _place(storage, f"{folder}/{key}", members)
                if place is not None:
                    found.append(place)
                    taken.add(place.name)
    for name, (start, size_bytes) in members.items():
        if name not in taken and size_bytes:
            inside = find(SourcePart(source, start, size_bytes), name, depth + 1)
            found += [place.moved(start, f"{name}:") for place in inside]
    return found


def _place(storage: Storage, name: str, members: dict[str, tuple[int, int]]) -> TensorPlace | None:
    start, size_bytes = members.get(name, (0, 0))
    return place_of(name, storage.kind, storage.dims, start, size_bytes, storage.parts)


def _stored(source: Source, infos: list[zipfile.ZipInfo]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each member that is stored as it is, with where its bytes lie.

    Where two have the same bytes, the first counts: archives in which many lie in the same place,
    one within the other, would be looked through without end.
    """
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            continue
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            continue
        header = source.read_at(info.header_offset, _LOCAL_HEADER_BYTES)
        name_bytes = int.from_bytes(header[26:28], "little")
        extra_bytes = int.from_bytes(header[28:30], "little")
        start = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
        if header.startswith(MAGIC) and start + info.file_size <= source.size_bytes:
            end = start + info.file_size
            yield info.filename, (start, info.file_size)


class _SourceFile(io.RawIOBase):
    """A source as a file, for the library that reads archives."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._position = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        starts = (0, self._position, self._source.size_bytes)
        self._position = max(0, starts[whence] + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._source.size_bytes - self._position)
        size_bytes = left if size < 0 else min(size, left)
        data = self._source.read_at(self._position, size_bytes) if size_bytes else b""
        self._position += size_bytes
        return data
