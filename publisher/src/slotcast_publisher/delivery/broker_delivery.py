"""Brings one broker to what a repository has signed, and believes only what it reads back.

In order: the broker's notice is compared with ours (a newer one is never replaced); the first
chunk is sent and read back; then the rest; then what earlier runs sent, and the ends of what this
one sent, are read back, and what is missing is sent once more; then the notice, which is read
back too. The journals remember what was acknowledged, and so which payloads a broker may keep.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Self

import msgspec

from slotcast_publisher.delivery.broker_connect import open_link
from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.ledger import load_ledger, save_ledger
from slotcast_publisher.delivery.payload_items import PayloadItems, chunk_items, map_items
from slotcast_publisher.delivery.push import Item, Journal, PushTally, push, reconnect_waits
from slotcast_publisher.delivery.readback import ReadbackWaits, RetainedReader, collect, read_one
from slotcast_publisher.delivery.removal import Tidied, Tidying
from slotcast_publisher.durable import exclusive
from slotcast_publisher.errors import PublisherBehind
from slotcast_publisher.notice import offer_in
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_publisher.store import ReleaseFolder
from slotcast_publisher.trust.precedence import Comparison, Standing, compare
from slotcast_schemas.errors import BrokerRefused, LinkDown
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import NoticeTopic, Topics

ReadBack = Literal["all", "ends", "none"]
"""What is read back of a payload: all that is not sent now, and the ends of all; the ends only; or
nothing, for a user who may write and not read."""

_DAY_S: Final = 86_400.0
_TRIES: Final = 3
"""The number of connections by which a broker's notice is read at most, where links are lost."""

_LOCK_WAIT_S: Final = 10.0
"""The seconds to wait for a broker's folder: `slotcast serve` holds it while it takes something
off."""
_PROOFS: Final = 8
"""The number of messages, from each end of what was sent once more, that are read back again."""


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What one broker was sent, and what was found there.

    Attributes:
        messages_sent: messages that were sent now, those that were found missing included.
        messages_skipped: messages that were there already.
        purged: payloads that were taken off.
        stock: what lies there now.
        messages_lost: of those that an earlier run had sent, how many were not there any more.
        messages_read_back: messages that were read back, and found as they were signed.
        replaced_foreign: whether the notice that was there was signed by other keys than ours.
    """

    broker: str
    protocol: str
    messages_sent: int
    messages_skipped: int
    bytes_sent: int
    bytes_skipped: int
    reconnects: int
    purged: int = 0
    stock: Tidied = Tidied()
    messages_lost: int = 0
    messages_read_back: int = 0
    replaced_foreign: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is to be delivered, and how.

    Attributes:
        model: which model.
        notice: its notice.
        payloads: of the offer in it; none where only the notice is sent.
        folder: the release whose payloads they are.
        send_all: send also what was acknowledged before.
        read_back: how much of it is read back.
    """

    model: str
    notice: bytes
    payloads: Sequence[Payload] = ()
    folder: ReleaseFolder | None = None
    send_all: bool = False
    read_back: ReadBack = "all"


class BrokerDelivery(AbstractContextManager["BrokerDelivery"]):
    """One broker, with the journals of what it has; held against a second push.

    Args:
        repo: the repository.
        broker: where.
        waits: for what is read back.
    """

    def __init__(
        self, repo: Repository, broker: Broker, waits: ReadbackWaits | None = None
    ) -> None:
        self._repo = repo
        self._broker = broker
        self._waits = waits or ReadbackWaits()
        self._topics: Topics = repo.topics
        self.name = broker.address.name
        key = hashlib.sha256(f"{self.name}\0{repo.settings.prefix}".encode()).hexdigest()[:12]
        safe = re.sub(r"[^A-Za-z0-9.-]", "_", self.name)
        self._folder = repo.path / "push" / f"{safe}-{key}"
        self._stack = ExitStack()
        self._link: BrokerLink | None = None
        self._connection = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(
            exclusive(self._folder / ".lock", f"pushing to {self.name}", wait_s=_LOCK_WAIT_S)
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._hang_up()
        self._stack.close()

    def check_not_behind(self, model: str) -> Comparison | None:
        """Compare the broker's notice with what is signed here; None where it has none.

        Raises:
            PublisherBehind: it is newer, or another copy of the repository signed otherwise.
            LinkDown, BrokerRefused: the broker cannot be asked.
        """
        data = self._read_notice(model)
        if data is None:
            return None
        found = compare(data, model, self._repo.roles)
        if found.standing in {Standing.NEWER, Standing.SPLIT}:
            raise PublisherBehind(_behind(self.name, model, found))
        return found

    def _read_notice(self, model: str) -> bytes | None:
        """Read the broker's notice; a link that is lost on the way is taken up again."""
        topic = self._topics.notice(model)
        for _ in range(_TRIES - 1):
            with contextlib.suppress(LinkDown), self._open() as link:
                return read_one(link, topic, self._waits)
        with self._open() as link:
            return read_one(link, topic, self._waits)

    def deliver(self, delivery: Delivery, progress: Callable[[PushTally], None]) -> Pushed:
        """Send what is missing, and read back what counts.

        Raises:
            PublisherBehind: the broker has a newer notice; it was not replaced.
            BrokerRefused: the broker refuses, or does not keep what it acknowledges.
            LinkDown: the connection is lost again and again; run it again to go on.
            StorageFailed: this machine's disk.
        """
        notice = delivery.notice
        last = Item(self._topics.notice(delivery.model), len(notice), lambda: notice)
        payloads = self._payloads(delivery)
        tally = PushTally.of([*(item for payload in payloads for item in payload.all), last])
        reads = delivery.read_back != "none"
        lost, proven = self._deliver_payloads(payloads, delivery.read_back, tally, progress)
        before = self.check_not_behind(delivery.model) if reads else None
        self._push([[last]], tally, progress)
        if reads:
            self._must_be_kept([last])
        ledger = load_ledger(self._folder, self.name)
        offer = offer_in(notice, delivery.model)
        save_ledger(self._folder, ledger.with_delivery(offer, self._repo.now_s()))
        return Pushed(
            broker=self.name,
            protocol=tally.protocol,
            messages_sent=tally.sent,
            messages_skipped=tally.skipped,
            bytes_sent=tally.sent_bytes,
            bytes_skipped=tally.skipped_bytes,
            reconnects=tally.reconnects,
            messages_lost=lost,
            messages_read_back=proven + int(reads),
            replaced_foreign=before is not None and before.standing is Standing.FOREIGN,
        )

    def _deliver_payloads(
        self,
        payloads: Sequence[PayloadItems],
        read_back: ReadBack,
        tally: PushTally,
        progress: Callable[[PushTally], None],
    ) -> tuple[int, int]:
        """Send payloads; gives how many messages the broker had lost, and how many it proved."""
        if not payloads:
            return 0, 0
        skipped = [item for payload in payloads for item in payload.all if item.is_acked]
        if read_back != "none" and not skipped:  # one that keeps nothing is sent one chunk only
            first = payloads[0].chunks[:1]
            self._push([first], tally, progress)
            self._must_be_kept(first)
        chunks = [item for payload in payloads for item in payload.chunks]
        maps = [item for payload in payloads for item in payload.maps]
        self._push([chunks, maps], tally, progress)
        if read_back == "none":
            return 0, 0
        ends = [item for payload in payloads for item in payload.ends]
        looked_at = _unique([*skipped, *ends] if read_back == "all" else ends)
        missing = self._read_back(looked_at, tally, progress)
        self._send_again(missing, set(skipped), tally, progress)
        return len(set(missing) & set(skipped)), len(looked_at)

    def _push(
        self,
        stages: Sequence[Sequence[Item]],
        tally: PushTally,
        progress: Callable[[PushTally], None],
    ) -> None:
        waits = reconnect_waits(*self._waits.reconnect_s)
        push(self._open, stages, tally=tally, progress=progress, waits=waits)

    def _read_back(
        self, items: Sequence[Item], tally: PushTally, progress: Callable[[PushTally], None]
    ) -> list[Item]:
        """Give those that the broker does not keep."""
        tally.to_read_bytes = sum(item.size_bytes for item in items)

        def advance(size_bytes: int) -> None:
            tally.read_bytes += size_bytes
            progress(tally)

        return RetainedReader(self._open, self._waits, advance).missing(items)

    def _send_again(
        self,
        missing: Sequence[Item],
        skipped: set[Item],
        tally: PushTally,
        progress: Callable[[PushTally], None],
    ) -> None:
        """Send what was not there, and see that it is there now."""
        if not missing:
            return
        _forget(missing)
        for item in missing:
            tally.note_lost(item, was_skipped=item in skipped)
        self._push([missing], tally, progress)
        self._must_be_kept([*missing[:_PROOFS], *missing[-_PROOFS:]])

    def _must_be_kept(self, items: Sequence[Item]) -> None:
        """Look for what was just acknowledged.

        Raises:
            BrokerRefused: it does not come back.
        """
        reader = RetainedReader(self._open, self._waits)
        missing = reader.still_missing(_unique(items), self._hang_up)
        if not missing:
            return
        _forget(missing)
        raise BrokerRefused(_not_kept(self.name, missing[0].topic, reader.unflagged))

    def notices(self) -> dict[str, bytes]:
        """Give the notices that the broker keeps, by model; also of models unknown here."""
        found: dict[str, bytes] = {}

        def take(topic: str, data: bytes) -> None:
            match self._topics.parse(topic):
                case NoticeTopic(model):
                    found[model] = data

        names = [self._topics.notice(model) for model in self._repo.store.models()]
        with self._open() as link:
            for name in [*names, *([self._topics.notice("+")] if link.wildcards else [])]:
                collect(link, name, self._waits, take)
        return found

    def tidy(
        self,
        *,
        grace_s: float | None = None,
        wanted: Mapping[bytes, float] | None = None,
        looks: bool = False,
        model: str | None = None,
    ) -> Tidied:
        """Take off what nobody can need any more, and say what lies at the broker.

        Args:
            grace_s: how long an unused payload is kept; as the settings say unless given.
            wanted: when devices last asked for which payload.
            looks: ask the broker what it keeps, also where no journal speaks of it.
            model: the only one whose offer changed since the last time; any may have, unless given.

        Raises:
            LinkDown, BrokerRefused: the broker cannot be asked, or does not take it off.
            StorageFailed: this machine's disk.
        """
        days = self._repo.settings.unused_grace_days
        tidying = Tidying(self._repo, self._folder, self.name, self._open, self._waits)
        return tidying.tidy(
            now_s=self._repo.now_s(),
            grace_s=days * _DAY_S if grace_s is None else grace_s,
            wanted=wanted,
            looks=looks,
            model=model,
        )

    def _payloads(self, delivery: Delivery) -> list[PayloadItems]:
        found = []
        for payload in delivery.payloads:
            if delivery.folder is None:
                break
            journal = self._journal(payload)
            if delivery.send_all:
                journal.clear()
            found.append(
                PayloadItems(
                    chunk_items(self._topics, delivery.folder, payload, journal),
                    map_items(self._topics, delivery.folder, payload, journal),
                )
            )
        return found

    def _journal(self, payload: Payload) -> Journal:
        parts = len(payload.map_parts)
        name = f"{payload.sha256.hex()}.{payload.chunk_count}.{parts}.acked"
        journal = Journal(self._folder / name, payload.chunk_count + parts)
        return self._stack.enter_context(journal)

    @contextlib.contextmanager
    def _open(self) -> Iterator[BrokerLink]:
        """Give the connection; it is made anew after an error, and kept otherwise."""
        if self._link is None:
            self._link = self._connection.enter_context(open_link(self._broker, self._repo.path))
        try:
            yield self._link
        except BaseException:
            self._hang_up()
            raise

    def _hang_up(self) -> None:
        self._link = None
        self._connection.close()


def _forget(items: Sequence[Item]) -> None:
    """Take back from the journals what the broker does not have after all."""
    by_journal: dict[Journal, list[int]] = {}
    for item in items:
        if item.journal is not None:
            by_journal.setdefault(item.journal, []).append(item.number)
    for journal, numbers in by_journal.items():
        journal.forget(numbers)


def _unique(items: Sequence[Item]) -> list[Item]:
    return list({item.topic: item for item in items}.values())


def _behind(broker: str, model: str, found: Comparison) -> str:
    """Say what the broker has, and what the publisher's owner can do."""
    offer = found.offer
    there = "a notice"
    if offer is not None:
        when = datetime.fromtimestamp(offer.issued, UTC).strftime("%Y-%m-%d %H:%M UTC")
        there = f"{offer.version} (sequence {offer.sequence}), signed {when}"
    if found.standing is Standing.SPLIT:
        cause = "Another copy of this repository signed on its own, so there are two publishers"
        act = "decide which copy goes on; `slotcast adopt REPO` takes over here what is there"
    else:
        cause = "This repository is behind: another machine publishes, or a backup was restored"
        act = (
            "publish from the newer copy, or copy its folder here first; if it is lost,"
            " `slotcast adopt REPO` takes over what is there"
        )
    return (
        f"{broker} has {there} of {model!r}, which was not signed here: {found.detail}. {cause}."
        f" Nothing was replaced, for devices would refuse the older one; {act}"
    )


def _not_kept(broker: str, topic: str, unflagged: int) -> str:
    """Say that an acknowledged message is not there, and the usual causes."""
    flag = " (it came without the retain flag)" if unflagged else ""
    return (
        f"{broker}: acknowledged {topic}, and does not give it back as a retained message{flag}."
        " Usual causes: it keeps no retained messages, or takes the retain flag away (then"
        " `slotcast serve` answers what devices ask for); its limit for the number, size or memory"
        " of retained messages is reached; this user may write and not read (`--read-back none`"
        " believes the broker). `slotcast check` finds out which"
    )
