"""A release's content key, payloads sealed with it, and the list of it wrapped for the recipients.

    release folder/content.key   the key, readable by its owner alone, as plain files lie beside it

What is sealed is proven like any other payload (`payloads`), and travels like any other.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.durable import storage_errors, write_atomic
from slotcast_publisher.errors import RepositoryDamaged
from slotcast_publisher.release.payloads import PayloadCandidate, cut
from slotcast_publisher.store import PayloadRecord, ReleaseFolder
from slotcast_publisher.trust.recipients import Recipients
from slotcast_schemas.codecs.encrypted import (
    PREFIX,
    payload_key,
    seal_chunks,
    sealed_frames,
)
from slotcast_schemas.content_key import (
    CONTENT_KEY_BYTES,
    KEYS_CHUNK_BYTES,
    KEYS_CODEC,
    build_list,
    commitment_to,
    wrap,
)
from slotcast_schemas.messages import Release
from slotcast_schemas.messages.release import Encryption
from slotcast_schemas.plain_files import open_regular, read_regular

_KEY_FILE: Final = "content.key"


def make_content_key(staged: Path, release: Release) -> Release:
    """Make a key for a release that is being put together; gives the release that names it.

    Args:
        staged: the release's folder.
        release: what it says so far.

    Raises:
        StorageFailed: the key cannot be written.
    """
    key = secrets.token_bytes(CONTENT_KEY_BYTES)
    write_atomic(staged / _KEY_FILE, key, mode=0o600)
    encryption = Encryption(key_commitment=commitment_to(key))
    return msgspec.structs.replace(release, encryption=encryption)


def load_content_key(folder: ReleaseFolder) -> bytes | None:
    """Give a release's content key; None where it is not encrypted.

    Raises:
        RepositoryDamaged: it is missing, or is not the one that the release names.
    """
    encryption = folder.load().encryption
    if encryption is None:
        return None
    path = folder.path / _KEY_FILE
    try:
        key = read_regular(path)
    except OSError as exc:
        raise RepositoryDamaged(f"could not read the content key {path}: {exc.strerror}") from exc
    if commitment_to(key) != encryption.key_commitment:
        raise RepositoryDamaged(f"{path}: it is not the content key that the release names")
    return key


def seal(
    candidate: PayloadCandidate, folder: ReleaseFolder, key: bytes, chunk_size_bytes: int
) -> PayloadCandidate:
    """Encrypt a payload that a builder wrote, in a file beside it, which it takes the place of.

    Args:
        candidate: the payload.
        folder: the release that it gives.
        key: the release's content key.
        chunk_size_bytes: of a sealed chunk.

    Raises:
        StorageFailed: no room, or a failing disk.
    """
    sealed = candidate.file.with_suffix(".sealed")
    codec = PREFIX + candidate.codec
    with (
        storage_errors(sealed),
        open_regular(candidate.file) as source,
        sealed.open("wb") as target,
    ):
        plain_sha256 = hashlib.file_digest(source, "sha256").digest()
        plain_bytes = source.seek(0, 2)
        source.seek(0)
        base = candidate.base
        own = payload_key(
            key,
            folder.load(),
            codec=codec,
            base_sha256=b"" if base is None else base.load().image_sha256,
            plain_sha256=plain_sha256,
            plain_bytes=plain_bytes,
            chunk_size_bytes=chunk_size_bytes,
        )
        chunks = seal_chunks(
            source.read, own, plain_bytes=plain_bytes, chunk_size_bytes=chunk_size_bytes
        )
        target.writelines(chunks)
    candidate.file.unlink()
    return msgspec.structs.replace(
        candidate,
        codec=codec,
        file=sealed,
        frames=sealed_frames(candidate.frames, chunk_size_bytes),
        plain_sha256=plain_sha256,
        key=own,
        chunk_size_bytes=chunk_size_bytes,
    )


def wrap_for(folder: ReleaseFolder, recipients: Recipients) -> bool:
    """Bring a release's list of wrapped keys up to date; says whether it changed.

    Where nothing of the recipients changed the list stays, since wrapping gives other bytes each
    time. Without a recipient there is no list.

    Args:
        folder: an encrypted release.
        recipients: for whom.

    Raises:
        RepositoryDamaged: the content key is missing.
        SoftwareBroken: the `cryptography` that is installed has no HPKE.
        StorageFailed: no room, or a failing disk.
    """
    key = load_content_key(folder)
    public = {one.id: one.key for one in recipients.devices}
    said = hashlib.sha256(b"".join(sorted(public))).hexdigest() if public else ""
    if key is None or folder.wrapped_for == said:
        return False
    if not public:
        folder.set_wrapped_keys("", None, None)
        return True
    start_s = time.monotonic()
    staging = folder.staging()
    file, staged, release = staging / "keys.bin", staging / "payload", folder.load()
    wrapped = {recipient: wrap(key, raw, release) for recipient, raw in public.items()}
    write_atomic(file, build_list(wrapped))
    payload = cut(PayloadCandidate(codec=KEYS_CODEC, file=file), staged, KEYS_CHUNK_BYTES)
    record = PayloadRecord(
        payload=payload,
        image_size_bytes=release.image_size_bytes,
        build_s=round(time.monotonic() - start_s, 3),
    )
    folder.set_wrapped_keys(said, staged, record)
    folder.drop_staging()
    return True
