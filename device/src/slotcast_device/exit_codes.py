"""The exit codes of `slotcast-device`; `cli` says what each means."""

from __future__ import annotations

from typing import Final

OK: Final = 0
ENDED_OTHERWISE: Final = 1
USAGE: Final = 2
NO_BROKER: Final = 3
STORAGE: Final = 4
