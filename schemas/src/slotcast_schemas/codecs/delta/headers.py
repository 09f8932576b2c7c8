"""How a delta and each of its sections begin: sizes, features, digests, checked as they are read.

docs/delta-format.md is the specification; what follows a section's header is
`description_format`'s.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from slotcast_schemas.errors import Incompatible, PayloadCorrupt, WrongBase

MAGIC: Final = b"SLOTDLT1"
"""The bytes that every delta begins with (docs/delta-format.md)."""


FEATURE_WEIGHTS: Final = 1
"""A stream of other bytes is a section of weights: packer 4."""


FEATURE_RECORDS: Final = 2
"""Both images are in field order (`records`); their runs of records follow the header."""


FEATURE_GATHER: Final = 4
"""A tensor's rows or columns were elsewhere in a matrix of the base: segments of form 3."""


KNOWN_FEATURES: Final = FEATURE_WEIGHTS | FEATURE_RECORDS | FEATURE_GATHER
"""The bits of the features that this decoder has; a delta that needs another is refused."""


SECTION_IMAGE_MAX: Final = 16 * 1024 * 1024
"""The most bytes of the image that one section makes: it bounds what a decoder holds."""


DESCRIPTION_MAX: Final = 8 * 1024 * 1024
"""The most bytes of a section's description, unpacked."""


_HEADER: Final = struct.Struct("<8sQQQ32sI")


HEADER_SIZE: Final = _HEADER.size
"""The bytes of the header that a delta begins with."""


_SECTION: Final = struct.Struct("<IIIIIIBBHI")


SECTION_HEADER_SIZE: Final = _SECTION.size
"""The bytes of the header that a section begins with."""


@dataclass(frozen=True, slots=True)
class Header:
    """The first bytes of a delta."""

    base_size_bytes: int
    image_size_bytes: int
    base_sha256: bytes
    section_count: int
    features: int = 0

    def pack(self) -> bytes:
        """Give the header's bytes."""
        return _HEADER.pack(
            MAGIC,
            self.features,
            self.base_size_bytes,
            self.image_size_bytes,
            self.base_sha256,
            self.section_count,
        )

    @classmethod
    def parse(
        cls, data: bytes, *, base_size_bytes: int, base_sha256: bytes, image_size_bytes: int
    ) -> Header:
        """Read a header and check it against what the caller has and expects.

        Args:
            data: the header's bytes, as the payload begins.
            base_size_bytes: the size of the image that is there.
            base_sha256: the digest of the image that is there.
            image_size_bytes: the size of the image that is signed.

        Raises:
            PayloadCorrupt: no delta, or it makes an image of another size.
            Incompatible: it needs a feature that this decoder has not.
            WrongBase: it starts from another image.
        """
        if len(data) < HEADER_SIZE or not data.startswith(MAGIC):
            raise PayloadCorrupt(f"expected a delta to start with {MAGIC!r}, got {data[:8]!r}")
        _, features, base_size, image_size, sha256, sections = _HEADER.unpack(data[:HEADER_SIZE])
        if features & ~KNOWN_FEATURES:
            raise Incompatible(
                f"expected delta features within {KNOWN_FEATURES:#x}, got {features:#x}; "
                "update the device's software or send it a full payload"
            )
        if base_size != base_size_bytes or sha256 != base_sha256:
            raise WrongBase(
                f"expected a delta from base {base_sha256.hex()} of {base_size_bytes} bytes, "
                f"got one from {sha256.hex()} of {base_size} bytes"
            )
        if image_size != image_size_bytes:
            raise PayloadCorrupt(f"expected an image of {image_size_bytes} bytes, got {image_size}")
        if sections > image_size:
            raise PayloadCorrupt(f"expected at most {image_size} sections, got {sections}")
        return cls(base_size, image_size, sha256, sections, features)


@dataclass(frozen=True, slots=True)
class SectionHeader:
    """Sizes of a section's parts, which follow it in this order."""

    image_size_bytes: int
    description_size_bytes: int
    description_packed_bytes: int
    other_bytes: int
    words_bytes: int
    plain_bytes: int
    lanes_log2: int
    precision_bits: int
    crc32: int

    @property
    def body_bytes(self) -> int:
        """Size of all the parts together."""
        return (
            self.description_packed_bytes + self.other_bytes + self.words_bytes + self.plain_bytes
        )

    def pack(self) -> bytes:
        """Give the section header's bytes."""
        return _SECTION.pack(
            self.image_size_bytes,
            self.description_size_bytes,
            self.description_packed_bytes,
            self.other_bytes,
            self.words_bytes,
            self.plain_bytes,
            self.lanes_log2,
            self.precision_bits,
            0,
            self.crc32,
        )

    @classmethod
    def parse(cls, data: bytes, *, image_left_bytes: int, payload_left_bytes: int) -> SectionHeader:
        """Read a section header and check it against what is left of image and payload.

        Args:
            data: the header's bytes.
            image_left_bytes: what the sections before it left of the image.
            payload_left_bytes: what the sections before it left of the payload.

        Raises:
            PayloadCorrupt: a number is out of its bounds.
        """
        image, size, packed, other, words, plain, lanes, precision, zero, crc32 = _SECTION.unpack(
            data
        )
        header = cls(image, size, packed, other, words, plain, lanes, precision, crc32)
        check_bound("section image", image, min(SECTION_IMAGE_MAX, image_left_bytes), least=1)
        check_bound("section description", size, DESCRIPTION_MAX)
        check_bound("section body", header.body_bytes, payload_left_bytes)
        check_bound("lanes", lanes, 12)
        check_bound("precision", precision, 14, least=8)
        check_bound("reserved", zero, 0)
        return header


def check_bound(what: str, value: int, largest: int, *, least: int = 0) -> None:
    """Check a number of a payload before anything is made of it.

    Args:
        what: what the number is, for the message.
        value: the number.
        largest: the most that makes sense there.
        least: the least that does.

    Raises:
        PayloadCorrupt: it is not within these bounds.
    """
    if not least <= value <= largest:
        raise PayloadCorrupt(f"{what}: expected {least} to {largest}, got {value}")
