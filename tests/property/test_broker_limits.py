"""Whatever a broker allows, a transfer finishes: within the limits, and with a bound of silences.

The broker here knows a transfer's subscriptions and what it keeps; it refuses, cuts short or closes
as its rules say. What a refusal teaches is `broker_limits`'s, as in the connection.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from slotcast_device.core.transfer.broker_limits import (
    FAILED,
    QUOTA_EXCEEDED,
    WILDCARDS_NOT_SUPPORTED,
    Allowance,
    BrokerLimits,
    Refusal,
    after_refusal,
    has_wildcard,
    lends_notices,
)
from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    LearnWildcards,
    PublishWant,
    StoreChunk,
    Subscribe,
    TransferAction,
    Unsubscribe,
)
from slotcast_schemas import wire
from slotcast_schemas.messages import MapPart
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.topics import Topics
from tests.simulation.broker import matches

TOPICS = Topics("t")
NOTICE = TOPICS.notice("m")
CHUNK_BYTES = 1024


@dataclass(frozen=True)
class Rules:
    """What the broker allows; 0 is no bound."""

    subscriptions: int = 0
    retained: int = 0
    takes_wildcards: bool = True
    gives_for_wildcards: bool = True
    says_why: bool = True


@dataclass
class World:
    """A transfer of one model, its connection's knowledge, and the broker."""

    rules: Rules
    chunks: int
    limits: BrokerLimits = field(default_factory=BrokerLimits)
    held: set[str] = field(default_factory=lambda: {NOTICE})
    stored: set[int] = field(default_factory=set)
    silences: int = 0
    wants: int = 0
    refusals: int = 0
    is_done: bool = False
    now_s: float = 0.0

    def __post_init__(self) -> None:
        rng = random.Random(7)
        data = [rng.randbytes(CHUNK_BYTES) for _ in range(self.chunks)]
        sha256 = hashlib.sha256(b"".join(data)).digest()
        digests = b"".join(hashlib.sha256(chunk).digest() for chunk in data)
        part = wire.encode(MapPart(payload=sha256, part=0, digests=digests))
        payload = Payload(
            codec="full+none",
            sha256=sha256,
            size_bytes=CHUNK_BYTES * self.chunks,
            chunk_size_bytes=CHUNK_BYTES,
            map_parts=(hashlib.sha256(part).digest(),),
        )
        self.kept = {TOPICS.chunk(sha256, n): chunk for n, chunk in enumerate(data)}
        self.kept[TOPICS.map_part(sha256, 0)] = part
        self.allowance = Allowance(limits=self.limits)
        self.transfer = Transfer(
            payload, range(self.chunks), TOPICS, "cam", random.Random(1), allowance=self.allowance
        )

    def run(self) -> None:
        self.take(self.transfer.start({}, 0.0, is_empty=True))
        self.take(self.transfer.connection_made(0.0))
        while not self.is_done and self.silences < 200:
            assert self.transfer.deadline_s is not None
            self.now_s = self.transfer.deadline_s
            self.silences += 1
            self.take(self.transfer.timeout(self.now_s))

    def take(self, actions: list[TransferAction]) -> None:
        """Carry out what the transfer asks, and what comes of that, in order."""
        waiting = list(actions)
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, Complete):
                self.is_done = True
            elif isinstance(action, StoreChunk):
                self.stored.add(action.index)
            elif isinstance(action, Unsubscribe):
                self.held.difference_update(action.filters)
            elif isinstance(action, PublishWant):
                self.wants += 1
            elif isinstance(action, LearnWildcards):
                self.learn(
                    msgspec.structs.replace(self.limits, wildcard_messages_max=action.messages_max)
                )
            elif isinstance(action, Subscribe):
                waiting += self.subscribe(action.filters)

    def learn(self, limits: BrokerLimits) -> None:
        self.limits = self.allowance.limits = limits

    def subscribe(self, filters: tuple[str, ...]) -> list[TransferAction]:
        """Answer filter by filter: a refusal, or what is kept for it."""
        if lends_notices(1, self.limits):
            self.held.discard(NOTICE)
        actions: list[TransferAction] = []
        for name in filters:
            code = self._code(name)
            if code is None:
                self.held.add(name)
                for topic in list(self._given(name)):
                    actions += self._arrive(topic)
                continue
            self.refusals += 1
            limits, may_work = after_refusal(
                self.limits, Refusal(name, code, "no"), self.held, may_be_quota=True
            )
            self.learn(limits)
            actions += self.transfer.subscription_refused(name, self.now_s, is_final=not may_work)
        return actions

    def _code(self, name: str) -> int | None:
        if has_wildcard(name) and not self.rules.takes_wildcards:
            return WILDCARDS_NOT_SUPPORTED if self.rules.says_why else FAILED
        is_full = self.rules.subscriptions and len(self.held) >= self.rules.subscriptions
        if is_full and name not in self.held:
            return QUOTA_EXCEEDED if self.rules.says_why else FAILED
        return None

    def _given(self, name: str) -> Iterator[str]:
        if has_wildcard(name) and not self.rules.gives_for_wildcards:
            return
        fitting = [topic for topic in self.kept if matches(name, topic)]
        yield from fitting[: self.rules.retained or None]

    def _arrive(self, topic: str) -> list[TransferAction]:
        if "/map/" in topic:
            return self.transfer.receive_map(0, self.kept[topic], self.now_s)
        index = int(topic.rpartition("/")[2])
        return self.transfer.receive_chunk(index, self.kept[topic], self.now_s)


RULES = st.builds(
    Rules,
    subscriptions=st.sampled_from([0, 1, 2, 3, 5, 12]),
    retained=st.sampled_from([0, 1, 3, 7, 8, 10]),
    takes_wildcards=st.booleans(),
    gives_for_wildcards=st.booleans(),
    says_why=st.booleans(),
)


@given(rules=RULES, chunks=st.integers(1, 200))
def test_whatever_a_broker_allows_a_transfer_finishes(rules: Rules, chunks: int) -> None:
    world = World(rules, chunks)
    world.run()
    assert world.is_done
    assert world.stored == set(range(chunks))
    assert world.transfer.counters.wants == 0, "all of it is kept there: nobody need send it again"


@given(rules=RULES, chunks=st.integers(64, 200))
def test_what_was_learnt_once_costs_no_silence_again(rules: Rules, chunks: int) -> None:
    first = World(rules, chunks)
    first.run()
    again = World(rules, chunks, first.limits)
    again.run()
    assert again.is_done
    assert again.silences <= (2 if rules.subscriptions else 0)
    assert again.transfer.counters.duplicate_chunks == 0


def test_a_cap_on_retained_messages_costs_one_silence() -> None:
    world = World(Rules(retained=1), 200)
    world.run()
    assert (world.is_done, world.silences) == (True, 1)
    assert world.limits.wildcard_messages_max == 1


def test_without_limits_a_transfer_asks_by_blocks() -> None:
    world = World(Rules(), 200)
    world.run()
    assert (world.is_done, world.silences, world.refusals) == (True, 0, 0)
    assert world.limits == BrokerLimits()
