"""Takes stock of the payloads that a broker keeps, and takes off what nobody can need any more.

What is there is known from the journals, and found out by asking for the chunk maps where that is
wanted. What may go is decided in `removal_rules`. Before anything goes, the broker's own notices
are looked at, for a payload that one of them names is needed, and the devices' statuses, for one
that a device says it fetches.

After a command for one model only that model's payloads are looked at, and those that were unused
before: nothing else can have become unused. Before anything goes, all models are.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from slotcast_publisher.delivery.broker_link import BrokerLink
from slotcast_publisher.delivery.ledger import Ledger, load_ledger, save_ledger
from slotcast_publisher.delivery.push import Item, push
from slotcast_publisher.delivery.readback import ReadbackWaits, collect
from slotcast_publisher.delivery.removal_rules import RemovalPlan, Stocked, Unused, plan_removal
from slotcast_publisher.repository import Repository
from slotcast_schemas import limits, wire
from slotcast_schemas.errors import RefusedRelease
from slotcast_schemas.messages import MapPart, Notice, Offer, Presence, Status
from slotcast_schemas.messages.chunkmap import DIGEST_BYTES
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.states import SETTLED
from slotcast_schemas.topics import DeviceTopic, MapTopic, NoticeTopic
from slotcast_schemas.trust import offer_target

_JOURNAL: Final = re.compile(r"([0-9a-f]{64})\.([0-9]+)\.([0-9]+)\.acked")


class Tidied(msgspec.Struct, frozen=True, kw_only=True):
    """What lies at a broker after tidying, and what was taken off.

    Attributes:
        kept_payloads: payloads that lie there, those of others not counted.
        kept_bytes: their size.
        unused_payloads: how many of them no offer uses.
        unused_bytes: their size.
        fetched_payloads: how many of those are due, and stay because a device fetches them.
        unknown_payloads: payloads there that this repository did not make.
        removed_payloads: payloads that were taken off now.
        removed_bytes: their size.
        next_removal_s: when the next may be taken off, seconds since 1970; None for never.
    """

    kept_payloads: int = 0
    kept_bytes: int = 0
    unused_payloads: int = 0
    unused_bytes: int = 0
    fetched_payloads: int = 0
    unknown_payloads: int = 0
    removed_payloads: int = 0
    removed_bytes: int = 0
    next_removal_s: float | None = None

    def with_removed(self, before: Tidied) -> Tidied:
        """Count what was taken off shortly before, too."""
        return msgspec.structs.replace(
            self,
            unknown_payloads=max(self.unknown_payloads, before.unknown_payloads),
            removed_payloads=self.removed_payloads + before.removed_payloads,
            removed_bytes=self.removed_bytes + before.removed_bytes,
        )


@dataclass(frozen=True, slots=True)
class Tidying:
    """One broker's payloads.

    Attributes:
        repo: the repository.
        folder: where the broker's journals and ledger are; held by the caller.
        name: the broker's, for the ledger.
        connect: opens a connection to it.
        waits: for what is read.
    """

    repo: Repository
    folder: Path
    name: str
    connect: Callable[[], AbstractContextManager[BrokerLink]]
    waits: ReadbackWaits

    def tidy(
        self,
        *,
        now_s: float,
        grace_s: float,
        wanted: Mapping[bytes, float] | None = None,
        looks: bool = False,
        model: str | None = None,
    ) -> Tidied:
        """Take off what is due, and say what lies there.

        Args:
            now_s: seconds since 1970.
            grace_s: how long an unused payload is kept.
            wanted: when devices last asked for which payload.
            looks: ask the broker what it keeps, as is done the first time in any case.
            model: the only one whose offer changed since the last time; any may have, unless given.

        Raises:
            LinkDown, BrokerRefused: the broker cannot be asked, or does not take it off.
            StorageFailed: this machine's disk.
        """
        ledger = load_ledger(self.folder, self.name)
        looks = looks or ledger.looked_s == 0.0
        if looks:
            model = None
        known = _with_wants(ledger.unused, wanted or {})
        ours = self._made_here(self.repo.store.models() if model is None else [model])
        stock = self._stock(ledger, ours, looks=looks)
        if model is None:
            used = set(self._signed(self.repo.offered()))
        else:
            candidates = ours.keys() | map(bytes.fromhex, known)
            used = {item.sha256 for item in stock} - candidates | set(self._signed([model]))

        def plan(fetched: set[bytes]) -> RemovalPlan:
            return plan_removal(stock, used, known, fetched, now_s=now_s, grace_s=grace_s)

        now = plan(set())
        if now.remove and model is not None:
            return self.tidy(now_s=now_s, grace_s=grace_s, wanted=wanted)
        if now.remove:
            used |= self._announced_there()
            now = plan(self._fetched(now_s - grace_s))
        for item in now.remove:
            self._take_off(item)
        looked_s = now_s if looks else ledger.looked_s
        sizes = {i.sha256.hex(): i.size_bytes for i in stock if i.size_bytes and i.is_ours}
        new = msgspec.structs.replace(ledger, unused=now.unused, looked_s=looked_s, sizes=sizes)
        save_ledger(self.folder, new)
        return _tidied(stock, used, now)

    # --- what is there ------------------------------------------------------------------------

    def _stock(
        self, ledger: Ledger, ours: Mapping[bytes, Payload], *, looks: bool
    ) -> list[Stocked]:
        found: dict[bytes, Stocked] = {}
        for sha256, chunks, parts in self._journals():
            found[sha256] = _stocked(sha256, chunks, parts, ours.get(sha256), is_ours=True)
        for key in ledger.unused:
            sha256 = bytes.fromhex(key)
            if sha256 not in found and (sha256 in ours or key in ledger.sizes):
                found[sha256] = _stocked(sha256, 0, 0, ours.get(sha256), is_ours=True)
        if looks:
            for sha256, (chunks, parts) in self._maps_there().items():
                is_ours = sha256 in ours or sha256 in found
                found.setdefault(
                    sha256, _stocked(sha256, chunks, parts, ours.get(sha256), is_ours=is_ours)
                )
        return [
            item
            if item.size_bytes is not None
            else dataclasses.replace(item, size_bytes=ledger.sizes.get(item.sha256.hex()))
            for item in found.values()
        ]

    def _made_here(self, models: Iterable[str]) -> dict[bytes, Payload]:
        """Give every payload of every release of some models."""
        return {
            record.payload.sha256: record.payload
            for model in models
            for folder in self.repo.store.releases(model)
            for record in folder.payloads()
        }

    def _journals(self) -> Iterator[tuple[bytes, int, int]]:
        for path in sorted(self.folder.glob("*.acked")):
            match = _JOURNAL.fullmatch(path.name)
            if match is not None:
                yield bytes.fromhex(match[1]), int(match[2]), int(match[3])

    def _maps_there(self) -> dict[bytes, tuple[int, int]]:
        """Give chunks and parts of each payload whose map the broker gives for a wildcard."""
        parts: dict[bytes, dict[int, int]] = {}

        def take(topic: str, data: bytes) -> None:
            match self.repo.topics.parse(topic):
                case MapTopic(payload, part):
                    parts.setdefault(payload, {})[part] = _digests(data)

        with self.connect() as link:
            if link.wildcards:
                collect(link, self.repo.topics.maps(), self.waits, take)
        return {
            payload: (sum(counts.values()), max(counts) + 1) for payload, counts in parts.items()
        }

    # --- who needs it -------------------------------------------------------------------------

    def _signed(self, models: Iterable[str]) -> Iterator[bytes]:
        """Name the payloads of models' offers that are signed here, and not canceled."""
        for model in models:
            offer = self.repo.present_offer(model)
            if offer is not None and offer.state != "canceled":
                yield from (payload.sha256 for payload in offer.payloads)

    def _announced_there(self) -> set[bytes]:
        """Name the payloads that the broker's notices offer, whoever signed them."""
        found: set[bytes] = set()

        def take(topic: str, data: bytes) -> None:
            match self.repo.topics.parse(topic):
                case NoticeTopic(model):
                    found.update(_offered_by(data, model))

        heard: set[str] = set()

        def take_all(topic: str, data: bytes) -> None:
            heard.add(topic)
            take(topic, data)

        # By name, too: RabbitMQ grants wildcards, and gives nothing retained for them.
        names = [self.repo.topics.notice(model) for model in self.repo.store.models()]
        with self.connect() as link:
            if link.wildcards:
                collect(link, self.repo.topics.notice("+"), self.waits, take_all)
            for name in (name for name in names if name not in heard):
                collect(link, name, self.waits, take)
        return found

    def _fetched(self, since_s: float) -> set[bytes]:
        """Name what devices say that they fetch: those online, and those that said so lately."""
        said: dict[str, tuple[float, set[bytes]]] = {}
        online: set[str] = set()

        def take(topic: str, data: bytes) -> None:
            match self.repo.topics.parse(topic):
                case DeviceTopic(device, "status"):
                    said[device] = _fetching(data)
                case DeviceTopic(device, "presence"):
                    if _is_online(data):
                        online.add(device)

        with self.connect() as link:
            for what in ("status", "presence") if link.wildcards else ():
                collect(link, self.repo.topics.device("+", what), self.waits, take)
        return {
            payload
            for device, (time_s, payloads) in said.items()
            if device in online or time_s >= since_s
            for payload in payloads
        }

    # --- taking off ---------------------------------------------------------------------------

    def _take_off(self, item: Stocked) -> None:
        """An empty retained message removes the one before it (MQTT 5, 3.3.1.3).

        The map goes last: as long as it is there, what is left of a payload can be found.
        """
        topics = self.repo.topics
        chunks = [topics.chunk(item.sha256, number) for number in range(item.chunks)]
        parts = [topics.map_part(item.sha256, number) for number in range(item.parts)]
        push(self.connect, [_empty(chunks), _empty(parts)])
        for path in self.folder.glob(f"{item.sha256.hex()}.*.acked"):
            path.unlink(missing_ok=True)


def _empty(topics: Iterable[str]) -> list[Item]:
    return [Item(topic, 0, lambda: b"") for topic in topics]


def _stocked(
    sha256: bytes, chunks: int, parts: int, payload: Payload | None, *, is_ours: bool
) -> Stocked:
    """Describe a payload; what this repository knows of it counts, if it is cut the same."""
    if payload is None:
        return Stocked(sha256, chunks, parts, None, is_ours)
    return Stocked(
        sha256,
        max(chunks, payload.chunk_count),
        max(parts, len(payload.map_parts)),
        payload.size_bytes,
        is_ours,
    )


def _with_wants(unused: Mapping[str, Unused], wanted: Mapping[bytes, float]) -> dict[str, Unused]:
    return {
        key: msgspec.structs.replace(
            item, wanted_s=max(item.wanted_s, wanted.get(bytes.fromhex(key), 0.0))
        )
        for key, item in unused.items()
    }


def _digests(data: bytes) -> int:
    try:
        return len(wire.decode(data, MapPart).digests) // DIGEST_BYTES
    except RefusedRelease:
        return limits.MAP_PART_CHUNKS


def _offered_by(data: bytes, model: str) -> set[bytes]:
    try:
        targets = wire.decode(data, Notice).targets
        offer = wire.decode(targets.get(offer_target(model), b""), Offer)
    except RefusedRelease:
        return set()
    return set() if offer.state == "canceled" else {p.sha256 for p in offer.payloads}


def _fetching(data: bytes) -> tuple[float, set[bytes]]:
    """Give when a status was said, and which payloads are being fetched by it."""
    try:
        status = wire.decode(data, Status)
    except RefusedRelease:
        return 0.0, set()
    return float(status.time), {
        model.progress.payload
        for model in status.models
        if model.progress is not None and model.state not in SETTLED
    }


def _is_online(data: bytes) -> bool:
    try:
        return wire.decode(data, Presence).online
    except RefusedRelease:
        return False


def _tidied(stock: Sequence[Stocked], used: set[bytes], plan: RemovalPlan) -> Tidied:
    kept = [item for item in stock if item.is_ours and item not in plan.remove]
    unused = [item for item in kept if item.sha256 not in used]
    return Tidied(
        kept_payloads=len(kept),
        kept_bytes=_bytes(kept),
        unused_payloads=len(unused),
        unused_bytes=_bytes(unused),
        fetched_payloads=len(plan.fetched),
        unknown_payloads=sum(not item.is_ours for item in stock),
        removed_payloads=len(plan.remove),
        removed_bytes=_bytes(plan.remove),
        next_removal_s=plan.next_s,
    )


def _bytes(items: Sequence[Stocked]) -> int:
    return sum(item.size_bytes or 0 for item in items)
