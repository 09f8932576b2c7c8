"""The service: looks at the repository, renews its signatures, and runs a session per broker.

The repository may change under it (`slotcast publish` beside it is the normal case): it looks
again every few seconds, and hands each session what is offered now. Signatures of the online
roles are renewed when half of their configured life is over, if the online key can be used here.
"""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.catalog import Announcement, Catalog, Stored, look_at
from slotcast_publisher.serve.notices import Kind, Pace
from slotcast_publisher.serve.session import Say, Session
from slotcast_publisher.serve.wants import Bounds
from slotcast_publisher.settings import Broker
from slotcast_publisher.trust.proof import verify_notice
from slotcast_schemas import wire
from slotcast_schemas.errors import RefusedRelease, SlotcastError, StateLocked
from slotcast_schemas.messages import Notice
from slotcast_schemas.trust import offer_target

LOOK_EVERY_S: Final = 5.0
_DAY_S: Final = 86_400.0
_SAID_MAX: Final = 100


class Service:
    """Serves a repository's brokers until `stop` is set.

    Args:
        repo: the repository.
        brokers: where; one session each.
        say: the log.
        rng: jitter; seeded in tests.
        look_every_s: how often to look for changes in the repository.
    """

    def __init__(
        self,
        repo: Repository,
        brokers: Sequence[Broker],
        say: Say,
        rng: random.Random | None = None,
        *,
        bounds: Bounds | None = None,
        pace: Pace | None = None,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._repo = repo
        self._say = say
        self._look_every_s = look_every_s
        self._said: frozenset[str] = frozenset()
        self._judge = _Judge(repo)
        self._renew()
        self._catalog = self._look()
        rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._sessions = [
            Session(
                broker,
                repo.path,
                repo.topics,
                self._catalog,
                self._judge,
                say,
                random.Random(rng.random()),  # noqa: S311 - jitter, not secrets
                bounds=bounds,
                pace=pace,
            )
            for broker in brokers
        ]

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; an unexpected error of a session ends all, and is raised."""
        failures: list[BaseException] = []
        threads = [
            threading.Thread(
                target=_guarded, args=(session, stop, failures), name=session.name, daemon=True
            )
            for session in self._sessions
        ]
        self._say("started", models=sorted(self._catalog.announcements), brokers=len(threads))
        for thread in threads:
            thread.start()
        try:
            while not stop.wait(self._look_every_s):
                self._look_again()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self._say("stopped")
        if failures:
            raise failures[0]

    # --- the repository -------------------------------------------------------------------------

    def _look_again(self) -> None:
        self._renew()
        found = self._look()
        if found.announcements != self._catalog.announcements:
            before, self._catalog = self._catalog.announcements, found
            for session in self._sessions:
                session.renew(found)
            names = found.announcements.items() ^ before.items()
            self._say("changed", models=sorted({name for name, _ in names}))

    def _look(self) -> Catalog:
        announcements: dict[str, Announcement] = {}
        payloads: dict[bytes, Stored] = {}
        problems = []
        for model in self._offered():
            try:
                announcements[model], stored = look_at(self._repo, model)
                payloads |= stored
            except SlotcastError as exc:
                problems.append(f"{model}: {exc.reason}: {exc}")
        self._say_new(problems)
        return Catalog(announcements, payloads)

    def _offered(self) -> list[str]:
        try:
            return self._repo.offered()
        except SlotcastError as exc:
            self._say_new([f"{exc.reason}: {exc}"])
            return []

    def _renew(self) -> None:
        """Sign anew what is past half of its life; another command's lock is waited for."""
        try:
            if not self._is_stale():
                return
            with self._repo.locked():
                self._repo.roles.renew()
                self._repo.roles.prune()
            self._say("renewed", expires=self._repo.roles.expires("timestamp").isoformat())
        except StateLocked:
            return  # the next look comes soon
        except SlotcastError as exc:
            self._say_new([f"cannot renew signatures: {exc.reason}: {exc}"])

    def _is_stale(self) -> bool:
        expiry, now = self._repo.settings.expiry, datetime.now(UTC)
        lives = {
            "timestamp": expiry.timestamp_days,
            "snapshot": expiry.snapshot_days,
            "offers": expiry.offers_days,
        }
        return any(
            (self._repo.roles.expires(name) - now).total_seconds() < days * _DAY_S / 2
            for name, days in lives.items()
            if name != "offers" or self._repo.offered()
        )

    def _say_new(self, problems: Sequence[str]) -> None:
        """Say a problem once, not at each look."""
        for problem in problems:
            if problem not in self._said:
                self._say("error", detail=problem)
        self._said = frozenset(problems) | (self._said if len(self._said) < _SAID_MAX else set())


class _Judge:
    """Tells a broker's notices apart; the last of each model is remembered, for it is costly."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._last: dict[str, tuple[bytes, Kind]] = {}

    def __call__(self, model: str, data: bytes, ours: bytes) -> Kind:
        """Say what a notice is, beside ours."""
        if data == ours:
            return Kind.OURS
        key = hashlib.sha256(ours + data).digest()
        known = self._last.get(model)
        if known is None or known[0] != key:
            known = self._last[model] = (key, self._compared(model, data, ours))
        return known[1]

    def _compared(self, model: str, data: bytes, ours: bytes) -> Kind:
        try:
            verify_notice(data, self._repo.roles.oldest_root())
            theirs = wire.decode(data, Notice)
        except RefusedRelease:
            return Kind.OTHER
        mine = wire.decode(ours, Notice)
        if theirs.model != model:
            return Kind.OTHER
        same_offer = theirs.targets.get(offer_target(model)) == mine.targets.get(
            offer_target(model)
        )
        if _dated(theirs) > _dated(mine):
            return Kind.NEWER
        # Each publish dates all again: an older date over the same offer is as good as ours.
        return Kind.OURS if _dated(theirs) == _dated(mine) and same_offer else Kind.OTHER


def _dated(notice: Notice) -> int:
    """Give the version of the timestamp in a notice that was verified."""
    version: int = json.loads(notice.metadata["timestamp.json"])["signed"]["version"]
    return version


def _guarded(session: Session, stop: threading.Event, failures: list[BaseException]) -> None:
    try:
        session.run(stop)
    except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
        failures.append(exc)
        stop.set()


def log_line(event: str, **fields: object) -> str:
    """Give one line of JSON."""
    now = datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "event": event, **fields})
