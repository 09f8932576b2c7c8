"""What `cryptography` raises where a certificate or a request is none.

It reads most parts of one when they are asked for, and not all of what it raises then is a
`ValueError`: a certificate whose version is none, or that has an extension twice, is another.
Whoever reads what a stranger wrote needs all of them, or the stranger ends the process.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from slotcast_schemas.key_errors import NO_KEY

UNREADABLE: Final = (
    *NO_KEY,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
