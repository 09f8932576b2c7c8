"""How the device stands with its broker, as the `link` of a status says it. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from slotcast_schemas.errors import IdInUse, TransferFailed
from slotcast_schemas.limits import DETAIL_MAX_CHARS
from slotcast_schemas.messages.status import LinkStatus
from slotcast_schemas.reasons import Reason

if TYPE_CHECKING:
    from slotcast_device.core.certificate_choice import HeldCertificate
    from slotcast_device.core.transfer.broker_limits import BrokerLimits

CONNECTED: Final = Reason.CONNECTED
"""The reason of a link that is there and works."""
STARTING: Final = Reason.STARTING
"""The reason of a link before the first answer of a broker."""
STOPPED: Final = Reason.STOPPED
"""The reason of a link whose agent ended in order."""
IN_USE_SHOWN_S: Final = 600.0
"""The seconds after it was pushed off for which a device goes on to say that its id is in use."""
_NAME_MAX_CHARS: Final = 128
"""The most characters of a broker's name in a status."""
_LEFT_MAX: Final = 16
"""The most brokers that a status names because they are left alone: all that can be configured."""


class LinkState:
    """What is to be said of the link. No I/O; `mono_s` is for waits, `wall_s` is Unix time.

    Attributes:
        status: what is to be said now.
    """

    def __init__(self) -> None:
        self.status = LinkStatus()
        self._in_use: LinkStatus | None = None
        self._in_use_until_s = 0.0
        self._trouble: LinkStatus | None = None
        self._left: dict[str, tuple[float, str]] = {}  # by broker, until when, and why

    def connected(
        self, broker: str, protocol: str, limits: BrokerLimits, mono_s: float, wall_s: int
    ) -> None:
        """A broker took the connection.

        Args:
            broker: its name.
            protocol: what it speaks.
            limits: what it is known to allow.
            mono_s: the time, for waits.
            wall_s: the time, Unix.
        """
        base = self._in_use if mono_s < self._in_use_until_s else None
        was = base or LinkStatus(reason=CONNECTED)
        self._trouble = None
        self.look(mono_s)
        self.status = msgspec.structs.replace(
            was,
            certificate_serial=self.status.certificate_serial,
            certificate_ends=self.status.certificate_ends,
            broker=broker[:_NAME_MAX_CHARS],
            protocol=protocol,
            since=was.since or wall_s,
            limits=limits.words(),
            left=self.status.left,
        )

    def showed(self, held: HeldCertificate | None) -> None:
        """The broker let the device in by this certificate, or by none."""
        self.status = msgspec.structs.replace(
            self.status,
            certificate_serial="" if held is None else held.serial,
            certificate_ends=0 if held is None else max(0, int(held.ends_s)),
        )

    def left(self, broker: str, error: TransferFailed, until_s: float) -> None:
        """A broker misbehaved, and is left alone until a time, by the clock for waits.

        Args:
            broker: its name.
            error: what it did.
            until_s: when it may be tried again.
        """
        self._left[broker] = (until_s, f"{broker}: {error.reason}"[:_NAME_MAX_CHARS])
        self._say_left()

    def look(self, mono_s: float) -> bool:
        """Forget which brokers are left alone no longer; says whether any was."""
        over = [name for name, (until_s, _) in self._left.items() if until_s <= mono_s]
        for name in over:
            del self._left[name]
        self._say_left()
        return bool(over)

    def _say_left(self) -> None:
        said = tuple(text for _, text in self._left.values())[:_LEFT_MAX]
        if said != self.status.left:
            self.status = msgspec.structs.replace(self.status, left=said)

    def lost(self, broker: str, error: TransferFailed, mono_s: float, wall_s: int) -> None:
        """There is no connection, and this is why.

        Args:
            broker: the name of the broker that was tried last.
            error: what failed.
            mono_s: the time, for waits.
            wall_s: the time, Unix.
        """
        if isinstance(error, IdInUse):
            self._in_use_until_s = mono_s + IN_USE_SHOWN_S
        elif mono_s < self._in_use_until_s and error.reason == Reason.LINK_DOWN:
            return  # one that is pushed off cannot always tell by whom
        self._note_reason(broker, error.reason, str(error), wall_s)
        if isinstance(error, IdInUse):
            self._in_use = self.status

    def trouble(self, broker: str, error: TransferFailed, wall_s: int) -> None:
        """The connection is there, and this does not work on it.

        Args:
            broker: its name.
            error: what does not work.
            wall_s: the time, Unix.
        """
        self._note_reason(broker, error.reason, str(error), wall_s)
        self._trouble = self.status

    def works(self, wall_s: int) -> None:
        """What was asked for in vain came after all."""
        if self._trouble is not None and self.status == self._trouble:
            self._note_reason(self.status.broker, CONNECTED, "", wall_s)
        self._trouble = None

    def limits_changed(self, limits: BrokerLimits) -> None:
        """More was learnt of the present broker."""
        self.status = msgspec.structs.replace(self.status, limits=limits.words())

    def stopped(self, wall_s: int) -> None:
        """The agent ends; what was wrong stays to be read."""
        if self.status.reason == CONNECTED:
            self._note_reason(self.status.broker, STOPPED, "", wall_s)

    def _note_reason(self, broker: str, reason: str, detail: str, wall_s: int) -> None:
        is_same = (reason, broker) == (self.status.reason, self.status.broker)
        self.status = msgspec.structs.replace(
            self.status,
            broker=broker[:_NAME_MAX_CHARS],
            reason=reason,
            detail=detail[:DETAIL_MAX_CHARS],
            since=self.status.since if is_same else wall_s,
        )
