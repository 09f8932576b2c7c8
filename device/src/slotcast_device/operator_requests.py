"""What a person asks of the agent from the command line, such as to roll back.

A request is a small file in `STATE_DIR/control/`, replaced atomically; the agent looks about every
second, does it and removes the file. So it works while the agent runs and while it does not.
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta

from slotcast_device.storage.disk import Disk
from slotcast_schemas.decode_errors import UNDECODABLE
from slotcast_schemas.decoders import make_decoders
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.fields import ModelName, Sequence

if TYPE_CHECKING:
    from slotcast_device.core.events import RequestEvent

_LOG: Final = logging.getLogger("slotcast.device")
_REQUEST_MAX_BYTES: Final = 4096
"""The most bytes of a request that is read."""
_REQUESTS_MAX: Final = 16
"""The most requests that are taken in one look."""
_PING: Final = "ping-"
"""How the name of a file begins that only asks whether an agent looks here."""
_POLL_S: Final = 0.1
"""The seconds between two looks whether the agent has answered."""


class OperatorRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request.

    Attributes:
        do: `rollback` of a model; `unbench` of one release or of all; `reset` to the provisioned
            release; `resume` updates after that.
    """

    do: Literal["rollback", "unbench", "reset", "resume"]
    model: ModelName
    sequence: Sequence | None = None
    detail: Annotated[str, Meta(max_length=200)] = ""

    def event(self) -> RequestEvent:
        """Give what the model's core is told."""
        from slotcast_device.core import events as ev  # `status` starts fast

        match self.do:
            case "rollback":
                return ev.RollBackAsked(self.detail or "asked for on this device")
            case "unbench":
                return ev.UnbenchAsked(self.sequence)
            case "reset":
                return ev.ResetAsked()
            case "resume":
                return ev.ResumeAsked()


make_decoders(OperatorRequest)


class Control:
    """The folder of requests.

    A request for a sign of life is a file, too, of no content and not made durable: the agent's
    loop removes it, which a process that hangs does not.
    """

    def __init__(self, disk: Disk, state_dir: Path) -> None:
        self._disk = disk
        self._folder = state_dir / "control"

    def ask(self, request: OperatorRequest) -> None:
        """Leave a request for the agent.

        Raises:
            StorageFailed: it cannot be written.
        """
        self._disk.make_own_dir(self._folder)
        path = self._folder / f"{request.do}-{request.model}.json"
        self._disk.write_atomic(path, msgspec.json.encode(request))

    def ping(self, timeout_s: float) -> bool:
        """Ask the agent for a sign of life; gives whether it came in time.

        Raises:
            StorageFailed: the request cannot be left.
        """
        if not self._folder.parent.is_dir():
            return False  # no agent ever ran here
        self._disk.make_own_dir(self._folder)
        path = self._folder / f"{_PING}{os.getpid()}"
        self._disk.create(path).close()
        deadline_s = time.monotonic() + timeout_s
        while self._disk.size_bytes(path) is not None:
            if time.monotonic() > deadline_s:
                self._disk.remove_tree(path)
                return False
            time.sleep(_POLL_S)
        return True

    def answer_pings(self) -> None:
        """Give whoever asked a sign of life."""
        for name in self._names():
            if name.startswith(_PING):
                try:
                    self._disk.remove_tree(self._folder / name)
                except StorageFailed as exc:
                    _LOG.warning("no sign of life can be given: %s", exc)

    def take(self) -> list[OperatorRequest]:
        """Give the requests that wait and remove them; one that cannot be read is logged."""
        requests = []
        names = [n for n in self._names() if not n.startswith(_PING)]
        for name in names[:_REQUESTS_MAX]:
            path = self._folder / name
            try:
                data = self._take_file(path)
                if data is not None and name.endswith(".json"):
                    requests.append(msgspec.json.decode(data, type=OperatorRequest))
            except (StorageFailed, *UNDECODABLE) as exc:
                _LOG.warning("request %s cannot be read: %s", name, exc)
        return requests

    def _names(self) -> list[str]:
        """Give what lies in the folder; a link in its place leads to what is not ours to remove."""
        if self._disk.read_link(self._folder) is None:
            return self._disk.names(self._folder)
        try:
            self._disk.remove_tree(self._folder)
            _LOG.warning("%s was a link, and was taken away", self._folder)
        except StorageFailed as exc:
            _LOG.warning("%s is a link, and no request is taken: %s", self._folder, exc)
        return []

    def _take_file(self, path: Path) -> bytes | None:
        """Read a request and remove it, also where it is a link, a pipe or too long."""
        try:
            return self._disk.read(path, _REQUEST_MAX_BYTES)
        finally:
            self._disk.remove_tree(path)
