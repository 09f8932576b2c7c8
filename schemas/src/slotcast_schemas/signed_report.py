"""Statuses and metrics that a device signs with its own key.

The signature is the last field of the message, so its value is the last bytes; what it covers is
`REPORT_CONTEXT`, the kind and the device's id, each with a zero byte behind it, and all bytes
before that value. So a reader needs no second encoding, one that knows of no signatures passes over
the field, and a byte more or less anywhere is noticed.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from slotcast_schemas import wire
from slotcast_schemas.identity import (
    REPORT_CONTEXT,
    SIGNATURE_BYTES,
    PublicKey,
    is_signed_by,
)
from slotcast_schemas.messages import Metrics, Status

Report = Status | Metrics
"""What a device signs."""

_FIELD: Final = b"\xa9signature\xc4\x40"
"""How the field begins in msgpack: its name, and that 64 bytes follow."""


class Signer(Protocol):
    """Has a device's identity key."""

    def sign(self, context: bytes, data: bytes) -> bytes:
        """Sign data for one purpose; see `identity.sign`."""


def encode_report(report: Report, signer: Signer | None) -> bytes:
    """Give the bytes of a report, signed.

    Args:
        report: a status or metrics.
        signer: the device's key; None for a report that is not signed.

    Raises:
        MalformedMessage: the report breaks one of its own bounds; the caller built it wrong.
    """
    if signer is None:
        return wire.encode(report)
    room = wire.encode(msgspec.structs.replace(report, signature=bytes(SIGNATURE_BYTES)))
    signed = room[:-SIGNATURE_BYTES]
    return signed + signer.sign(_context_of(report), signed)


def is_report_of(public: PublicKey, report: Report, data: bytes) -> bool:
    """Say whether a report was signed by this key, as it came.

    Args:
        public: the device's.
        report: what the bytes were decoded to.
        data: its bytes.
    """
    if report.signature is None:
        return False
    signed = data[:-SIGNATURE_BYTES]
    if not signed.endswith(_FIELD):
        return False
    return is_signed_by(public, _context_of(report), signed, data[-SIGNATURE_BYTES:])


def _context_of(report: Report) -> bytes:
    return REPORT_CONTEXT + f"{report.KIND}\0{report.device}\0".encode()
