"""The exit codes of `slotcast-device`; `cli` says what each means."""

from __future__ import annotations

from typing import Final

OK: Final = 0
"""What was asked for is done."""
ENDED_OTHERWISE: Final = 1
"""The agent, or an update, ended otherwise than was asked for."""
USAGE: Final = 2
"""The command line or the configuration is wrong."""
NO_BROKER: Final = 3
"""No broker could be reached, or what was asked for did not end in time."""
STORAGE: Final = 4
"""The state directory cannot be read or written."""
