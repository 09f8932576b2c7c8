"""Watches the fleet for what needs a person: facts, rules, board, database, log and webhook.

Of several `serve` at one database, the one that holds the lease watches. Where the database cannot
be used, each goes on with what it knows: that the database fails is an alarm like others, told by
log and webhook, and written down once that works again.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.fleet.alarms import alarm_store, gather
from slotcast_publisher.fleet.alarms.board import Alarm, AlarmChange, Board, Word
from slotcast_publisher.fleet.alarms.facts import BrokerFacts, Expiring, Facts, SupportFacts
from slotcast_publisher.fleet.alarms.kinds import AlarmKind
from slotcast_publisher.fleet.alarms.rules import judge
from slotcast_publisher.fleet.alarms.webhook import Post, Poster, read_secret
from slotcast_publisher.fleet.database import lease
from slotcast_publisher.fleet.database.database import Database
from slotcast_publisher.repository import Repository
from slotcast_publisher.serve.broker_health import BrokerHealth
from slotcast_publisher.serve.log import Say
from slotcast_publisher.settings import Broker
from slotcast_schemas.errors import SlotcastError, StorageFailed

LOOK_EVERY_S: Final = 15.0
"""The seconds between two looks."""

HEARD_AFTER_S: Final = 120.0
"""So long must everything be heard before a device can be called silent: what brokers retain comes
one after the other."""

_LEASE: Final = "alarms"
_LEASE_S: Final = 60.0
_EXPIRING_EVERY_S: Final = 1_800.0
_CERTIFICATES_EVERY_S: Final = 6 * 3600.0
_POSTED_WITHIN_S: Final = 86_400.0
"""What was raised longer ago than this is not posted any more by a process that comes later."""

_UNSAVED_MAX: Final = 1_000
_EVENTS: Final[dict[Word, str]] = {
    "raised": "alarm",
    "grew": "alarm_grew",
    "cleared": "alarm_cleared",
}
"""The event of the log for each thing that is said of an alarm."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where facts come from.

    Attributes:
        repo: signatures, certificates, offers.
        brokers: those that are served.
        health: how these stand.
        heard_since_s: since when everything is heard, by the clock of this machine; None if not.
    """

    repo: Repository
    brokers: Sequence[Broker]
    health: BrokerHealth
    heard_since_s: Callable[[], float | None]


class Watch:
    """A part of the fleet (`fleet_work.FleetPart`) that raises and clears alarms.

    Args:
        database: where alarms are kept, and most facts come from.
        sources: where the other facts come from.
        settings: when alarms are raised.
        say: the log.
        poster: the webhook; None for none. It is started, and closed at the end.
        every_s: the seconds between two looks.
    """

    name = "alarms"

    def __init__(
        self,
        database: Database,
        sources: Sources,
        settings: AlarmSettings,
        say: Say,
        poster: Poster | None = None,
        *,
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        self.every_s = every_s
        self._database = database
        self._sources = sources
        self._settings = settings
        self._say = say
        self._poster = poster
        self._holder = uuid.uuid4().hex
        self._board: Board | None = None
        self._is_whole = False  # whether the board has what stood in the database
        self._unsaved: dict[tuple[AlarmKind, str, float], Alarm] = {}
        self._posted: list[tuple[alarm_store.PostKey, float]] = []
        self._signatures = _Remembered[Expiring](_EXPIRING_EVERY_S)
        self._certificates = _Remembered[Expiring](_CERTIFICATES_EVERY_S)
        self._supports = _Remembered[SupportFacts](_EXPIRING_EVERY_S)
        if poster is not None:
            poster.start()

    def look(self, now_s: float) -> None:
        """Look once: raise, clear, write down and tell.

        Args:
            now_s: the clock of this machine, in seconds since 1970.
        """
        try:
            if not self._hold(now_s):
                self._board, self._is_whole = None, False  # another process knows what stands
                self._unsaved.clear()
                return
            facts = self._facts(now_s)
        except StorageFailed as exc:
            words = f"the fleet's database cannot be written: {exc}"
            facts = Facts(now_s, brokers=self._brokers(), database=words)
        if self._board is None:
            self._board, self._is_whole = Board(self._settings), False
        changes = self._board.step(judge(facts, self._settings), now_s)
        self._note(changes)
        if not facts.database:
            self._save()
        self._tell(changes)

    def close(self) -> None:
        """End the webhook's thread."""
        if self._poster is not None:
            self._poster.close()

    # --- the database -----------------------------------------------------------------------------

    def _hold(self, now_s: float) -> bool:
        """Keep the lease; whoever gets it takes over what stands, and what was not posted."""
        with self._database.transaction() as connection:
            if lease.hold(connection, _LEASE, self._holder, now_s, _LEASE_S) is None:
                return False
            if self._is_whole:
                return True
            standing = {alarm.key: alarm for alarm in alarm_store.standing(connection)}
            unposted = alarm_store.unposted(connection, now_s - _POSTED_WITHIN_S)
        # While the database could not be read, something may have been raised that stood already.
        mine = () if self._board is None else self._board.standing
        new = {alarm.key: alarm for alarm in mine if alarm.key not in standing}
        self._unsaved = {key: one for key, one in self._unsaved.items() if one.key not in standing}
        self._board = Board(self._settings, [*standing.values(), *new.values()])
        self._is_whole = True
        for key, alarm in unposted:
            self._post(key.word, alarm)
        return True

    def _save(self) -> None:
        """Write down what has changed; what cannot be written now is written at the next look."""
        if self._poster is not None:
            self._posted += self._poster.done()
        if not self._unsaved and not self._posted:
            return
        with self._database.transaction() as connection:
            alarm_store.save(connection, self._unsaved.values())
            for key, at_s in self._posted:
                alarm_store.mark_posted(connection, key, at_s)
        self._unsaved.clear()
        self._posted.clear()

    # --- facts ------------------------------------------------------------------------------------

    def _facts(self, now_s: float) -> Facts:
        sources, limits = self._sources, self._settings
        with self._database.reading() as connection:
            devices = gather.read_devices(connection, limits, now_s)
            releases = gather.read_releases(connection)
            rollouts = gather.read_rollouts(connection)
        since_s = sources.heard_since_s()
        return Facts(
            now_s,
            devices=devices,
            is_heard=since_s is not None and now_s - since_s >= HEARD_AFTER_S,
            releases=gather.still_offered(releases, sources.repo),
            rollouts=rollouts,
            signatures=self._signatures.get(now_s, lambda: gather.signatures(sources.repo)),
            certificates=self._certificates.get(
                now_s, lambda: gather.certificates(sources.repo.path, sources.brokers)
            ),
            supports=self._supports.get(now_s, self._look_at_supports),
            brokers=self._brokers(),
        )

    def _look_at_supports(self) -> Iterator[SupportFacts]:
        with self._database.reading() as connection:
            running = gather.read_running(connection)
        return gather.supports(running, self._sources.repo)

    def _brokers(self) -> list[BrokerFacts]:
        return [BrokerFacts(t.broker, t.reason, t.detail) for t in self._sources.health.look()]

    # --- telling ----------------------------------------------------------------------------------

    def _note(self, changes: Iterable[AlarmChange]) -> None:
        """Keep what is to be written; of what nobody could write for long, the oldest goes."""
        for change in changes:
            alarm = change.alarm
            self._unsaved[alarm.kind, alarm.subject, alarm.raised_s] = alarm
        while len(self._unsaved) > _UNSAVED_MAX:
            del self._unsaved[next(iter(self._unsaved))]

    def _tell(self, changes: Iterable[AlarmChange]) -> None:
        for change in changes:
            if change.word is None:
                continue
            alarm = change.alarm
            self._say(
                _EVENTS[change.word],
                level="info" if change.word == "cleared" else "warning",
                kind=str(alarm.kind),
                count=alarm.count,
                detail=alarm.text,
                **alarm.names,
            )
            self._post(change.word, alarm)

    def _post(self, word: Word, alarm: Alarm) -> None:
        if self._poster is not None:
            body = post_body(word, alarm, self._sources.repo.settings.prefix)
            said_s = alarm.cleared_s if word == "cleared" else alarm.updated_s
            self._poster.post(
                Post(alarm_store.key_of(alarm, word), body, said_s or alarm.updated_s)
            )


def make_watch(database: Database, sources: Sources, say: Say) -> Watch:
    """Make a watch as the repository's settings say.

    Args:
        database: where alarms are kept, and most facts come from.
        sources: where the other facts come from.
        say: the log.

    Raises:
        UsageError: the webhook's address or secret cannot be used.
    """
    repo = sources.repo
    settings = repo.settings.alarms
    poster = None
    if settings.webhook.url:
        secret = read_secret(settings.webhook, repo.path)
        rng = random.Random()  # noqa: S311 - jitter, not secrets
        poster = Poster(settings.webhook, secret, say, rng)
    return Watch(database, sources, settings, say, poster, every_s=LOOK_EVERY_S)


def post_body(word: Word, alarm: Alarm, prefix: str) -> bytes:
    """Give the JSON that a webhook gets.

    Args:
        word: what has become of the alarm.
        alarm: the alarm.
        prefix: of the repository's topics, by which a receiver of several tells them apart.
    """
    fields = {
        "format": 1,
        "id": f"{alarm.kind}/{alarm.subject}/{alarm.raised_s:.3f}/{word}/{alarm.count}",
        "event": word,
        "prefix": prefix,
        "kind": str(alarm.kind),
        "subject": alarm.subject,
        "count": alarm.count,
        "subjects": alarm.subjects,
        "text": alarm.text,
        "raised_s": alarm.raised_s,
        "cleared_s": alarm.cleared_s,
        **alarm.names,
    }
    return msgspec.json.encode(fields)


_Found = TypeVar("_Found")


class _Remembered(Generic[_Found]):
    """What is costly to look at, and changes slowly."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._looked_s: float | None = None
        self._found: tuple[_Found, ...] | None = None

    def get(self, now_s: float, look: Callable[[], Iterable[_Found]]) -> tuple[_Found, ...] | None:
        if self._looked_s is None or not 0 <= now_s - self._looked_s < self._every_s:
            try:
                self._found = tuple(look())
            except SlotcastError:
                self._found = None  # unknown: nothing is raised or cleared by it
            self._looked_s = now_s
        return self._found
