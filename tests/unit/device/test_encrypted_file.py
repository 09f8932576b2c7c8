"""Files of slots that lie encrypted: read at any place, and refused wherever they were changed."""

from __future__ import annotations

import hashlib
import os
import random
import struct
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

from slotcast_device.at_rest.encrypted_file import EncryptedReader, FileEncryptor, SlotsKey
from slotcast_device.at_rest.file_format import (
    BLOCK_BYTES,
    HEADER_BYTES,
    TAG_BYTES,
    Cipher,
    encrypted_size_bytes,
    is_protected,
    read_header,
)
from slotcast_device.at_rest.processor import quickest_cipher
from slotcast_device.at_rest.slots_key import KeyPlace, TokenPlace, open_slots_key
from slotcast_device.storage.memory_copies import MemoryCopies
from slotcast_device.storage.os_disk import OsDisk
from slotcast_device.storage.slot_files import SlotFiles
from slotcast_schemas.codecs.sealed_blocks import BlockCipher
from slotcast_schemas.errors import PayloadCorrupt, SlotDamaged, SlotsKeyMissing, StorageFailed
from slotcast_schemas.messages.release import File
from tests.support.at_rest import KEY, key_file, slot_files
from tests.support.memory_files import assert_sealed

PLAIN = random.Random(1).randbytes(3 * BLOCK_BYTES + 100)
SEALED_BLOCK = BLOCK_BYTES + TAG_BYTES


def encrypted(
    plain: bytes, key: SlotsKey = KEY, step: int = 50_000, cipher: Cipher | None = None
) -> bytes:
    """Encrypt a file as a disk gets it."""
    lying = bytearray()
    digest = hashlib.sha256(plain).digest()
    encryptor = FileEncryptor(key, len(plain), digest, lying.extend, cipher)
    for at in range(0, len(plain), step):
        encryptor.add(plain[at : at + step])
    encryptor.finish()
    return bytes(lying)


def reader(data: bytes, key: SlotsKey = KEY) -> EncryptedReader:
    def read_into(offset: int, target: memoryview) -> int:
        got = data[offset : offset + len(target)]
        target[: len(got)] = got
        return len(got)

    return EncryptedReader("m.onnx", read_into, key)


def described(path: str, data: bytes) -> File:
    return File(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).digest())


@settings(deadline=None, max_examples=40)
@given(
    size=st.sampled_from([0, 1, 100, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, len(PLAIN)]),
    offset=st.integers(0, 4 * BLOCK_BYTES),
    length=st.integers(0, 4 * BLOCK_BYTES),
    step=st.sampled_from([1000, BLOCK_BYTES, 3 * BLOCK_BYTES]),
    cipher=st.sampled_from(Cipher),
)
def test_any_range_of_it_is_that_of_the_plain_file(
    size: int, offset: int, length: int, step: int, cipher: Cipher
) -> None:
    plain = PLAIN[:size]
    sealed = encrypted(plain, step=step, cipher=cipher)
    assert len(sealed) == encrypted_size_bytes(size)
    opened = reader(sealed)
    assert opened.read_at(offset, length) == plain[offset : offset + length]
    assert opened.read_all() == plain


@pytest.mark.parametrize("blocks", [7, 8, 9, 24])
def test_it_is_written_in_whole_pieces_and_a_rest(blocks: int) -> None:
    plain, pieces, lying = bytes(blocks * BLOCK_BYTES), list[int](), bytearray()

    def write(data: bytes | memoryview) -> None:
        pieces.append(len(data))
        lying.extend(data)

    encryptor = FileEncryptor(KEY, len(plain), hashlib.sha256(plain).digest(), write)
    encryptor.add(plain)
    encryptor.finish()
    assert set(pieces[:-1]) <= {512 * 1024}
    assert 0 < pieces[-1] <= 512 * 1024
    assert reader(bytes(lying)).read_all() == plain


def test_the_same_file_is_never_the_same_twice_and_hardly_longer() -> None:
    assert encrypted(PLAIN)[HEADER_BYTES:] != encrypted(PLAIN)[HEADER_BYTES:]
    size = 20_000_000
    assert encrypted_size_bytes(size) / size < 1.001


@pytest.mark.parametrize(
    ("cipher", "begins", "context", "aead"),
    [
        (Cipher.CHACHA20_POLY1305, "8953437265737431", b"slotcast slot file 1", ChaCha20Poly1305),
        (Cipher.AES_256_GCM, "8953437265737432", b"slotcast slot file 2", AESGCM),
    ],
)
def test_it_is_laid_out_as_the_document_says(
    cipher: Cipher, begins: str, context: bytes, aead: type[ChaCha20Poly1305 | AESGCM]
) -> None:
    """Opened by docs/encryption.md alone: another program can, for as long as there are files."""
    data = encrypted(PLAIN, cipher=cipher)
    magic, key_id, salt = data[:8], data[8:16], data[16:48]
    size, digest = data[48:56], data[56:88]
    assert magic == bytes.fromhex(begins)
    assert key_id == HKDFExpand(SHA256(), 8, b"slotcast slots key id 1").derive(KEY.secret)
    assert int.from_bytes(size, "big") == len(PLAIN)
    assert digest == hashlib.sha256(PLAIN).digest()
    info = context + size + digest
    by_hand = aead(HKDF(SHA256(), 32, salt, info).derive(KEY.secret))
    blocks = [data[at : at + 65_552] for at in range(88, len(data), 65_552)]
    opened = [
        by_hand.decrypt(number.to_bytes(12, "big"), block, struct.pack(">QQ", number, len(blocks)))
        for number, block in enumerate(blocks)
    ]
    assert b"".join(opened) == PLAIN


def test_a_cryptography_that_seals_into_no_memory_of_ours_seals_and_opens_the_same() -> None:
    class Older:
        """AES as it was without `encrypt_into` and `decrypt_into`."""

        def __init__(self, key: bytes) -> None:
            self.encrypt, self.decrypt = AESGCM(key).encrypt, AESGCM(key).decrypt

    found = []
    for aead in (AESGCM, Older):
        target = bytearray(100 + TAG_BYTES)
        BlockCipher(bytes(32), 9, aead).seal_into(3, PLAIN[:100], memoryview(target))  # type: ignore[arg-type]
        found.append(bytes(target))
        opened = bytearray(100)
        BlockCipher(bytes(32), 9, aead).open_into(3, memoryview(target), memoryview(opened))  # type: ignore[arg-type]
        assert opened == PLAIN[:100]
    assert found[0] == found[1] == BlockCipher(bytes(32), 9, AESGCM).seal(3, PLAIN[:100])


@pytest.mark.parametrize("kept", [0, TAG_BYTES - 1, TAG_BYTES, TAG_BYTES + 99])
def test_a_block_that_was_cut_off_opens_into_no_memory(kept: int) -> None:
    cipher = BlockCipher(bytes(32), 9, AESGCM)
    sealed = cipher.seal(3, PLAIN[:100])[:kept]
    target = bytearray(max(0, kept - TAG_BYTES))
    with pytest.raises(InvalidTag):
        cipher.open_into(3, memoryview(sealed), memoryview(target))


def test_what_lies_in_the_memory_of_a_run_is_no_part_of_the_next() -> None:
    plain = random.Random(2).randbytes(9 * BLOCK_BYTES + 24)
    held = [(bytes(run.sealed), bytes(run.plain)) for run in reader(encrypted(plain)).runs()]
    assert [len(block) for _, block in held] == [8 * BLOCK_BYTES, BLOCK_BYTES + 24]
    assert b"".join(block for _, block in held) == plain
    assert [len(sealed) for sealed, _ in held] == [8 * SEALED_BLOCK, SEALED_BLOCK + 40]


def swapped(data: bytes) -> bytes:
    first, second = HEADER_BYTES, HEADER_BYTES + SEALED_BLOCK
    end = second + SEALED_BLOCK
    return data[:first] + data[second:end] + data[first:second] + data[end:]


def flipped(at: int) -> object:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return change


CHANGES = {
    "two blocks swapped": swapped,
    "a bit of a block": flipped(HEADER_BYTES + SEALED_BLOCK + 7),
    "a bit of a tag": flipped(-1),
    "the salt": flipped(20),
    "the size": flipped(55),
    "the digest": flipped(70),
    "the last block cut off": lambda data: data[: HEADER_BYTES + 3 * SEALED_BLOCK],
    "cut within a block": lambda data: data[: HEADER_BYTES + SEALED_BLOCK + 9],
    "a block of another file": lambda data: (
        data[:HEADER_BYTES]
        + encrypted(PLAIN)[HEADER_BYTES : HEADER_BYTES + SEALED_BLOCK]
        + data[HEADER_BYTES + SEALED_BLOCK :]
    ),
    "the cipher": lambda data: data[:7] + bytes([data[7] ^ 3]) + data[8:],
    "no header": lambda data: data[HEADER_BYTES:],
}


@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_was_changed_does_not_open(change: str, cipher: Cipher) -> None:
    data = CHANGES[change](encrypted(PLAIN, cipher=cipher))  # type: ignore[operator]
    with pytest.raises(SlotDamaged, match=r"m\.onnx"):
        reader(data).read_all()


@pytest.mark.parametrize(
    ("said", "cipher"),
    [
        ("flags\t\t: fpu aes pclmulqdq\nbugs\t: spectre\n", Cipher.AES_256_GCM),
        ("Features\t: fp asimd aes pmull sha1\n", Cipher.AES_256_GCM),
        ("Features\t: fp asimd evtstrm crc32 cpuid\n", Cipher.CHACHA20_POLY1305),
        ("flags\t\t: fpu aes\n", Cipher.CHACHA20_POLY1305),
        ("Features\t: aes pmull\nFeatures\t: fp\n", Cipher.CHACHA20_POLY1305),
        (None, Cipher.CHACHA20_POLY1305),
    ],
)
def test_a_processor_with_instructions_for_aes_is_given_aes(
    said: str | None, cipher: Cipher, tmp_path: Path
) -> None:
    if said is not None:
        (tmp_path / "cpuinfo").write_text(said)
    assert quickest_cipher(tmp_path / "cpuinfo") is cipher


def test_the_header_of_an_empty_file_is_proven_too() -> None:
    assert reader(encrypted(b"")).read_at(0, 10) == b""
    changed = bytearray(encrypted(b""))
    changed[70] ^= 1
    with pytest.raises(SlotDamaged, match="block 0 of 1"):
        reader(bytes(changed)).read_at(0, 10)


def test_another_key_is_named_and_opens_nothing() -> None:
    other = SlotsKey(bytes(32))
    with pytest.raises(SlotDamaged, match=f"the key {KEY.key_id.hex()}, this device has"):
        reader(encrypted(PLAIN), other)
    assert KEY.secret.hex() not in repr(KEY)
    with pytest.raises(ValueError, match="32 bytes"):
        SlotsKey(b"short")


# --- on a disk ------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> SlotFiles:
    return slot_files(key_file(tmp_path / "slots.key"))


def write(files: SlotFiles, path: Path, data: bytes) -> File:
    file = described(path.name, data)
    writer = files.create(path, file)
    writer.write(data)
    writer.close_synced()
    return file


def test_files_encrypted_and_in_the_clear_are_read_end_to_end_as_one(
    files: SlotFiles, tmp_path: Path
) -> None:
    parts = [b"", PLAIN, b"in the clear", PLAIN[:10], b""]
    given = []
    for number, data in enumerate(parts):
        path = tmp_path / str(number)
        if data == b"in the clear":
            path.write_bytes(data)
            given.append((path, described(path.name, data)))
        else:
            given.append((path, write(files, path, data)))
            assert data not in path.read_bytes() or not data
    whole = b"".join(parts)
    image = files.open_image(given)
    assert image.size_bytes == len(whole)
    for offset, size in [(0, len(whole)), (len(PLAIN) - 5, 25), (len(whole), 0), (3, 0)]:
        assert image.read_at(offset, size) == whole[offset : offset + size]
    with pytest.raises(ValueError, match="range inside"):
        image.read_at(1, len(whole))
    image.close()


def test_a_file_put_in_anothers_place_is_refused(files: SlotFiles, tmp_path: Path) -> None:
    first = write(files, tmp_path / "a", PLAIN)
    write(files, tmp_path / "b", PLAIN[::-1])
    (tmp_path / "b").replace(tmp_path / "a")
    with pytest.raises(SlotDamaged, match="is another file"):
        files.open_read(tmp_path / "a", first)


def test_a_file_in_the_clear_may_begin_as_an_encrypted_one_does(
    files: SlotFiles, tmp_path: Path
) -> None:
    data = encrypted(b"what a publisher chose")
    path = tmp_path / "m"
    path.write_bytes(data)
    file = described("m", data)
    assert not files.is_encrypted(path, file)
    assert files.open_read(path, file).read_at(0, 8) == data[:8]
    assert read_header(path, len(data)) is None


def test_a_file_is_encrypted_in_place_once(files: SlotFiles, tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(PLAIN)
    file = described("m", PLAIN)
    assert files.encrypt_in_place(path, file)
    assert not files.encrypt_in_place(path, file)
    assert PLAIN[:64] not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("m")] == ["m"]
    assert files.open_read(path, file).read_at(0, len(PLAIN)) == PLAIN
    assert path.stat().st_mode & 0o222 == 0


def test_a_copy_of_an_encrypted_file_lies_as_its_source_and_is_proven(
    files: SlotFiles, tmp_path: Path
) -> None:
    plain = random.Random(2).randbytes(20 * BLOCK_BYTES + 100)
    source, copy = tmp_path / "m", tmp_path / "copy"
    file = write(files, source, plain)
    files.copy(source, copy, file)
    assert copy.read_bytes() == source.read_bytes()
    files.copy(tmp_path / "empty", tmp_path / "empty2", write(files, tmp_path / "empty", b""))
    changed = bytearray(copy.read_bytes())
    changed[HEADER_BYTES + 18 * SEALED_BLOCK] ^= 1
    source.write_bytes(changed)
    with pytest.raises(SlotDamaged, match="block 18 of 21"):
        files.copy(source, copy, file)
    source.unlink()
    with pytest.raises(SlotDamaged):
        files.copy(source, copy, file)


def test_a_copy_is_hashed_whichever_way_its_source_lies(files: SlotFiles, tmp_path: Path) -> None:
    """A build that failed leaves blocks that open, and are not what their header says."""
    source, copy = tmp_path / "m", tmp_path / "copy"
    file = described("m", PLAIN)
    writer = files.create(source, file)
    writer.write(PLAIN[:-1] + b"x")
    writer.close_synced()
    with pytest.raises(PayloadCorrupt):
        files.copy(source, copy, file)
    source.write_bytes(PLAIN[:-1] + b"x")
    with pytest.raises(PayloadCorrupt):
        files.copy(source, copy, file)


def test_a_copy_lies_as_what_is_written_from_now_on(files: SlotFiles, tmp_path: Path) -> None:
    source, copy = tmp_path / "m", tmp_path / "copy"
    file = write(files, source, PLAIN)
    files.keyring.encrypts = False
    files.copy(source, copy, file)
    assert copy.read_bytes() == PLAIN
    files.keyring.encrypts = True
    files.copy(copy, source, file)
    assert files.is_encrypted(source, file)
    assert files.open_read(source, file).read_at(0, len(PLAIN)) == PLAIN


def test_what_a_process_without_the_key_gets_is_in_memory_and_goes_with_the_block(
    files: SlotFiles, tmp_path: Path
) -> None:
    file = write(files, tmp_path / "m", PLAIN)
    with MemoryCopies(files).hold(tmp_path, [file]) as opened:
        link = Path(f"/proc/self/fd/{opened['m']}")
        assert "memfd:" in str(link.readlink())
        assert link.read_bytes() == PLAIN
    assert not link.exists()
    (tmp_path / "m").write_bytes(PLAIN)
    with MemoryCopies(files).hold(tmp_path, [file]) as opened:
        assert not opened


def test_what_is_in_memory_is_changed_by_nobody(files: SlotFiles, tmp_path: Path) -> None:
    file = write(files, tmp_path / "m", PLAIN)
    with MemoryCopies(files).hold(tmp_path, [file]) as opened:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.write(opened["m"], b"x")
        assert_sealed(opened["m"])


def test_a_system_without_files_in_memory_is_told_what_to_do(
    files: SlotFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(files, tmp_path / "m", PLAIN)
    monkeypatch.delattr(os, "memfd_create")
    with (
        pytest.raises(StorageFailed, match=r"take \[at_rest\] out"),
        MemoryCopies(files).hold(tmp_path, [file]),
    ):
        pass


def test_without_a_key_an_encrypted_file_is_not_opened(files: SlotFiles, tmp_path: Path) -> None:
    file = write(files, tmp_path / "m", PLAIN)
    with pytest.raises(SlotsKeyMissing, match=r"device\.toml names no key"):
        SlotFiles(OsDisk()).open_read(tmp_path / "m", file)


# --- the key --------------------------------------------------------------------------------------


def test_a_secret_opens_for_its_purpose_and_no_other() -> None:
    sealed = KEY.protect("encryption.key", b"secret")
    assert is_protected(sealed)
    assert b"secret" not in sealed
    assert KEY.open_secret("encryption.key", sealed) == b"secret"
    with pytest.raises(SlotDamaged, match="changed"):
        KEY.open_secret("content.key", sealed)
    with pytest.raises(SlotDamaged, match="another key"):
        SlotsKey(bytes(32)).open_secret("encryption.key", sealed)


def test_the_keys_file_must_be_there_closed_and_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "slots.key"
    place = KeyPlace(key_file=str(path))
    with pytest.raises(SlotsKeyMissing, match="No such file"):
        open_slots_key(place)
    for secret in (b"", bytes(31), bytes(33)):
        key_file(path, secret)
        with pytest.raises(SlotsKeyMissing, match="32 bytes"):
            open_slots_key(place)
    key_file(path)
    for mode in (0o604, 0o620, 0o644):
        path.chmod(mode)
        with pytest.raises(SlotsKeyMissing, match="open to others"):
            open_slots_key(place)
    path.chmod(0o440)  # the group's applications open slots too
    assert open_slots_key(place) == KEY


def test_a_token_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    pytest.importorskip("pkcs11")
    pin = key_file(tmp_path / "pin", b"0000")
    token = TokenPlace(uri="hsm:2?label=gone", module="/no/library.so", pin_file=str(pin))
    place = KeyPlace(key_file=str(key_file(tmp_path / "wrapped")), token=token)
    with pytest.raises(SlotsKeyMissing, match="hsm:2"):
        open_slots_key(place)
