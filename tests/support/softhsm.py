"""A token of SoftHSM with a key of P-256 in it, as an HSM, a TPM or a smart card would have one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
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

MODULE: Final = Path("/usr/lib/softhsm/libsofthsm2.so")
LABEL, PIN, KEY_ID = "slotcast", "4711", 7
URI: Final = f"hsm:{KEY_ID}?label={LABEL}"

needs_softhsm = pytest.mark.skipif(
    shutil.which("softhsm2-util") is None or not MODULE.exists(),
    reason="needs SoftHSM (apt-get install softhsm2)",
)


@contextmanager
def token_with_key(folder: Path) -> Iterator[bytes]:
    """Make a token with a key in it for the length of a block; gives the key's public half.

    The module reads where its tokens lie once in a process, and another test may have been first.
    """
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
        patch.setenv("PYKCS11LIB", str(MODULE))
        words = ["--init-token", "--free", "--label", LABEL, "--so-pin", "0000", "--pin", PIN]
        subprocess.run(["softhsm2-util", *words], check=True, capture_output=True)
        yield _generate()


def _generate() -> bytes:
    module = pkcs11.lib(str(MODULE))
    module.reinitialize()
    token = module.get_token(token_label=LABEL)
    with token.open(rw=True, user_pin=PIN) as session:
        curve = session.create_domain_parameters(
            pkcs11.KeyType.EC,
            {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")},
            local=True,
        )
        public, _ = curve.generate_keypair(store=True, label="detector", id=bytes([KEY_ID]))
        der = encode_ec_public_key(public)
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
