"""The names of the codecs that this device decodes. Imports little: `status` must start fast."""

from __future__ import annotations

from typing import Final

SMALL_CODEC: Final = "full+weights"
"""The codec that needs fewer bytes and more of the processor (docs/weights-format.md)."""
FULL_CODECS: Final = frozenset({"full+zstd", "full+none", SMALL_CODEC})
"""The codecs of payloads that hold a whole image."""
DELTA_CODECS: Final = frozenset({"delta+v1", "delta+v2", "delta+v3"})
"""The codecs of payloads that need an image on the device to start from."""
