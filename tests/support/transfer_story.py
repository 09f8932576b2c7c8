"""A transfer driven step by step: what it asks for, in words, and when it will ask again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slotcast_device.core.transfer.transfer import Transfer
from slotcast_device.core.transfer.transfer_actions import (
    Complete,
    LearnWildcards,
    PublishWant,
    Scan,
    StoreChunk,
    StoreMap,
    Subscribe,
    TransferAction,
    Unsubscribe,
)
from slotcast_schemas.limits import BLOCK_CHUNKS
from tests.support.core_story import TOPICS, Content, LongestWaits


class TransferStory:
    """One transfer of a payload with so many chunks; every wait is as long as its bound."""

    def __init__(self, chunks: int = 20, needed: Sequence[int] | None = None, **given: Any) -> None:
        self.content = Content("payload", chunks)
        self.transfer = Transfer(
            self.content.payload,
            range(chunks) if needed is None else needed,
            TOPICS,
            "cam-1",
            LongestWaits(1),
            **given,
        )
        self.now_s = 0.0

    def asking(self) -> list[str]:
        """The map is there, nothing is on disk, a broker is there; gives what is asked."""
        self.transfer.start({0: self.content.map}, self.now_s, is_empty=True)
        return self.connects()

    def connects(self) -> list[str]:
        """A connection is there."""
        return said(self.transfer.connection_made(self.now_s))

    def map_comes(self) -> list[str]:
        """The only part of the map comes."""
        return said(self.transfer.receive_map(0, self.content.map, self.now_s))

    def scanned(self, *present: int) -> list[str]:
        """These chunks are on disk."""
        return said(self.transfer.scanned(set(present), self.now_s))

    def comes(self, *indices: int, each_s: float = 0.0) -> list[str]:
        """These chunks come, one after the other; gives what is asked beside storing them."""
        actions: list[TransferAction] = []
        for index in indices:
            self.now_s += each_s
            actions += self.transfer.receive_chunk(index, self.content.chunks[index], self.now_s)
        return [text for text in said(actions) if not text.startswith("store chunk")]

    def comes_wrong(self, index: int) -> list[str]:
        """Other bytes come in a chunk's place."""
        return said(self.transfer.receive_chunk(index, b"other bytes", self.now_s))

    def waits(self) -> tuple[float, list[str]]:
        """Nothing comes until the deadline: how long that was, and what is asked then."""
        deadline_s = self.transfer.deadline_s
        assert deadline_s is not None
        waited_s, self.now_s = deadline_s - self.now_s, deadline_s
        return round(waited_s, 3), said(self.transfer.timeout(self.now_s))

    def first_request_comes(self) -> list[str]:
        """All that the oldest request lacks comes."""
        first = next(iter(self.transfer._subscriptions.held.values()))
        return self.comes(*sorted(first.missing))

    def finishes(self, each_s: float = 0.0) -> list[str]:
        """All that is asked for comes, request by request; gives what is asked on the way."""
        asked: list[str] = []
        for _ in self.content.chunks:
            if not self.transfer.in_flight:
                return asked
            self.now_s += each_s
            asked += self.first_request_comes()
        assert not self.transfer.in_flight, "it does not end"
        return asked

    def refused(self, name: str, *, is_final: bool = False) -> list[str]:
        """The broker refuses a filter, named as in what is said."""
        block, _, last = name.partition("/")
        topic = TOPICS.chunk(self.content.sha256, 0).rsplit("/", 2)[0] + f"/{block}/{last}"
        return said(self.transfer.subscription_refused(topic, self.now_s, is_final=is_final))

    def trouble(self) -> str:
        """How sure it is that nothing comes."""
        if self.transfer.is_stalled:
            return "stalled"
        return "silent" if self.transfer.is_silent else "none"

    def left_s(self) -> float | None:
        """How long the transfer waits from now; None where it waits for nothing."""
        deadline_s = self.transfer.deadline_s
        return None if deadline_s is None else round(deadline_s - self.now_s, 3)


def said(actions: Sequence[TransferAction]) -> list[str]:
    """Write each action in words; filters by their last two levels: block and chunk."""
    return [_say(action) for action in actions]


def _say(action: TransferAction) -> str:
    match action:
        case Subscribe(filters) | Unsubscribe(filters):
            short = ("/".join(name.split("/")[-2:]) for name in filters)
            return f"{type(action).__name__.lower()} {' '.join(short)}"
        case StoreMap(part, _):
            return f"store map {part}"
        case StoreChunk(index, _):
            return f"store chunk {index}"
        case PublishWant(want):
            chunks = [
                block.block * BLOCK_CHUNKS + bit
                for block in want.blocks
                for bit in range(BLOCK_CHUNKS)
                if block.missing >> bit & 1
            ]
            parts = "".join(f" map {part}" for part in want.map_parts)
            return f"want{parts}{''.join(f' {index}' for index in chunks)}"
        case LearnWildcards(messages_max):
            return f"learn {messages_max}"
        case Scan():
            return "scan"
        case Complete():
            return "complete"
