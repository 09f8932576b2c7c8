"""Carries what a repository has signed to its brokers: chunks, then maps, then the notice.

Decides what must be sent where; how messages travel is left to `push` and `mqtt`.
The journals double as the list of payloads that a broker keeps, which is what `purge` works from.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Final, Self

import msgspec

from slotcast_publisher.delivery.broker_link import Link, fetch_retained, open_link
from slotcast_publisher.delivery.push import Item, Journal, Tally, push
from slotcast_publisher.durable import exclusive, storage_errors
from slotcast_publisher.notice import Wanted
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker
from slotcast_publisher.store import ReleaseFolder
from slotcast_schemas.errors import BrokerRefused, LinkDown, UsageError
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import Topics

Progress = Callable[[str, Tally], None]
"""Told the broker's name, and what was done so far."""

_BELIEVE_TIMEOUT_S: Final = 10.0
_JOURNAL: Final = re.compile(r"([0-9a-f]{64})\.([0-9]+)\.([0-9]+)\.acked")


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What one broker was sent."""

    broker: str
    protocol: str
    messages_sent: int
    messages_skipped: int
    bytes_sent: int
    bytes_skipped: int
    reconnects: int
    purged: int = 0


def brokers_of(repo: Repository, urls: Sequence[str] = ()) -> list[Broker]:
    """Give the brokers to push to: those named, with the settings' certificates, or all.

    Raises:
        UsageError: none is named, here or in the settings.
    """
    known = {broker.address.name: broker for broker in repo.settings.brokers}
    if urls:
        return [
            msgspec.structs.replace(known.get(given.address.name, given), url=given.url)
            for given in (Broker(url=url) for url in urls)
        ]
    if not known:
        raise UsageError(
            "no broker: give --broker URL, or write [[brokers]] into the repository's slotcast.toml"
        )
    return list(repo.settings.brokers)


def publish(
    repo: Repository,
    model: str,
    version: str,
    wanted: Wanted | None = None,
    *,
    brokers: Sequence[str] = (),
    send_all: bool = False,
    purge: bool = False,
    progress: Progress = lambda _name, _tally: None,
) -> list[Pushed]:
    """Offer a release, and push it to every broker; run again, only what is missing is sent.

    Args:
        repo: the repository.
        model: which model.
        version: which of its releases.
        wanted: to whom; as before, or everyone.
        brokers: URLs, instead of those in the settings.
        send_all: send also what the brokers have acknowledged before.
        purge: afterwards, take payloads that no offer uses any more off the brokers.
        progress: told after each acknowledgement.

    Raises:
        SlotcastError: the first that happened; the other brokers were served first.
    """
    chosen = brokers_of(repo, brokers)
    notice = repo.offer(model, version, wanted)
    return push_notice(
        repo, model, notice, chosen, send_all=send_all, purge=purge, progress=progress
    )


def withdraw(
    repo: Repository,
    model: str,
    *,
    brokers: Sequence[str] = (),
    purge: bool = False,
    progress: Progress = lambda _name, _tally: None,
) -> list[Pushed]:
    """Cancel what is offered for a model; with `purge`, take its chunks off the brokers.

    Raises:
        SlotcastError: the first that happened; the other brokers were served first.
    """
    chosen = brokers_of(repo, brokers)
    notice = repo.withdraw(model)
    return push_notice(repo, model, notice, chosen, payloads=False, purge=purge, progress=progress)


def refresh(
    repo: Repository,
    *,
    brokers: Sequence[str] = (),
    offline: bool = False,
    progress: Progress = lambda _name, _tally: None,
) -> dict[str, list[Pushed]]:
    """Date the signatures again, and send every model's notice.

    Raises:
        SlotcastError: the first that happened; the other brokers were served first.
    """
    chosen = brokers_of(repo, brokers)
    return {
        model: push_notice(repo, model, notice, chosen, payloads=False, progress=progress)
        for model, notice in repo.refresh(offline=offline).items()
    }


def push_notice(
    repo: Repository,
    model: str,
    notice: bytes,
    brokers: Sequence[Broker],
    *,
    payloads: bool = True,
    send_all: bool = False,
    purge: bool = False,
    progress: Progress = lambda _name, _tally: None,
) -> list[Pushed]:
    """Push a notice, after the payloads that it offers, to each of the brokers.

    Raises:
        SlotcastError: the first that happened; the other brokers were served first.
    """
    done, failed = [], None
    for broker in brokers:
        try:
            with _Target(repo, broker) as target:
                done.append(
                    target.push(
                        model, notice, payloads=payloads, send_all=send_all, progress=progress
                    )
                )
                if purge:
                    done[-1] = msgspec.structs.replace(done[-1], purged=target.purge())
        except (LinkDown, BrokerRefused) as exc:
            failed = failed or exc
    if failed is not None:
        raise failed
    return done


class _Target(AbstractContextManager["_Target"]):
    """One broker, with the journals of what it has; held against a second push."""

    def __init__(self, repo: Repository, broker: Broker) -> None:
        self._repo = repo
        self._broker = broker
        self._topics: Topics = repo.topics
        self.name = broker.address.name
        key = hashlib.sha256(f"{self.name}\0{repo.settings.prefix}".encode()).hexdigest()[:12]
        safe = re.sub(r"[^A-Za-z0-9.-]", "_", self.name)
        self._folder = repo.path / "push" / f"{safe}-{key}"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(exclusive(self._folder / ".lock", f"pushing to {self.name}"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def push(
        self, model: str, notice: bytes, *, payloads: bool, send_all: bool, progress: Progress
    ) -> Pushed:
        chunks: list[Item] = []
        maps: list[Item] = []
        if payloads:
            folder = self._repo.offered_folder(model)
            for record in folder.payloads():
                journal = self._journal(record.payload)
                if send_all:
                    journal.clear()
                self._check_journal(folder, record.payload, journal)
                chunks += chunk_items(self._topics, folder, record.payload, journal)
                maps += map_items(self._topics, folder, record.payload, journal)
        last = Item(self._topics.notice(model), len(notice), lambda: notice)
        tally = push(
            self._open, [chunks, maps, [last]], progress=lambda now: progress(self.name, now)
        )
        return Pushed(
            broker=self.name,
            protocol=tally.protocol,
            messages_sent=tally.sent,
            messages_skipped=tally.skipped,
            bytes_sent=tally.sent_bytes,
            bytes_skipped=tally.skipped_bytes,
            reconnects=tally.reconnects,
        )

    def purge(self) -> int:
        """Take payloads that no offer uses off the broker; gives how many."""
        used = {
            payload.sha256
            for model in self._repo.offered()
            if (offer := self._repo.present_offer(model)) and offer.state != "canceled"
            for payload in offer.payloads
        }
        count = 0
        for path in sorted(self._folder.glob("*.acked")):
            match = _JOURNAL.fullmatch(path.name)
            if match and bytes.fromhex(match[1]) not in used:
                self._clear(bytes.fromhex(match[1]), int(match[2]), int(match[3]))
                path.unlink()
                count += 1
        return count

    def _clear(self, payload: bytes, chunks: int, parts: int) -> None:
        """An empty retained message removes the one before it (MQTT 5, 3.3.1.3)."""
        names = [self._topics.map_part(payload, part) for part in range(parts)]
        names += [self._topics.chunk(payload, chunk) for chunk in range(chunks)]
        push(self._open, [[Item(name, 0, lambda: b"") for name in names]])

    def _journal(self, payload: Payload) -> Journal:
        parts = len(payload.map_parts)
        name = f"{payload.sha256.hex()}.{payload.chunk_count}.{parts}.acked"
        journal = Journal(self._folder / name, payload.chunk_count + parts)
        return self._stack.enter_context(journal)

    def _check_journal(self, folder: ReleaseFolder, payload: Payload, journal: Journal) -> None:
        """Believe a journal only if the broker still has the last of what it speaks of.

        A broker that was restarted without persistence has lost all; then everything is sent.
        """
        if not journal.acked:
            return
        number = max(journal.acked)
        items = [
            *chunk_items(self._topics, folder, payload, journal),
            *map_items(self._topics, folder, payload, journal),
        ]
        with contextlib.suppress(BrokerRefused), self._open() as link:  # may not read: believe it
            kept = fetch_retained(link, items[number].topic, _BELIEVE_TIMEOUT_S)
            if kept != items[number].read():
                journal.clear()

    @contextlib.contextmanager
    def _open(self) -> Iterator[Link]:
        with open_link(self._broker, self._repo.path) as link:
            yield link


def chunk_items(
    topics: Topics, folder: ReleaseFolder, payload: Payload, journal: Journal | None
) -> list[Item]:
    """Give a payload's chunks, to be read when they are sent."""
    file = folder.payload_file(payload)
    return [
        Item(
            topics.chunk(payload.sha256, index),
            payload.chunk_bytes(index),
            _slice(file, index * payload.chunk_size_bytes, payload.chunk_bytes(index)),
            journal,
            index,
        )
        for index in range(payload.chunk_count)
    ]


def map_items(
    topics: Topics, folder: ReleaseFolder, payload: Payload, journal: Journal | None
) -> list[Item]:
    """Give the parts of a payload's chunk map, numbered on from its chunks."""
    found = []
    for part in range(len(payload.map_parts)):
        file = folder.map_file(payload, part)
        with storage_errors(file):
            size_bytes = file.stat().st_size
        topic = topics.map_part(payload.sha256, part)
        read = _slice(file, 0, size_bytes)
        found.append(Item(topic, size_bytes, read, journal, payload.chunk_count + part))
    return found


def _slice(file: Path, offset: int, size_bytes: int) -> Callable[[], bytes]:
    def read() -> bytes:
        with storage_errors(file), file.open("rb") as reader:
            reader.seek(offset)
            return reader.read(size_bytes)

    return read
