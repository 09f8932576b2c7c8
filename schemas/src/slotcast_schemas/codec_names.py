"""Names of codecs for who must not import what the codecs themselves need."""

from __future__ import annotations

from typing import Final

KEYS: Final = "keys+v1"
"""Of a list of wrapped content keys (`content_key`)."""
