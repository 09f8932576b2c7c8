"""What a broker allows, as it is learnt from what the broker does.

From a CONNACK, from a filter that it refuses, from what it hangs up on. What is sure is kept in the
book, over restarts; what is only likely, in the history, for a while.
What is asked of a broker within its limits is decided by `core.transfer.broker_limits`; how long
they are remembered, by `storage.broker_book`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_device.core.transfer.broker_limits import (
    FAILED,
    RETAIN_NOT_SUPPORTED,
    SUBSCRIPTIONS_MAX,
    UNSUPPORTED_VERSION,
    BrokerLimits,
    after_ending,
    after_refusal,
)
from slotcast_device.link.presence import id_in_use
from slotcast_schemas.errors import BrokerRefused, LinkDown, TransferFailed

if TYPE_CHECKING:
    from slotcast_device.core.transfer.broker_limits import Ending, Refusal
    from slotcast_device.link.broker_history import BrokerHistory
    from slotcast_device.link.connack import Accepted
    from slotcast_device.link.link import Link
    from slotcast_device.link.listeners import Book
    from slotcast_device.link.presence import OwnPresence

_LOG: Final = logging.getLogger("slotcast.device")


class LearntLimits:
    """Learns the limits of brokers.

    Args:
        book: what is known of the brokers, kept over restarts.
        history: what they did with earlier connections.
        presence: tells whether another device has this one's id.
        wall_clock: the time of day, in seconds since 1970.
        on_news: called when something new was learnt.
    """

    def __init__(
        self,
        book: Book,
        history: BrokerHistory,
        presence: OwnPresence,
        wall_clock: Callable[[], float],
        on_news: Callable[[], None],
    ) -> None:
        self._book = book
        self._history = history
        self._presence = presence
        self._wall_clock = wall_clock
        self._on_news = on_news
        self._may_be_quota = True

    def known(self, broker: str) -> BrokerLimits:
        """Give what is known of a broker."""
        return self._book.of(broker)

    def present(self, link: Link | None) -> BrokerLimits:
        """Give what the broker of the present connection allows, as far as it is known."""
        if link is None:
            return BrokerLimits()
        return msgspec.structs.replace(
            self._book.of(link.broker.name),
            packet_max_bytes=link.packet_max_bytes,
            retained=link.retains,
        )

    def learn_from_connack(self, link: Link, accepted: Accepted) -> None:
        """Keep what the broker said when it took the connection."""
        self._may_be_quota = True
        known = self._book.of(link.broker.name)
        may_have_retained = link.broker.retained and known.retained
        limits = msgspec.structs.replace(
            known,
            protocol=accepted.protocol,
            retained=known.retained and (accepted.retains or not may_have_retained),
            wildcard_messages_max=known.wildcard_messages_max if accepted.has_wildcards else 0,
        )
        self._book.note(link.broker.name, limits, int(self._wall_clock()))

    def learn_from_refusal(self, link: Link, refusal: Refusal) -> bool:
        """Learn from a filter that was refused.

        Returns:
            Whether asking otherwise may work.
        """
        known = self._book.of(link.broker.name)
        learnt, may_work = after_refusal(known, refusal, link.held, may_be_quota=self._may_be_quota)
        if not may_work and refusal.code == FAILED and not link.held and self._may_be_quota:
            self._may_be_quota = False  # so the refusals before were no quota either
            learnt = msgspec.structs.replace(learnt, subscriptions_max=SUBSCRIPTIONS_MAX)
        self._keep(link.broker.name, learnt, refusal.text)
        return may_work

    def learn_from_wildcard(self, broker: str, messages_max: int) -> None:
        """Keep how many retained messages a filter with a wildcard was seen to bring."""
        known = self._book.of(broker)
        fewer = min(messages_max, known.wildcard_messages_max)
        learnt = msgspec.structs.replace(known, wildcard_messages_max=fewer)
        self._keep(broker, learnt, f"a wildcard brought {messages_max} of more messages")

    def learn_from_hang_up(self, link: Link) -> bool:
        """Choose how to ask the next time, where the broker did not even take the connection.

        Returns:
            Whether that is to be done at once.
        """
        name = link.broker.name
        known = self._book.of(name)
        if link.refused_code == RETAIN_NOT_SUPPORTED:  # of the will, MQTT 5 3.2.2.3.5
            learnt = msgspec.structs.replace(known, retained=False)
            return self._keep(name, learnt, "it refused a retained last will")
        is_version = link.refused_code == UNSUPPORTED_VERSION
        if link.refused_code is not None and not is_version:
            return False
        return self._history.hung_up(link.broker, known, is_version=is_version)

    def learn_from_ending(
        self, name: str, ending: Ending, error: TransferFailed, now_s: float
    ) -> tuple[TransferFailed, bool]:
        """Learn from how a connection ended that had been taken.

        Args:
            name: the broker's.
            ending: what still waited for an answer.
            error: why it ended, as it looked.
            now_s: the time, for waits.

        Returns:
            Why it ended, as far as that is known now; and whether something was learnt by which
            the next one may do better.
        """
        if not isinstance(error, LinkDown):
            return error, False
        if self._presence.has_twin(now_s):
            return id_in_use(name), False
        is_blamed = ending.is_single and self._history.is_blamed(name, ending)
        ending = msgspec.structs.replace(ending, is_single=is_blamed)
        learnt = after_ending(self._book.of(name), ending)
        if self._keep(name, learnt, "it closed the connection"):
            return error, True
        return self._do_without(name, ending, now_s) if is_blamed else (error, False)

    def _do_without(self, name: str, ending: Ending, now_s: float) -> tuple[TransferFailed, bool]:
        """Leave out what the broker hangs up on, if the device can work without it.

        See `learn_from_ending` for what is given.

        What is published there is only left out for a while, since it is known by inference.
        """
        is_look = ending.filters == (self._presence.topic,)
        what = f"it is asked for {ending.filters[0]}" if ending.filters else ""
        if is_look:
            self._presence.ask_later(name, now_s)
        elif ending.topic:
            what = f"something is published on {ending.topic}"
            self._history.mute(name, ending.topic, now_s)
        text = f"{name}: the broker closes the connection when {what}; check its access rules"
        return BrokerRefused(text), is_look or bool(ending.topic)

    def _keep(self, name: str, limits: BrokerLimits, why: str) -> bool:
        """Keep what was learnt; says whether that is anything new."""
        if not self._book.note(name, limits, int(self._wall_clock())):
            return False
        said = "; ".join(limits.words()) or "no limit known"
        _LOG.info("%s: learnt (%s): %s", name, why, said)
        self._on_news()
        return True
