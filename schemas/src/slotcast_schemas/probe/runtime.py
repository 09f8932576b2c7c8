"""What the probe asks of a runtime: `onnx_session`, `litert_session`, `owner_command`.

A runtime loads a model's file, says what goes in and comes out, and runs it. Everything else (the
limits, the comparison, the timing, the verdict) is the same for all of them. `loading` chooses one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from slotcast_schemas.messages.release import Tensor
from slotcast_schemas.value_types import Value

Feed = Mapping[str, Value]
"""The inputs of one run, by name."""

Outputs = dict[str, Value]
"""The outputs of one run, by name; those that no sample can hold are left out."""


class LoadedModel(Protocol):
    """A model that a runtime has loaded."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What goes in, in the runtime's words."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What comes out."""

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Processes that work for the model beside this one."""

    def cannot_be_fed(self) -> str:
        """Say which input no sample can feed, and why; empty if all can be fed."""

    def run(self, feed: Feed) -> Outputs:
        """Run it once.

        Raises:
            Exception: whatever the runtime says of these inputs.
        """

    def close(self) -> None:
        """Let go of it, where that must be said: a process of its own ends."""
