"""How many processes make a delta unless asked; nothing of the encoder is imported to say so."""

from __future__ import annotations

import os
from typing import Final

WORKERS_MAX_BY_DEFAULT: Final = 2
"""The most processes that work at once, unless asked: each is an interpreter of 45 MB that works on
50 MB, so two stay within 256 MB in all."""


def default_workers() -> int:
    """Give as many as there are cores and the bound on memory allows; more must be asked for."""
    return min(os.cpu_count() or 1, WORKERS_MAX_BY_DEFAULT)
