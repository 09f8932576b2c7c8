"""Whether a report is truly its device's, by the key that the device is enrolled with. Pure.

What a device is enrolled with is an argument; what is refused for lack of a proof is said by
`refusal` alone, for all kinds of reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from slotcast_publisher.enrolment.known_keys import KnownKey
from slotcast_publisher.fleet.intake.messages import Drop, Message
from slotcast_publisher.serve_settings import Reports
from slotcast_schemas.messages import Presence
from slotcast_schemas.signed_report import is_report_of


class SignedWord(StrEnum):
    """What a report's signature says; the words are kept in the database and shown."""

    YES = "yes"
    """By the key that the device is enrolled with."""
    UNSIGNED = "unsigned"
    """There is none: as true as the broker's access rules."""
    NOT_ENROLLED = "not_enrolled"
    """There is one, and nobody has said whose key that is: no truer than none."""
    FALSE = "false"
    """The device is enrolled, and its key did not sign this."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is known of who sent a message.

    Attributes:
        key_id: of the key that the device is enrolled with; empty without one.
        is_enrolled: whether it is.
    """

    signed: SignedWord
    key_id: str = ""
    is_enrolled: bool = False

    @property
    def is_proven(self) -> bool:
        """Whether it is truly the device's."""
        return self.signed is SignedWord.YES


UNPROVEN: Final = Proof(SignedWord.UNSIGNED)
"""What a message comes with that nobody looked at."""


def prove(message: Message, data: bytes, key: KnownKey | None) -> Proof:
    """Look at a message's signature.

    Args:
        message: what the bytes were decoded to. Presence is not signed: that a device is gone is
            the broker's word.
        data: its bytes, as they came.
        key: what is known of the device; None where it is not enrolled.
    """
    key_id = "" if key is None else key.key_id
    if isinstance(message, Presence) or message.signature is None:
        return Proof(SignedWord.UNSIGNED, key_id, key is not None)
    if key is None:
        return Proof(SignedWord.NOT_ENROLLED)
    is_its = key.public is not None and is_report_of(key.public, message, data)
    return Proof(SignedWord.YES if is_its else SignedWord.FALSE, key_id, is_enrolled=True)


def refusal(message: Message, proof: Proof, reports: Reports) -> Drop | None:
    """Say why a report is not believed for lack of a proof; None where it may be.

    Args:
        message: the report.
        proof: what its signature says.
        reports: which reports are taken.
    """
    if isinstance(message, Presence) or proof.is_proven:
        return None
    if proof.signed is SignedWord.FALSE:
        return Drop.BAD_SIGNATURE
    if proof.is_enrolled:
        return Drop.UNSIGNED
    return Drop.NOT_ENROLLED if reports == "signed" else None
