"""The two numbers by which hashes are mixed: of bytes, of elements, of cells, of lines."""

from __future__ import annotations

from typing import Final

import numpy as np

FACTOR: Final = 0x9E3779B97F4A7C15
"""2**64 by the golden ratio: an odd number without a pattern, as a base of polynomials."""

SPREAD: Final = np.uint64(0xD6E8FEB86659FD93)
"""An odd number by which bits are spread, as the finaliser of MurmurHash does with one of its own.
"""
