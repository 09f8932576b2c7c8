"""A release key that never leaves a token: PKCS#11, as an HSM or a smart card speaks it.

The token is SoftHSM (Debian's and Ubuntu's package `softhsm2`), reached by python-pkcs11 through
securesystemslib as any other would be; tools/test installs it where it may.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pkcs11
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from securesystemslib.signer import Key

from slotcast_publisher.errors import KeyUnavailable
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.trust import ceremonies
from slotcast_publisher.trust.keys import Passphrase
from slotcast_publisher.trust.proof import verify_notice
from tests.support import models

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN, KEY_ID = "slotcast", "4711", 7
URI: Final = f"hsm:{KEY_ID}?label={LABEL}"

pytestmark = pytest.mark.skipif(
    shutil.which("softhsm2-util") is None or not MODULE.exists(),
    reason="needs SoftHSM (apt-get install softhsm2)",
)


@pytest.fixture(scope="module")
def public_pem(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """Make a token with a key in it; give the key's public half."""
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        patch.setenv("PYKCS11LIB", str(MODULE))
        words = ["--init-token", "--free", "--label", LABEL, "--so-pin", "0000", "--pin", PIN]
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
        yield _generate()


def _generate() -> bytes:
    token = pkcs11.lib(str(MODULE)).get_token(token_label=LABEL)
    with token.open(rw=True, user_pin=PIN) as session:
        curve = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, _ = curve.generate_keypair(store=True, label="detector", id=bytes([KEY_ID]))
        der = encode_ec_public_key(public)
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(models.classifier())
    repo = Repository.init(tmp_path / "repo", encrypted=True, passphrase=_gives("correct horse"))
    _release(repo, tmp_path, "1.0")
    return tmp_path


def _gives(secret: str | None) -> Passphrase:
    return lambda _: secret


def _open(folder: Path, pin: Passphrase) -> Repository:
    return Repository(folder / "repo", passphrase=_gives("correct horse"), pin=pin)


def _release(repo: Repository, folder: Path, version: str) -> None:
    repo.build_release(ReleaseRequest(model="clf", version=version, files=(folder / "model.onnx",)))


def _on_token(repo: Repository, public_pem: bytes) -> Callable[[str], Key]:
    return lambda name: repo.ring.register(name, URI, public_pem, None)


def test_a_device_follows_to_a_key_on_a_token(folder: Path, public_pem: bytes) -> None:
    repo = _open(folder, _gives(PIN))
    first = repo.roles.root_bytes()
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    _release(repo, folder, "2.0")
    repo.offer("clf", "2.0")
    assert verify_notice(repo.build_notice("clf"), first).release.version == "2.0"


@pytest.mark.parametrize(
    ("given", "said"),
    [(None, "release-clf: its token needs a PIN: set SLOTCAST_PIN"), ("0000", "PinIncorrect")],
)
def test_without_the_tokens_pin_nothing_is_signed(
    folder: Path, public_pem: bytes, given: str | None, said: str
) -> None:
    repo = _open(folder, _gives(PIN))
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    with pytest.raises(KeyUnavailable, match=f"release-clf: expected 1 of 1 .*{said}"):
        _release(_open(folder, _gives(given)), folder, "2.0")


def test_a_token_is_never_tried_with_a_passphrase(folder: Path, public_pem: bytes) -> None:
    """A few wrong tries lock a token for good."""
    asked: list[str] = []

    def pin(purpose: str) -> str:
        asked.append(purpose)
        return PIN

    repo = _open(folder, pin)
    ceremonies.rotate_keys(repo.roles, "release-clf", _on_token(repo, public_pem))
    assert set(asked) == {f"key release-clf at {URI}"}
