"""What decoding JSON, MessagePack or TOML raises of bytes that are no such document."""

from __future__ import annotations

from typing import Final

import msgspec

UNDECODABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)
"""ValueError is what is no UTF-8 and no TOML, RecursionError what is nested too deeply, also in a
field that nobody reads."""
