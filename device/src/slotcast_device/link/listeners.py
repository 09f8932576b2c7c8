"""Who is told of a link and of a connection, and who keeps what is learnt of brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig
    from slotcast_device.core.certificate_choice import HeldCertificate
    from slotcast_device.core.transfer.broker_limits import BrokerLimits, Refusal
    from slotcast_device.link.link import Link


class LinkListener(Protocol):
    """Who is told what comes on a connection."""

    def message(self, topic: str, data: bytes) -> None:
        """A message came; returning is the receipt (PUBACK)."""

    def subscription_answered(self, filters: int, took_s: float) -> None:
        """The broker took a subscription, in this time beyond the round trip."""

    def subscription_refused(self, refusal: Refusal) -> None:
        """The broker refused a filter for good."""

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None:
        """A SUBSCRIBE got no answer for long."""


class ConnectionListener(Protocol):
    """Who is told of the connection."""

    def connection_made(self, link: Link, credit_chunks: int, limits: BrokerLimits) -> None:
        """A broker took the connection; nothing is subscribed on it yet.

        Args:
            link: the connection.
            credit_chunks: how many chunks may be under way on it.
            limits: what its broker is known to allow.
        """

    def connection_lost(self) -> None:
        """The connection is gone, and with it every subscription."""

    def message(self, topic: str, data: bytes) -> None:
        """A message came; returning is the receipt."""

    def bytes_arrived(self) -> None:
        """Bytes came, of a packet that is not here whole: what was asked for may be on its way."""

    def subscription_answered(self, filters: int, took_s: float) -> None:
        """The broker took a subscription, in this time beyond the round trip."""

    def limits_changed(self, limits: BrokerLimits) -> None:
        """More was learnt of what this broker allows."""

    def subscription_refused(self, refusal: Refusal, *, is_final: bool) -> None:
        """The broker refused a filter; where not for good, the limits say how to ask otherwise."""

    def subscription_unanswered(self, filters: tuple[str, ...]) -> None:
        """A SUBSCRIBE got no answer for long."""


class Book(Protocol):
    """What is known of the brokers, kept over restarts."""

    def of(self, broker: str) -> BrokerLimits:
        """Give what is known of a broker."""

    def note(self, broker: str, limits: BrokerLimits, wall_s: int) -> bool:
        """Keep what was learnt; says whether that is anything new.

        Args:
            broker: its name.
            limits: what it is known to allow now.
            wall_s: Unix time in seconds.
        """


class Certificates(Protocol):
    """Which certificate a broker is shown."""

    in_use: HeldCertificate | None

    def chosen(self, broker: BrokerConfig, wall_s: float, mono_s: float) -> BrokerConfig:
        """Give a broker's configuration with the certificate to show it now.

        Args:
            broker: as `device.toml` has it.
            wall_s: the time of day, seconds since 1970.
            mono_s: the time, for waits.
        """

    def refused(self, broker: BrokerConfig, mono_s: float) -> None:
        """A broker that was reached did not let this device in."""

    def accepted(self, broker: BrokerConfig) -> None:
        """A broker let this device in."""
