"""What persons ask of one rollout, as files: `requests/` until it is answered, then `answered/`.

A request counts once its file has its own name; each is answered once, and the last answers are
kept to look back at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from slotcast_publisher.durable import fsync_dir, storage_errors, write_atomic
from slotcast_publisher.errors import Conflict, RepositoryDamaged
from slotcast_publisher.fleet.rollout.person import Request
from slotcast_publisher.fleet.steering.kept_json import read_json, to_json
from slotcast_schemas.decoders import make_decoders

ANSWERED_KEPT: Final = 100
"""The number of answered requests of a rollout that are kept to look back at."""
REQUESTS_MAX: Final = 100
"""The number of requests that may wait for an answer; more are refused where they are made."""

_STAGED: Final = ".staged"
"""The end of the name of a request that does not count yet."""
_STAGED_MAX_S: Final = 3600.0
"""The seconds after which such a request counts as left behind, by a process that was killed."""
Outcome = Literal["done", "refused"]
"""What became of a request."""


class AskedFor(msgspec.Struct, frozen=True, kw_only=True):
    """A person's request as it is kept.

    Attributes:
        at_s: when it was made, seconds since 1970.
        outcome: what became of it; None while it waits.
        answer: why it was refused.
        answered_s: when it was answered.
    """

    request: Request
    at_s: int
    outcome: Outcome | None = None
    answer: str = ""
    answered_s: int = 0
    format: Literal[1] = 1


make_decoders(AskedFor)


class RequestFiles:
    """The requests of one rollout.

    Args:
        folder: of the rollout.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = folder / "requests"
        self._answered = folder / "answered"

    def put_first(self, asked: AskedFor) -> None:
        """Write the request with which a rollout begins; its folder has no name of its own yet."""
        write_atomic(self._waiting / _file_of(asked), to_json(asked))

    def ask(self, asked: AskedFor, note: Callable[[], None]) -> None:
        """Make a request durable; whoever drives the rollout carries it out.

        Args:
            asked: the request.
            note: writes down who asks, before it counts; what it raises undoes all.

        Raises:
            Conflict: too many wait for an answer already.
        """
        waiting = len(list(self._waiting.glob("*.json")))
        if waiting >= REQUESTS_MAX:
            raise Conflict(
                f"{self._folder.name}: {waiting} requests wait already; does `slotcast serve` run"
                " for this repository?"
            )
        path = self._waiting / _file_of(asked)
        staged = path.with_suffix(_STAGED)
        try:
            write_atomic(staged, to_json(asked))
            note()
            with storage_errors(path):
                staged.rename(path)
                fsync_dir(path.parent)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise

    def waiting(self) -> list[AskedFor]:
        """Give the requests that wait, the oldest first; one that cannot be read is put away."""
        found = []
        for path in sorted(self._waiting.glob("*.json")):
            try:
                found.append(read_json(path, AskedFor))
            except RepositoryDamaged:
                with storage_errors(path):
                    path.replace(path.with_suffix(".unreadable"))
        return found

    def answer(self, asked: AskedFor) -> None:
        """Note what became of a request, and take it off those that wait.

        Args:
            asked: the request, with its outcome.
        """
        write_atomic(self._answered / _file_of(asked), to_json(asked))
        with storage_errors(self._folder):
            (self._waiting / _file_of(asked)).unlink(missing_ok=True)
            for path in sorted(self._answered.glob("*.json"))[:-ANSWERED_KEPT]:
                path.unlink(missing_ok=True)
            for path in self._waiting.glob(f"*{_STAGED}"):
                if time.time() - path.stat().st_mtime > _STAGED_MAX_S:
                    path.unlink(missing_ok=True)

    def answer_to(self, request_id: str) -> AskedFor | None:
        """Give a request with its outcome; None while nobody has answered it.

        Args:
            request_id: of the request.
        """
        found: Iterable[Path] = self._answered.glob(f"*-{request_id}.json")
        return next((read_json(path, AskedFor) for path in found), None)


def _file_of(asked: AskedFor) -> str:
    return f"{asked.at_s:012d}-{asked.request.id}.json"
