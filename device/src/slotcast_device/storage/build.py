"""Building a release into the standby slot: from payload, base and files that are there already.

Every file is hashed as it is written and compared with the signed release; the slot is sealed
only when all are right. The active slot is only read.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slotcast_device.core.payload_codecs import DELTA_CODECS
from slotcast_device.storage.image_writer import ImageWriter
from slotcast_device.storage.slots import SlotStore
from slotcast_schemas.codecs.encrypted import (
    is_encrypted,
    opened,
    plain_codec,
    plain_frames,
)
from slotcast_schemas.codecs.full import FULL_CODECS, decode_full
from slotcast_schemas.codecs.source import SourcePart
from slotcast_schemas.errors import Incompatible, NoContentKey, PayloadCorrupt, SlotDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slotcast_device.core.plan import Install
    from slotcast_device.core.state import ModelState
    from slotcast_device.storage.disk import Image
    from slotcast_schemas.codecs.source import Sink, Source
    from slotcast_schemas.messages import Release
    from slotcast_schemas.messages.offer import Payload
    from slotcast_schemas.verify import Trusted

_COPY_BYTES: Final = 256 * 1024
"""The bytes that are copied at once."""


class _Collected:
    """A collected payload, as codecs see it: in the clear.

    Args:
        store: opens it.
        path: where its bytes are, as they came.
        payload: what the offer says of it.
        release: what it gives.
        content_key: of an encrypted release.
    """

    def __init__(
        self,
        store: SlotStore,
        path: Path,
        payload: Payload,
        release: Release,
        content_key: bytes | None,
    ) -> None:
        self._store = store
        self._path = path
        self._payload = payload
        self._release = release
        self._content_key = content_key
        self.codec = plain_codec(payload)
        self.frames = plain_frames(payload)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Source]:
        """Open it to be read.

        Raises:
            NoContentKey: it is encrypted, and no key was given.
        """
        with _open_file(self._store, self._path) as source:
            yield decrypted(source, self._payload, self._release, self._content_key)


def decrypted(
    source: Source, payload: Payload, release: Release, content_key: bytes | None
) -> Source:
    """Give what a payload holds as a source: itself, unless it is encrypted.

    Args:
        source: the payload's bytes, as they came.
        payload: what the offer says of it.
        release: what it gives.
        content_key: of an encrypted release.

    Raises:
        NoContentKey: it is encrypted, and no key was given.
    """
    if not is_encrypted(payload):
        return source
    if content_key is None:
        raise NoContentKey("the content key of the release is not here any more")
    return opened(source, payload, release, content_key)


def build(
    store: SlotStore,
    install: Install,
    trusted: Trusted,
    state: ModelState,
    payload_path: Path,
    decoded: Path | None = None,
    content_key: bytes | None = None,
) -> None:
    """Write the release into the standby slot, verified and sealed.

    Args:
        store: the model's slots.
        install: what the plan decided.
        trusted: the release.
        state: the record before the standby slot was given up: says what the slots hold.
        payload_path: the collected payload, if the plan has one.
        decoded: folder with the release's verified files, if they were decoded ahead.
        content_key: of an encrypted release.

    Raises:
        PayloadCorrupt, WrongBase: the payload does not give the signed image.
        NoContentKey: the payload is encrypted, and no key was given.
        SlotDamaged: a file that was to be reused has changed.
        StorageFailed: or a sharper kind: the disk does not take it.
    """
    if _is_built_already(store, install, trusted, state):
        return
    aside = _set_files_aside(store, install, state)
    if decoded is not None:
        store.adopt(install.slot, decoded)
    else:
        store.clear(install.slot)
        payload = None
        if install.payload is not None:
            payload = _Collected(store, payload_path, install.payload, trusted.release, content_key)
        _write_image(store, install, trusted, state, payload, aside)
    store.seal(install.slot, trusted.release_bytes, trusted.notice)
    store.drop_aside()


def _write_image(
    store: SlotStore,
    install: Install,
    trusted: Trusted,
    state: ModelState,
    payload: _Collected | None,
    aside: Mapping[bytes, Path],
) -> None:
    writer = store.build(install.slot, trusted.release)
    try:
        if payload is None or payload.frames:
            _write_by_file(store, install, trusted, payload, aside, writer)
        else:
            _write_whole(store, install, trusted, state, payload, writer.sink)
        writer.finish()
    finally:
        writer.abort()


def _is_built_already(
    store: SlotStore, install: Install, trusted: Trusted, state: ModelState
) -> bool:
    """Whether an earlier run sealed this very release here and was stopped before the switch.

    To build it again from itself would empty the slot first, and a second stop in the middle of
    that would cost the download.
    """
    record = state.slots.get(install.slot)
    if record is None or record.release_sha256 != trusted.release_sha256:
        return False
    try:
        store.verify(install.slot, record)
    except SlotDamaged:
        return False
    return True


def _set_files_aside(store: SlotStore, install: Install, state: ModelState) -> dict[bytes, Path]:
    record = state.slots.get(install.slot)
    if record is None:
        return {}
    wanted = {path for slot, path in install.reuse.values() if slot == install.slot}
    return store.set_aside(
        install.slot, {f.sha256: f.path for f in record.files if f.path in wanted}
    )


def _write_by_file(
    store: SlotStore,
    install: Install,
    trusted: Trusted,
    payload: _Collected | None,
    aside: Mapping[bytes, Path],
    writer: ImageWriter,
) -> None:
    """Take each file from where it lies already, or from its own frame of the payload."""
    with contextlib.ExitStack() as stack:
        source = None if payload is None else stack.enter_context(payload.opened())
        frames = (0,) * len(trusted.release.files) if payload is None else payload.frames
        offset = 0
        for file, frame in zip(trusted.release.files, frames, strict=True):
            held = install.reuse.get(file.path)
            if held is not None:
                slot, path = held
                where = aside.get(file.sha256, store.path(slot) / path)
                _copy_file(store.open_held(where, file), writer.sink)
            elif file.size_bytes and payload is not None and source is not None:
                part = _part_of(source, offset, frame)
                _decode_full(payload.codec, part, file.size_bytes, writer.sink)
            offset += frame


def _part_of(source: Source, start: int, size_bytes: int) -> SourcePart:
    """Give one file's frame within a payload.

    Raises:
        PayloadCorrupt: the payload ends before the frame does.
    """
    if start + size_bytes > source.size_bytes:
        raise PayloadCorrupt(
            f"expected {start + size_bytes} bytes of payload, got {source.size_bytes}"
        )
    return SourcePart(source, start, size_bytes)


def _write_whole(
    store: SlotStore,
    install: Install,
    trusted: Trusted,
    state: ModelState,
    payload: _Collected,
    sink: Sink,
) -> None:
    size = trusted.release.image_size_bytes
    with payload.opened() as source:
        if payload.codec not in DELTA_CODECS:
            _decode_full(payload.codec, source, size, sink)
            return
        record = None if install.base is None else state.slots.get(install.base)
        if install.base is None or record is None:
            raise Incompatible("a delta needs its base in a slot, and there is none")
        # Half of what decodes is for deltas alone, and an agent waits most of its life for one.
        from slotcast_schemas.codecs.delta.decoder import decode_delta

        with contextlib.closing(store.image(install.base, record)) as base:
            decode_delta(source, base, image_size_bytes=size, base_sha256=record.sha256, sink=sink)


def _decode_full(codec: str, source: Source, size_bytes: int, sink: Sink) -> None:
    compression = FULL_CODECS.get(codec)
    if compression is None:
        raise Incompatible(f"payload codec {codec!r} is not known here")
    decode_full(source, image_size_bytes=size_bytes, sink=sink, compression=compression)


def _open_file(store: SlotStore, path: Path) -> contextlib.closing[Image]:
    return contextlib.closing(store.open(path))


def _copy_file(image: Image, sink: Sink) -> None:
    with contextlib.closing(image) as source:
        for offset in range(0, source.size_bytes, _COPY_BYTES):
            sink(source.read_at(offset, min(_COPY_BYTES, source.size_bytes - offset)))
