"""Topic names, built and read in one place (docs/wire.md, section 1).

Payload topics are named by content, so one push serves a whole fleet and every later device.
With the default prefix the longest has 5 slashes and some 105 bytes; a prefix may be as long as
the bounds of managed brokers leave room for, which `Topics` checks once.
"""

from __future__ import annotations

import functools
import re
from typing import Final

import msgspec

from slotcast_schemas import limits
from slotcast_schemas.errors import UsageError
from slotcast_schemas.fields import DEVICE_PATTERN, MODEL_PATTERN

DEFAULT_PREFIX: Final = "slotcast/v1"
"""The beginning of all topics, unless the repository's settings give another."""

_LEVELS_BELOW_PREFIX: Final = 4
"""The most levels that a topic has below the prefix."""

_BYTES_BELOW_PREFIX: Final = 100
"""The most bytes that a topic has below the prefix."""

_NUMBER_MAX_DIGITS: Final = 7
"""The most digits of a number in a topic; chunks have no more."""

_DEVICE_WORDS: Final = frozenset(
    ("status", "metrics", "presence", "want", "renewal", "certificate")
)
"""What may stand below a device's id."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class MapTopic(msgspec.Struct, frozen=True):
    """One part of a payload's chunk map."""

    payload: bytes
    part: int


class ChunkTopic(msgspec.Struct, frozen=True, gc=False):
    """One chunk of a payload; `chunk` counts from the payload's start, not the block's."""

    payload: bytes
    chunk: int


class NoticeTopic(msgspec.Struct, frozen=True):
    """The notice of a model."""

    model: str


class WantTopic(msgspec.Struct, frozen=True):
    """What some device misses of a payload: as devices of before say it."""

    payload: bytes


class DeviceTopic(msgspec.Struct, frozen=True):
    """What a device says: `status`, `metrics`, `presence`, `want` (what it misses), `renewal`; and
    the `certificate` that it is answered with.
    """

    device: str
    what: str


Topic = MapTopic | ChunkTopic | NoticeTopic | WantTopic | DeviceTopic


class Topics(msgspec.Struct, frozen=True):
    """Builds and reads the topics below one prefix.

    Raises:
        UsageError: a prefix that MQTT or a managed broker would not take.
    """

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        levels = self.prefix.count("/") + _LEVELS_BELOW_PREFIX
        room = limits.TOPIC_MAX_BYTES - _BYTES_BELOW_PREFIX
        if (
            not _PREFIX.fullmatch(self.prefix)
            or len(self.prefix) > room
            or levels > limits.TOPIC_MAX_SLASHES
        ):
            raise UsageError(
                f"topic prefix: expected letters, digits, '_.-' in at most"
                f" {limits.TOPIC_MAX_SLASHES - _LEVELS_BELOW_PREFIX + 1} levels and {room}"
                f" characters, got {self.prefix!r}"
            )

    def notice(self, model: str) -> str:
        """Give the topic of a model's notice."""
        return f"{self.prefix}/models/{model}/notice"

    def map_part(self, payload: bytes, part: int) -> str:
        """Give the topic of one part of a payload's chunk map."""
        return f"{self.prefix}/payloads/{payload.hex()}/map/{part}"

    def chunk(self, payload: bytes, chunk: int) -> str:
        """Give the topic of one chunk."""
        return f"{self.prefix}/payloads/{payload.hex()}/{chunk // limits.BLOCK_CHUNKS}/{chunk}"

    def block(self, payload: bytes, block: int) -> str:
        """Give the filter that matches every chunk of a block."""
        return f"{self.prefix}/payloads/{payload.hex()}/{block}/+"

    def everything(self, payload: bytes) -> str:
        """Give the filter that matches every chunk of a payload, and its map."""
        return f"{self.prefix}/payloads/{payload.hex()}/+/+"

    def maps(self) -> str:
        """Give the filter that matches every part of every payload's chunk map."""
        return f"{self.prefix}/payloads/+/map/+"

    def want(self, payload: bytes) -> str:
        """Give the topic on which any device may say what it misses of a payload.

        Devices that were told so (`Offer.want_topic`) say it below their own names instead.
        """
        return f"{self.prefix}/payloads/{payload.hex()}/want"

    def wants(self) -> str:
        """Give the filter that matches every want on a payload's topic."""
        return f"{self.prefix}/payloads/+/want"

    def device_wants(self) -> str:
        """Give the filter that matches every want below a device's own name."""
        return self.device("+", "want")

    def is_like_want(self, topic: str) -> bool:
        """Say whether a filter of wants matches, whatever stands for payload or device."""
        head, _, rest = topic.partition(f"{self.prefix}/")
        match rest.split("/"):
            case ["payloads" | "devices", _, "want"]:
                return not head
        return False

    def device(self, device: str, what: str) -> str:
        """Give the topic of what a device says, or is told (`DeviceTopic`); either may be `+`."""
        return f"{self.prefix}/devices/{device}/{what}"

    def parse(self, topic: str) -> Topic | None:
        """Say what a topic is about; None for a topic that is none of ours."""
        above, _, last = topic.rpartition("/")
        is_short = len(topic) <= limits.TOPIC_MAX_BYTES  # what is longer is not worth keeping
        level = _payload_level(self.prefix, above) if is_short else None
        if level is not None:
            return level.topic(last)
        head, _, rest = topic.partition(f"{self.prefix}/")
        if head or not rest:
            return None
        match rest.split("/"):
            case ["payloads", payload, "want"]:
                digest = _digest(payload)
                return None if digest is None else WantTopic(digest)
            case ["models", model, "notice"] if re.match(MODEL_PATTERN, model):
                return NoticeTopic(model)
            case ["devices", device, what] if what in _DEVICE_WORDS and re.match(
                DEVICE_PATTERN, device
            ):
                return DeviceTopic(device, what)
        return None


class _PayloadLevel(msgspec.Struct, frozen=True, gc=False):
    """All of a payload's topics that differ in the last word: of a block, or of the map."""

    payload: bytes
    block: int | None

    def topic(self, last: str) -> Topic | None:
        """Say what the topic with this last word is about; None for none of ours."""
        number = _number(last)
        if number is None:
            return None
        if self.block is None:
            return MapTopic(self.payload, number)
        is_of_block = number // limits.BLOCK_CHUNKS == self.block
        return ChunkTopic(self.payload, number) if is_of_block else None


@functools.lru_cache(maxsize=256)  # the same for all chunks of a block, of which some are under way
def _payload_level(prefix: str, above: str) -> _PayloadLevel | None:
    """Read all of a topic but its last word; None where that is no level of a payload."""
    head, _, rest = above.partition(f"{prefix}/payloads/")
    payload, _, level = rest.partition("/")
    digest, block = _digest(payload), _number(level)
    if head or digest is None or (block is None and level != "map"):
        return None
    return _PayloadLevel(digest, block)


def _digest(text: str) -> bytes | None:
    return bytes.fromhex(text) if _DIGEST.fullmatch(text) else None


def _number(text: str) -> int | None:
    """Read a number as `str` writes it: no sign, no leading zero, at most seven digits."""
    is_number = text.isdecimal() and text.isascii() and len(text) <= _NUMBER_MAX_DIGITS
    return int(text) if is_number and (text[0] != "0" or text == "0") else None
