"""A device's state as people type it."""

from __future__ import annotations

from slotcast_schemas.errors import UsageError
from slotcast_schemas.states import State


def read_state(text: str, name: str) -> State:
    """Read the name of a state, in letters of either case.

    A name that is none would find no device, as if all were well.

    Args:
        text: as it was typed.
        name: of the option or parameter, for an error.

    Raises:
        UsageError: no state has that name.
    """
    found = next((state for state in State if str(state) == text.strip().upper()), None)
    if found is None:
        raise UsageError(f"{name}: expected one of {', '.join(State)}, got {text!r:.40}")
    return found
