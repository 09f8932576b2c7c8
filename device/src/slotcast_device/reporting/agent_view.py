"""`STATE_DIR/agent.json`: what only the running agent knows, for `slotcast-device status`.

Connection and progress are in no durable record. The agent leaves them in a file, replaced whole
but not made durable: after a crash or a power cut it is old, absent or cut, and means nothing. So
a reader believes it only while an agent holds the lock, and says how old it is (docs/adr/0071).
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from msgspec import Meta

from slotcast_schemas import limits
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.fields import Count, Detail, Word
from slotcast_schemas.messages.status import LinkStatus, ModelStatus, Progress
from slotcast_schemas.plain_files import read_start, replace_plain
from slotcast_schemas.states import State

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME: Final = "agent.json"
"""The name, in the state directory, of the file in which the agent says what only it knows."""
VIEW_MAX_BYTES: Final = 64 * 1024
"""The most bytes of that file that are read."""
WRITE_EVERY_S: Final = 5.0
"""The seconds within which it is not written again while chunks come: flash wears out, and a person
waits so long for a figure."""


class LiveModel(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows of a model before the record does."""

    state: State
    sequence: Count
    reason: Word = ""
    detail: Detail = ""
    progress: Progress | None = None


class AgentView(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows now.

    Attributes:
        pid: of the agent, in its own process namespace.
        started, written, since: Unix times: of the start, of this file, and of the connection or
            of its loss.
        broker: host and port; empty before the first try.
        protocol: of MQTT, while there is a connection.
        problem: why there is no connection.
        models: by name.
        link: how the device stands with its broker, as its status says it.
    """

    pid: int
    started: int
    written: int = 0
    since: int = 0
    broker: str = ""
    protocol: str = ""
    is_connected: bool = False
    problem: str = ""
    models: Annotated[dict[str, LiveModel], Meta(max_length=limits.MODELS_PER_DEVICE_MAX)] = {}
    link: LinkStatus | None = None

    def completed(self, status: ModelStatus) -> ModelStatus:
        """Give the record's status with what only the agent knows, if both are of the same update.

        The view is written now and then, the record at once: where its reason is another one by
        now, the view's detail explains what was before.
        """
        live = self.models.get(status.model)
        sequence = 0 if status.target is None else status.target.sequence
        if live is None or (live.state, live.sequence) != (status.state, sequence):
            return status
        detail = live.detail if live.reason == status.reason else status.detail
        return msgspec.structs.replace(status, detail=detail, progress=live.progress)


def live_model(status: ModelStatus) -> LiveModel:
    """Give what the view keeps of a status."""
    return LiveModel(
        state=status.state,
        sequence=0 if status.target is None else status.target.sequence,
        reason=status.reason,
        detail=status.detail,
        progress=status.progress,
    )


make_decoders(AgentView)


class ViewWriter:
    """Writes the view when it changed: a connection at once, the rest now and then."""

    def __init__(self, state_dir: Path, wall_s: int) -> None:
        self._path = state_dir / FILE_NAME
        self._view = AgentView(pid=os.getpid(), started=wall_s)
        self._due_s = 0.0

    def is_due(self, mono_s: float, *, is_connected: bool, link: LinkStatus | None = None) -> bool:
        """Say whether to look at what is known; cheap, for the loop asks it at every turn.

        Args:
            mono_s: the time, by a clock that does not jump.
            is_connected: whether there is a connection now.
            link: what is to be said of it.
        """
        if is_connected != self._view.is_connected or mono_s >= self._due_s:
            return True
        known = self._view.link
        if link is None or link is known:
            return False
        return known is None or link.reason != known.reason

    def update(self, mono_s: float, wall_s: int, **known: object) -> None:
        """Write what is known now, if it is new.

        Args:
            mono_s: the time, by a clock that does not jump.
            wall_s: the time of day.
            known: `broker`, `protocol`, `is_connected`, `problem`, `models` and `link` of the view.
        """
        self._due_s = mono_s + WRITE_EVERY_S
        changed = msgspec.structs.replace(self._view, **known)
        if self._view.written and changed == self._view:
            return
        if not self._view.written or changed.is_connected != self._view.is_connected:
            changed = msgspec.structs.replace(changed, since=wall_s)
        self._view = msgspec.structs.replace(changed, written=wall_s)
        self._write()

    def _write(self) -> None:
        """Replace the file; where that fails, a reader sees the old one, and its age."""
        with contextlib.suppress(OSError):
            replace_plain(self._path, msgspec.json.encode(self._view))


def read_view(state_dir: Path) -> AgentView | None:
    """Read what the agent last said; None where there is nothing to read."""
    try:
        return msgspec.json.decode(
            read_start(state_dir / FILE_NAME, VIEW_MAX_BYTES), type=AgentView
        )
    except (OSError, *UNDECODABLE):
        return None
