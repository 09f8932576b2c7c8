"""The renewal of a device's certificate: what it asks, and what the publisher's service answers.

A device asks below its own name, where the broker's rules let nobody else write, before its
certificate ends. It keeps its key: the request and the certificate that it still has name the same.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.fields import Detail, DeviceId, Format, Requires, Sha256, Word
from slotcast_schemas.wire import Message

Der = Annotated[bytes, Meta(min_length=1, max_length=limits.CERTIFICATE_MAX_BYTES)]
"""A certificate or a request for one, in DER."""


class Renewal(Message, frozen=True, kw_only=True, tag_field="kind", tag="renewal"):
    """Asks for a certificate that ends later.

    Attributes:
        request: a PKCS#10 request (RFC 2986) in DER: its common name is the device's id, and the
            key that signed it is that of `certificate`.
        certificate: the certificate that the device has, in DER.
    """

    KIND = "renewal"
    MAX_BYTES = limits.RENEWAL_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    request: Der
    certificate: Der


class Certificate(Message, frozen=True, kw_only=True, tag_field="kind", tag="certificate"):
    """Answers a `renewal`: with a certificate, or with a word for why there is none.

    Attributes:
        request: the SHA-256 of the request that is answered.
        certificate: in DER; empty where there is none.
        reason: why there is none; `ok` where there is one.
    """

    KIND = "certificate"
    MAX_BYTES = limits.RENEWAL_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    request: Sha256
    certificate: Annotated[bytes, Meta(max_length=limits.CERTIFICATE_MAX_BYTES)] = b""
    reason: Word = "ok"
    detail: Detail = ""
