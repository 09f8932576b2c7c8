"""Has a token unwrap the slots' key: RSA-OAEP, which TPMs, cards and HSMs do by PKCS#11.

The digest is SHA-1, the one that all of them take; OAEP stays safe although collisions of it are
known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from slotcast_schemas.errors import SlotsKeyMissing

if TYPE_CHECKING:
    from slotcast_device.at_rest.slots_key import TokenPlace

_URI: Final = re.compile(r"hsm:([0-9]+)(?:\?(label=.+))?\Z")


def unwrap(token: TokenPlace, pin: str, wrapped: bytes) -> bytes:
    """Give what was wrapped for a token's key.

    Args:
        token: where the key is.
        pin: opens the token.
        wrapped: by RSA-OAEP with SHA-1.

    Raises:
        SlotsKeyMissing: the token cannot be reached, has no such key, or refuses.
    """
    found = _URI.match(token.uri)
    if found is None:
        raise SlotsKeyMissing(f"{token.uri}: expected hsm:NUMBER, with ?label=TOKEN or without")
    number, label = int(found[1]), dict(parse_qsl(found[2] or "")).get("label")
    try:
        return _ask(token.module, label, number, pin, wrapped)
    except ImportError as exc:
        raise SlotsKeyMissing(
            f"python-pkcs11 is not installed here ({exc}): pip install 'slotcast-device[hsm]'"
        ) from exc
    except Exception as exc:  # libraries of many vendors: each has errors of its own
        said = str(exc) or type(exc).__name__
        raise SlotsKeyMissing(
            f"the token of the slots' key, {token.uri}, does not unwrap it: {said:.200}"
        ) from exc


def _ask(module: str, label: str | None, number: int, pin: str, wrapped: bytes) -> bytes:
    import pkcs11

    key_id = number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")
    library: Any = pkcs11.lib(module)
    chosen = {} if label is None else {"token_label": label}
    with library.get_token(**chosen).open(user_pin=pin) as session:
        key = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, id=key_id)
        opened = key.decrypt(
            wrapped,
            mechanism=pkcs11.Mechanism.RSA_PKCS_OAEP,
            mechanism_param=(pkcs11.Mechanism.SHA_1, pkcs11.MGF.SHA1, None),
        )
    return bytes(opened)
