"""The service: looks at the repository, renews signatures, tidies, and runs a session per broker.

The repository may change under it (`slotcast publish` beside it is the normal case): it looks
again every few seconds, and hands each session what is offered now. Signatures of the online
roles are renewed when half of their configured life is over, if the online key can be used here.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from slotcast_publisher.certificates.desk import open_desk
from slotcast_publisher.certificates.renewals import RenewalOffice
from slotcast_publisher.delivery.broker_delivery import BrokerDelivery
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.companion import Companion
from slotcast_publisher.serve.day_budget import DAY_S
from slotcast_publisher.serve.heard_renewals import Renewals
from slotcast_publisher.serve.kept_catalog import KeptCatalog
from slotcast_publisher.serve.listener import Listener
from slotcast_publisher.serve.log import Say
from slotcast_publisher.serve.notices import AnnounceTimes, NoticeKind
from slotcast_publisher.serve.rechecks import Rechecks
from slotcast_publisher.serve.session import Session
from slotcast_publisher.serve.wants import WantBounds
from slotcast_publisher.settings import Broker
from slotcast_publisher.trust.precedence import Standing, compare
from slotcast_schemas.errors import BrokerRefused, LinkDown, SlotcastError, StateLocked
from slotcast_schemas.reasons import Reason

LOOK_EVERY_S: Final = 5.0
"""The seconds between two looks at the repository."""

TIDY_EVERY_S: Final = 1_800.0
"""The seconds between two times that what nobody needs is taken off the brokers."""

_SAID_MAX: Final = 100
"""The number of problems that are remembered as said; past it, they are said anew."""


class Service:
    """Serves a repository's brokers until `stop` is set.

    Args:
        repo: the repository.
        brokers: where; one session each.
        say: the log.
        rng: jitter; seeded in tests.
        look_every_s: how often to look for changes in the repository.
        tidy_every_s: how often to take off the brokers what nobody can need any more.
        bounds: how much is answered at once; the usual unless given.
        times: when notices are announced; the usual unless given.
        companion: who is handed what devices say; None for nobody.
        health: who is told how brokers stand; nobody unless given.
    """

    def __init__(
        self,
        repo: Repository,
        brokers: Sequence[Broker],
        say: Say,
        rng: random.Random | None = None,
        *,
        bounds: WantBounds | None = None,
        times: AnnounceTimes | None = None,
        companion: Companion | None = None,
        health: BrokerHealth | None = None,
        look_every_s: float = LOOK_EVERY_S,
        tidy_every_s: float = TIDY_EVERY_S,
    ) -> None:
        self._repo = repo
        self._say = say
        self._look_every_s = look_every_s
        self._said: frozenset[_Problem] = frozenset()
        self._judge = _Judge(repo, say)
        self._brokers = brokers
        self._tidy_every_s = tidy_every_s
        self._kept = KeptCatalog(repo)
        with contextlib.suppress(SlotcastError):  # said below, if renewing does not mend it
            self._kept.look()
        self._renew()
        self._look()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._sessions = [self._make_session(broker, bounds, times, health) for broker in brokers]
        self._rechecks = Rechecks(
            brokers,
            repo.path,
            repo.topics,
            lambda: self._kept.catalog,
            say,
            every_s=repo.settings.serve.recheck_days * DAY_S,
        )
        self._renewals = self._make_renewals()
        self._companion = companion
        self._listeners = [
            Listener(broker, repo.path, companion, say, self._draw_rng())
            for broker in brokers
            if companion is not None
        ]

    def _draw_rng(self) -> random.Random:
        """Give random numbers to one thread alone."""
        return random.Random(self._rng.random())  # noqa: S311 - jitter, not secrets

    def _make_session(
        self,
        broker: Broker,
        bounds: WantBounds | None,
        times: AnnounceTimes | None,
        health: BrokerHealth | None,
    ) -> Session:
        return Session(
            broker,
            self._repo.path,
            self._repo.topics,
            self._kept.catalog,
            self._judge,
            self._say,
            self._draw_rng(),
            bounds=bounds,
            settings=self._repo.settings.serve,
            times=times,
            health=health,
        )

    def _make_renewals(self) -> list[Renewals]:
        """Make what answers devices whose certificates end, where this repository answers any."""
        repo, desk = self._repo, open_desk(self._repo.path, self._repo.ring)
        if not desk.allows_renewals:
            return []
        return [
            Renewals(
                broker,
                repo.path,
                repo.topics,
                RenewalOffice(desk),
                self._say,
                self._draw_rng(),
            )
            for broker in self._brokers
        ]

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; an unexpected error of a session ends all, and is raised."""
        failures: list[BaseException] = []
        heard_all = threading.Event()
        threads = [_thread(name, work, stop, failures, (stop,)) for name, work in self._jobs()]
        last = []
        if self._companion is not None:
            work = self._companion.run
            last = [_thread("companion", work, heard_all, failures, (stop, heard_all))]
        self._say(
            "started",
            models=sorted(self._kept.catalog.announcements),
            brokers=len(self._sessions),
        )
        try:
            for thread in [*last, *threads]:
                thread.start()
            while not stop.wait(self._look_every_s):
                self._look_again()
        finally:
            stop.set()
            _join(threads)
            heard_all.set()  # the companion writes down what the listeners heard to their end
            _join(last)
            self._say("stopped")
        if failures:
            raise failures[0]

    def _jobs(self) -> list[tuple[str, Callable[[threading.Event], None]]]:
        """What runs at the same time, by names of threads."""
        jobs = [(session.name, session.run) for session in self._sessions]
        jobs += [(f"listen {listener.name}", listener.run) for listener in self._listeners]
        jobs += [(f"renew {renewals.name}", renewals.run) for renewals in self._renewals]
        return [*jobs, ("tidy", self._tidy), ("recheck", self._rechecks.run)]

    def _tidy(self, stop: threading.Event) -> None:
        """Take off the brokers, again and again, what nobody can need any more."""
        while not stop.wait(self._tidy_every_s):
            for broker, session in zip(self._brokers, self._sessions, strict=True):
                try:
                    with BrokerDelivery(self._repo, broker) as target:
                        done = target.tidy(wanted=session.wanted_unoffered(), looks=True)
                except (LinkDown, BrokerRefused, StateLocked):
                    continue  # the session says what is wrong; a publish tidies by itself
                except SlotcastError as exc:
                    self._say_new([_Problem.of(exc, "cannot tidy", broker=session.name)])
                    continue
                if done.removed_payloads:
                    self._say("tidied", broker=session.name, **msgspec.to_builtins(done))

    # --- the repository -------------------------------------------------------------------------

    def _look_again(self) -> None:
        changed = self._look() | self._renew()
        if changed:
            for session in self._sessions:
                session.renew(self._kept.catalog)
            self._say("changed", models=sorted(changed))

    def _look(self) -> set[str]:
        """Take in what changed in the repository; names the models that are announced anew."""
        try:
            changed = self._kept.look()
        except SlotcastError as exc:
            self._say_new([_Problem.of(exc)])
            return set()
        problems = self._kept.problems.items()
        self._say_new([_Problem.of(exc, model=model) for model, exc in problems])
        return changed

    def _renew(self) -> set[str]:
        """Sign anew what is past half of its life; another command's lock is waited for."""
        try:
            if not self._kept.are_due():
                return set()
            with self._repo.locked(wait_s=0.0):
                expires = self._kept.renew()
            self._say("renewed", expires=expires.isoformat())
        except StateLocked:
            return set()  # the next look comes soon
        except SlotcastError as exc:
            self._say_new([_Problem.of(exc, "cannot renew signatures")])
        return self._look()

    def _say_new(self, problems: Sequence[_Problem]) -> None:
        """Say a problem once, not at each look."""
        for problem in problems:
            if problem not in self._said:
                self._say("error", **problem.fields())
        self._said = frozenset(problems) | (self._said if len(self._said) < _SAID_MAX else set())


@dataclass(frozen=True, slots=True)
class _Problem:
    """What cannot be done, and what it is about."""

    reason: str
    detail: str
    broker: str = ""
    model: str = ""

    @classmethod
    def of(
        cls, exc: SlotcastError, what: str = "", *, broker: str = "", model: str = ""
    ) -> _Problem:
        """Take it from an error.

        Args:
            exc: the error.
            what: could not be done because of it.
            broker: the name of the broker that it is about.
            model: that it is about.
        """
        return cls(exc.reason, f"{what}: {exc}" if what else str(exc), broker, model)

    def fields(self) -> dict[str, str]:
        """Give what a line of the log says of it."""
        fields = {
            "broker": self.broker,
            "model": self.model,
            "reason": self.reason,
            "detail": self.detail,
        }
        return {name: value for name, value in fields.items() if value}


class _Judge:
    """Tells a broker's notices apart; the last of each model is remembered, for it is costly."""

    def __init__(self, repo: Repository, say: Say) -> None:
        self._repo = repo
        self._say = say
        self._last: dict[str, tuple[bytes, NoticeKind]] = {}

    def __call__(self, model: str, data: bytes, ours: bytes) -> NoticeKind:
        """Say what a notice is, beside ours."""
        if data == ours:
            return NoticeKind.OURS
        key = hashlib.sha256(ours + data).digest()
        known = self._last.get(model)
        if known is None or known[0] != key:
            known = self._last[model] = (key, self._compared(model, data))
        return known[1]

    def _compared(self, model: str, data: bytes) -> NoticeKind:
        found = compare(data, model, self._repo.roles)
        if found.standing in {Standing.NEWER, Standing.SPLIT}:
            self._say(
                "error",
                model=model,
                reason=Reason.PUBLISHER_BEHIND,
                detail="a broker has a notice that was not signed here:"
                f" {found.detail}; it is left alone",
            )
            return NoticeKind.NEWER
        return NoticeKind.OURS if found.standing is Standing.OURS else NoticeKind.OTHER


def _join(threads: Sequence[threading.Thread]) -> None:
    """Wait for threads to end; a signal may have come before all of them were started."""
    for thread in threads:
        if thread.ident is not None:
            thread.join()


def _thread(
    name: str,
    work: Callable[[threading.Event], None],
    until: threading.Event,
    failures: list[BaseException],
    ends: Sequence[threading.Event],
) -> threading.Thread:
    """Make a thread that works until told; what it raises is kept, and ends the others."""

    def run() -> None:
        try:
            work(until)
        except BaseException as exc:  # noqa: BLE001 - handed to the thread that waits
            failures.append(exc)
            for end in ends:
                end.set()

    return threading.Thread(target=run, name=name, daemon=True)
