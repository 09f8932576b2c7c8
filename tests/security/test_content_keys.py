"""Who tampers with a wrapped content key, or a key on the device, gets nothing and is noticed."""

from __future__ import annotations

import base64
import json
import random
import struct
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from slotcast_device.storage.encryption_key import (
    KEY_FILE,
    ContentKeyFile,
    describe_encryption_key,
    load_encryption_key,
    make_encryption_key,
)
from slotcast_device.storage.identity import DeviceIdentity
from slotcast_device.storage.os_disk import OsDisk
from slotcast_publisher.enrolment.request import read_request
from slotcast_publisher.trust.recipients import Recipient
from slotcast_schemas.content_key import (
    ENTRIES_PER_CHUNK,
    ENTRY_BYTES,
    KEYS_CHUNK_BYTES,
    build_list,
    chunk_of,
    commitment_to,
    find_entry,
    public_bytes,
    read_public_key,
    recipient_id,
    unwrap,
    wrap,
)
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.errors import (
    NoContentKey,
    SoftwareBroken,
    StorageFailed,
    UsageError,
)
from slotcast_schemas.messages.release import Encryption
from tests.soak import fuzz_encrypted
from tests.support import messages

pytest.importorskip("cryptography.hazmat.primitives.hpke")
CONTENT_KEY = bytes(range(32))
RELEASE = messages.release(encryption=Encryption(key_commitment=commitment_to(CONTENT_KEY)))


def recipient(number: int) -> Recipient:
    key = X25519PrivateKey.from_private_bytes(number.to_bytes(32, "big"))
    return Recipient(device=f"cam-{number}", key=public_bytes(key))


# --- the wrapped key ------------------------------------------------------------------------------


def device() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def test_only_the_recipient_unwraps_the_key() -> None:
    mine, other = device(), device()
    wrapped = wrap(CONTENT_KEY, public_bytes(mine), RELEASE)
    assert unwrap(wrapped, mine, RELEASE) == CONTENT_KEY
    with pytest.raises(NoContentKey, match="does not open"):
        unwrap(wrapped, other, RELEASE)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"sequence": 8},
        {"encryption": Encryption(key_commitment=messages.sha("other"))},
    ],
    ids=["model", "sequence", "commitment"],
)
def test_a_key_that_was_wrapped_for_one_release_is_none_for_another(
    changes: dict[str, Any],
) -> None:
    mine = device()
    wrapped = wrap(CONTENT_KEY, public_bytes(mine), RELEASE)
    with pytest.raises(NoContentKey, match="does not open"):
        unwrap(wrapped, mine, msgspec.structs.replace(RELEASE, **changes))


@pytest.mark.parametrize("at", [0, 31, 32, 79])
def test_a_wrapped_key_with_a_bit_turned_is_refused(at: int) -> None:
    mine = device()
    wrapped = bytearray(wrap(CONTENT_KEY, public_bytes(mine), RELEASE))
    wrapped[at] ^= 1
    with pytest.raises(NoContentKey, match="does not open"):
        unwrap(bytes(wrapped), mine, RELEASE)


@pytest.mark.parametrize("wrapped", [b"", bytes(80), bytes(31), b"\xff" * 80])
def test_bytes_that_are_no_wrapped_key_are_refused(wrapped: bytes) -> None:
    with pytest.raises(NoContentKey):
        unwrap(wrapped, device(), RELEASE)


def test_a_key_that_an_online_thief_wrapped_is_not_the_committed_one() -> None:
    """Wrapped as it must be for this release, by one who knows all but the content key."""
    mine = device()
    forged = _sealed_by_hand(bytes(32), mine)
    with pytest.raises(NoContentKey, match="another content key than the signed release names"):
        unwrap(forged, mine, RELEASE)


def _sealed_by_hand(key: bytes, recipient: X25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives import hpke

    suite = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
    return suite.encrypt(key, recipient.public_key(), _info(recipient))


def _info(recipient: X25519PrivateKey) -> bytes:
    """Write down once more what docs/encryption.md says of `info`."""
    model = RELEASE.model.encode()
    return (
        b"slotcast content key 1"
        + struct.pack(">H", len(model))
        + model
        + struct.pack(">Q", RELEASE.sequence)
        + commitment_to(CONTENT_KEY)
        + recipient_id(public_bytes(recipient))
    )


def test_a_release_in_the_clear_has_no_content_key() -> None:
    mine = device()
    wrapped = wrap(CONTENT_KEY, public_bytes(mine), RELEASE)
    with pytest.raises(NoContentKey, match="does not say that it is encrypted"):
        unwrap(wrapped, mine, msgspec.structs.replace(RELEASE, encryption=None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no base64!", "expected base64"),
        (base64.b64encode(bytes(31)).decode(), "32 bytes"),
        (base64.b64encode(bytes(32)).decode(), "32 bytes"),
        (base64.b64encode(b"\1" + bytes(31)).decode(), "32 bytes"),
    ],
    ids=["no base64", "short", "zero", "one"],
)
def test_a_public_key_that_agrees_on_nothing_is_no_recipients_key(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_public_key(text)


# --- HPKE by RFC 9180, once more from its parts ---------------------------------------------------


def _extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
    hmac = HMAC(salt or bytes(32), hashes.SHA256())
    hmac.update(b"HPKE-v1" + suite + label + ikm)
    return hmac.finalize()


def _expand(prk: bytes, suite: bytes, label: bytes, info: bytes, size: int) -> bytes:
    said = struct.pack(">H", size) + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), size, said).derive(prk)


def rfc9180_open(
    enc: bytes, sealed_: bytes, private: X25519PrivateKey, info: bytes, aad: bytes
) -> bytes:
    """Open a message of base mode, DHKEM(X25519), HKDF-SHA256, ChaCha20-Poly1305 (RFC 9180)."""
    kem, suite = b"KEM" + b"\0\x20", b"HPKE" + b"\0\x20\0\1\0\3"
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    prk = _extract(b"", kem, b"eae_prk", shared)
    secret = _expand(prk, kem, b"shared_secret", enc + public_bytes(private), 32)
    psk_id = _extract(b"", suite, b"psk_id_hash", b"")
    info_ = _extract(b"", suite, b"info_hash", info)
    context = b"\0" + psk_id + info_
    prk = _extract(secret, suite, b"secret", b"")
    key = _expand(prk, suite, b"key", context, 32)
    nonce = _expand(prk, suite, b"base_nonce", context, 12)
    return ChaCha20Poly1305(key).decrypt(nonce, sealed_, aad)


def test_keys_are_wrapped_as_rfc_9180_says() -> None:
    """The known answer of RFC 9180, A.2.1.1, opens by hand, and so does what we wrap."""
    known = {
        "private": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        "enc": "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
        "info": "4f6465206f6e2061204772656369616e2055726e",
        "aad": "436f756e742d30",
        "sealed": "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db"
        "21993c62ce81883d2dd1b51a28",
    }
    raw = {name: bytes.fromhex(text) for name, text in known.items()}
    private = X25519PrivateKey.from_private_bytes(raw["private"])
    plain = rfc9180_open(raw["enc"], raw["sealed"], private, raw["info"], raw["aad"])
    assert plain == b"Beauty is truth, truth beauty"
    mine = device()
    wrapped = wrap(CONTENT_KEY, public_bytes(mine), RELEASE)
    assert rfc9180_open(wrapped[:32], wrapped[32:], mine, _info(mine), b"") == CONTENT_KEY
    with pytest.raises(InvalidTag):
        rfc9180_open(wrapped[:32], wrapped[32:], mine, b"", b"")


# --- the list -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, ENTRIES_PER_CHUNK, ENTRIES_PER_CHUNK + 1, 2000, 20_000])
def test_each_recipient_finds_its_own_entry_in_the_one_chunk_that_it_fetches(count: int) -> None:
    wrapped = {recipient_id(n.to_bytes(32, "big")): n.to_bytes(80, "big") for n in range(count)}
    found = build_list(wrapped)
    chunks = [found[at : at + KEYS_CHUNK_BYTES] for at in range(0, len(found), KEYS_CHUNK_BYTES)]
    for recipient, entry in wrapped.items():
        assert find_entry(chunks[chunk_of(recipient, len(chunks))], recipient) == entry
    assert find_entry(chunks[0], recipient_id(b"stranger")) is None
    assert len(found) < max(count, ENTRIES_PER_CHUNK) * ENTRY_BYTES * 2


def test_more_recipients_than_a_list_takes_are_refused() -> None:
    wrapped = {n.to_bytes(16, "big"): bytes(80) for n in range(20_001)}
    with pytest.raises(UsageError, match="at most 20000 recipients"):
        build_list(wrapped)


def test_any_bytes_are_opened_or_refused_by_name() -> None:
    """A short walk of what `make soak` fuzzes for hours."""
    rng = random.Random(9180)
    for seed in fuzz_encrypted.seeds():
        for _ in range(300):
            changed = bytearray(seed[: rng.randrange(len(seed) + 1)])
            for _ in range(rng.randrange(4) if changed else 0):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            fuzz_encrypted.one_input(bytes(changed))


# --- on the device --------------------------------------------------------------------------------


def test_the_key_is_for_the_agents_user_alone_and_the_content_key_too(tmp_path: Path) -> None:
    disk = OsDisk()
    private = make_encryption_key(disk, tmp_path)
    file = ContentKeyFile(disk, tmp_path, tmp_path)
    public = public_bytes(private)
    file.take(build_list({recipient_id(public): wrap(CONTENT_KEY, public, RELEASE)}), RELEASE)
    assert file.load(RELEASE) == CONTENT_KEY
    for name in (KEY_FILE, "content.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    file.drop()
    assert file.load(RELEASE) is None


def test_a_content_key_that_was_exchanged_on_the_disk_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "content.key").write_bytes(bytes(32))
    assert ContentKeyFile(OsDisk(), tmp_path, tmp_path).load(RELEASE) is None


def test_a_damaged_encryption_key_is_said_and_not_replaced_by_itself(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(StorageFailed, match="expected an X25519 key"):
        load_encryption_key(OsDisk(), tmp_path)


@pytest.fixture
def no_hpke(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed library of before."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.hpke", None)
    monkeypatch.delattr("cryptography.hazmat.primitives.hpke", raising=False)


@pytest.mark.usefixtures("no_hpke")
def test_a_library_without_hpke_is_named_with_what_to_do(tmp_path: Path) -> None:
    disk = OsDisk()
    assert describe_encryption_key(disk, tmp_path) is None
    private = make_encryption_key(disk, tmp_path)
    for ask in (
        lambda: describe_encryption_key(disk, tmp_path),
        lambda: wrap(CONTENT_KEY, public_bytes(private), RELEASE),
        lambda: unwrap(bytes(80), private, RELEASE),
    ):
        with pytest.raises(SoftwareBroken, match="has none; install a newer one here"):
            ask()


def test_the_check_says_by_which_key_encrypted_releases_are_read(tmp_path: Path) -> None:
    private = make_encryption_key(OsDisk(), tmp_path)
    said = describe_encryption_key(OsDisk(), tmp_path)
    assert said is not None
    assert recipient_id(public_bytes(private)).hex()[:16] in said


# --- enrolment ------------------------------------------------------------------------------------


def test_an_encryption_key_that_the_device_did_not_sign_is_not_enrolled() -> None:
    mine, thief = DeviceIdentity(Ed25519PrivateKey.generate()), device()
    good = json.loads(write_enrolment(mine.make_request("cam-1", public_bytes(device()))))
    assert read_request(json.dumps(good).encode(), "file").encryption_key is not None
    bad = good | {"encryption_key": base64.b64encode(public_bytes(thief)).decode()}
    with pytest.raises(UsageError, match="not signed by the device's identity key"):
        read_request(json.dumps(bad).encode(), "file")
