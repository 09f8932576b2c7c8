"""Brings what was signed to the brokers, in a thread of its own: what a device may begin with
first, the notice last, as `slotcast publish` does.

A broker that cannot be reached now hears of it later: `serve` announces what a broker lacks, and
answers devices that miss chunks.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from slotcast_publisher.delivery.publish import How, push_notice
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.log import Say
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import SlotcastError

CLOSE_MAX_S: Final = 10.0
"""The longest time in seconds that the end of the service waits for a push."""


class PushingAnnouncer:
    """Pushes notices, one after the other.

    Args:
        repo: a repository object of its own, for its thread.
        brokers: where.
        say: the log.
    """

    def __init__(self, repo: Repository, brokers: Sequence[Broker], say: Say) -> None:
        self._repo = repo
        self._brokers = brokers
        self._say = say
        self._changed = threading.Condition()
        self._due: dict[str, bool] = {}
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)
        self._thread.start()

    def announce(self, model: str, *, payloads: bool) -> None:
        """Have a model's notice announced soon; from any thread, and it does not wait.

        Args:
            model: whose.
            payloads: push what it offers before it, for devices that may begin.
        """
        with self._changed:
            self._due[model] = payloads
            self._changed.notify()

    def close(self) -> None:
        """End, when what was asked for is done or a moment has passed."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join(CLOSE_MAX_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due or self._is_over)
                if not self._due:
                    return
                model, payloads = self._due.popitem()
            push(self._repo, model, self._brokers, self._say, payloads=payloads)


@dataclass(frozen=True, slots=True)
class DirectAnnouncer:
    """Pushes at once and waits for it: for a command that carries out one request.

    Attributes:
        repo: the repository.
        brokers: where.
        say: the log.
    """

    repo: Repository
    brokers: Sequence[Broker]
    say: Say

    def announce(self, model: str, *, payloads: bool) -> None:
        """Push a model's notice.

        Args:
            model: whose.
            payloads: push what it offers before it.
        """
        push(self.repo, model, self.brokers, self.say, payloads=payloads)

    def close(self) -> None:
        """Nothing is under way."""


def push(
    repo: Repository, model: str, brokers: Sequence[Broker], say: Say, *, payloads: bool
) -> None:
    """Push a model's notice as it is signed now; what fails is said.

    Args:
        repo: the repository.
        model: whose notice.
        brokers: where.
        say: the log.
        payloads: push what it offers before it.
    """
    try:
        notice = repo.build_notice(model)
        outcome = push_notice(
            repo, model, notice, brokers, How(read_back="ends"), payloads=payloads
        )
    except SlotcastError as exc:
        say("error", model=model, reason=exc.reason, detail=f"not announced: {exc}")
        return
    for done in outcome.done:
        say("pushed", model=model, broker=done.broker, sent_bytes=done.bytes_sent)
    for failed in outcome.failed:
        say("not_pushed", model=model, broker=failed.broker, reason=failed.reason)
