"""What `cryptography` raises where a key is none.

One bit of an Ed25519 key's file that turned makes it a key of another curve, and OpenSSL then has
an error that `cryptography` has no word for.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InternalError, UnsupportedAlgorithm

NO_KEY: Final = (ValueError, TypeError, UnsupportedAlgorithm, InternalError)
"""What reading a key raises that is none."""
