"""The runtime's description of a model's inputs or outputs, in the words of a release."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slotcast_schemas.messages.release import Tensor


def signature(arguments: Iterable[Any]) -> tuple[Tensor, ...]:
    """Translate `session.get_inputs()` or `get_outputs()`."""
    return tuple(
        Tensor(
            name=argument.name,
            dtype=argument.type,
            shape=tuple(d if isinstance(d, int | str) else None for d in argument.shape or ()),
        )
        for argument in arguments
    )
