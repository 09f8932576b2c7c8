"""An identity key that lies in a TPM or another token, and never leaves that.

The token is reached by PKCS#11 and by the means that the publisher's keys use (securesystemslib,
python-pkcs11): a key of P-256, which tokens have where they lack Ed25519. It is made with the
token's own tools.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.signer import HSMSigner, SSlibKey

from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.identity import is_fit
from slotcast_schemas.plain_files import open_regular, read_regular

if TYPE_CHECKING:
    from slotcast_device.config import DeviceConfig, TokenConfig

_MODULE_VARIABLE: Final = "PYKCS11LIB"
"""The environment variable by which securesystemslib is told of the PKCS#11 library."""
_TRIAL: Final = b"slotcast token v1\0"
"""What the token signs to show that it can."""
_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_PIN_MAX_BYTES: Final = 256
"""The most bytes of a PIN's file that are read."""


class TokenKey(ec.EllipticCurvePrivateKey):
    """A private key of which only its token knows more than the public part.

    Args:
        signer: has the token sign.
        public: the public part.
    """

    def __init__(self, signer: HSMSigner, public: ec.EllipticCurvePublicKey) -> None:
        self._signer = signer
        self._public = public
        self._is_lost = False

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign with ECDSA and SHA-256; nobody asks for another algorithm.

        A token that refused once is not asked again by this process, for it may count wrong PINs.

        Raises:
            StorageFailed: the token is gone, or refuses.
        """
        del signature_algorithm
        if self._is_lost:
            raise StorageFailed("the token of this device's key refused before")
        try:
            return bytes.fromhex(self._signer.sign(bytes(data)).signature)
        except Exception as exc:  # libraries of many vendors: each has errors of its own
            self._is_lost = True
            raise _token_failure(exc) from exc

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Give the public part."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """The size of the key, in bits."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Nothing but signing is asked of the token."""
        _refuse(algorithm, peer_public_key)

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """It does not leave the token."""
        _refuse()

    def private_bytes(self, *form: Any, **more: Any) -> bytes:
        """It does not leave the token."""
        _refuse(form, more)

    def __copy__(self) -> TokenKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TokenKey:
        return self


def open_token_key(config: DeviceConfig, token: TokenConfig) -> TokenKey:
    """Open the key that the configuration names, and have it sign once.

    Args:
        config: whose folder paths count from.
        token: where the key is.

    Raises:
        StorageFailed: the token cannot be reached, has no such key, or refuses the PIN.
    """
    path = config.folder / token.public_key
    try:
        public = load_pem_public_key(read_regular(path))
    except (OSError, ValueError) as exc:
        raise StorageFailed(f"identity.public_key {path}: {exc}") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not is_fit(public):
        raise StorageFailed(f"identity.public_key {path}: expected a key of P-256")
    os.environ[_MODULE_VARIABLE] = token.module
    try:
        known = SSlibKey.from_crypto(public)
        signer = HSMSigner.from_priv_key_uri(token.uri, known, _pin_reader(config, token))
    except (ValueError, ImportError) as exc:
        raise _token_failure(exc) from exc
    key = TokenKey(signer, public)
    made = key.sign(_TRIAL, _ECDSA)
    try:
        public.verify(made, _TRIAL, _ECDSA)
    except InvalidSignature as exc:
        raise StorageFailed(f"{token.uri}: the key there is not that of {path}") from exc
    return key


def _pin_reader(config: DeviceConfig, token: TokenConfig) -> Callable[[str], str]:
    def read(purpose: str) -> str:
        del purpose
        with open_regular(config.folder / token.pin_file) as file:
            return file.read(_PIN_MAX_BYTES).decode().strip()

    return read


def _token_failure(exc: Exception) -> StorageFailed:
    """Say what a library said; many of their errors have no text but their name."""
    said = str(exc) or type(exc).__name__
    return StorageFailed(f"the token of this device's key cannot be used: {said:.200}")


def _refuse(*asked: object) -> NoReturn:
    del asked
    raise NotImplementedError("a key on a token signs, and does nothing else here")
