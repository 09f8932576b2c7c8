"""The enrolment request: a device's word for which key is its own, as a JSON file.

`slotcast-device enrol` writes it and a person brings it to the publisher, who thereby knows whose
it is. The PKCS#10 request in it is signed by the key that it names: who sends it has that key.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import UsageError
from slotcast_schemas.explain import convert
from slotcast_schemas.fields import DeviceId
from slotcast_schemas.strict_json import read_json

FORMAT: Final = "slotcast-enrolment/1"
"""What `format` says."""

REQUEST_MAX_BYTES: Final = 32 * 1024
"""The most bytes of a request; a usual one has half a kilobyte."""

CSR_MAX_CHARS: Final = 8 * 1024
"""The most characters of the PKCS#10 request in it."""


class Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment request. Fields that a reader does not know are ignored; new ones are optional.

    Attributes:
        device_id: who asks.
        csr: a PKCS#10 request (RFC 2986) in PEM: its common name is the device's id, its key the
            device's identity key, which also signed it.
        encryption_key: an X25519 public key in base64, for which content keys are wrapped.
        encryption_signature: of the identity key over that, in base64 (`encryption_key_data`).
    """

    format: Literal["slotcast-enrolment/1"] = FORMAT
    device_id: DeviceId
    csr: Annotated[str, Meta(min_length=1, max_length=CSR_MAX_CHARS)]
    encryption_key: Annotated[str, Meta(max_length=64)] = ""
    encryption_signature: Annotated[str, Meta(max_length=128)] = ""


make_decoders(Enrolment)


def encryption_key_data(device_id: str, encryption_key: bytes) -> bytes:
    """Give what the identity key signs, to say that an encryption key is this device's too."""
    return device_id.encode() + b"\0" + encryption_key


def write_enrolment(request: Enrolment) -> bytes:
    """Give the bytes of a request: JSON, for people to look at."""
    return msgspec.json.format(msgspec.json.encode(request), indent=1) + b"\n"


def parse_enrolment(data: bytes, what: str) -> Enrolment:
    """Read a request; nothing in it is proven yet.

    Args:
        data: its bytes.
        what: what messages call it, such as the file's name.

    Raises:
        UsageError: too large, not JSON, a key twice, or a field that is not as it must be.
    """
    if len(data) > REQUEST_MAX_BYTES:
        raise UsageError(
            f"{what}: expected an enrolment request of at most {REQUEST_MAX_BYTES} bytes,"
            f" got {len(data)}"
        )
    try:
        fields = read_json(data)
    except ValueError as exc:
        raise UsageError(f"{what}: expected an enrolment request in JSON: {exc!s:.200}") from exc
    return convert(fields, Enrolment, what)
