"""Which of its certificates a device shows to a broker, and when it asks for the next. No I/O.

A new certificate is shown first, and kept once a broker took it. One that a broker refused is set
aside for an hour, in which the device comes in by what it had before, as long as that counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

SET_ASIDE_S: Final = 3600.0
"""The seconds for which a certificate that a broker refused is not shown to it, if another is
there: a broker that was just starting may have refused it, too."""

ASK_AGAIN_S: Final = 3600.0
"""The seconds between two requests for the next certificate."""

LIFE_LEFT_PART: Final = 0.4
"""The part of a certificate's life that is left when a device may begin to ask."""

SPREAD_PART: Final = 0.1
"""The part of a life over which devices that were made together spread their requests."""


class HeldCertificate(msgspec.Struct, frozen=True):
    """A certificate that this device has; times in seconds since 1970.

    Attributes:
        serial: its serial number, in hexadecimal.
        path: its file.
        is_new: whether no broker took it yet.
    """

    serial: str
    path: str
    starts_s: float
    ends_s: float
    is_new: bool = False


class CertificateChoice:
    """Chooses for each broker; `mono_s` is the clock for waits."""

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], float] = {}

    def choose(
        self, broker: str, held: Sequence[HeldCertificate], wall_s: float, mono_s: float
    ) -> HeldCertificate | None:
        """Give what to show to a broker; None where there is nothing.

        Args:
            broker: its name.
            held: what there is, the one to be shown first in front.
            wall_s: the time of day.
            mono_s: the time, for waits.
        """
        # Where all have ended, by a clock that may be wrong, the broker says which it takes.
        counting = [one for one in held if wall_s < one.ends_s] or list(held)
        fresh = [one for one in counting if not self._is_set_aside(broker, one, mono_s)]
        if counting and not fresh:
            self._refused = {key: at for key, at in self._refused.items() if key[0] != broker}
        return next(iter(fresh or counting), None)

    def refused(self, broker: str, shown: HeldCertificate, mono_s: float) -> None:
        """A broker did not let the device in with a certificate.

        Args:
            broker: its name.
            shown: the certificate.
            mono_s: the time, for waits.
        """
        self._refused[broker, shown.serial] = mono_s

    def accepted(self, broker: str, shown: HeldCertificate) -> None:
        """A broker let the device in with a certificate."""
        self._refused.pop((broker, shown.serial), None)

    def _is_set_aside(self, broker: str, one: HeldCertificate, mono_s: float) -> bool:
        at_s = self._refused.get((broker, one.serial))
        return at_s is not None and mono_s < at_s + SET_ASIDE_S


class RenewalTimes:
    """When a device asks for the next certificate.

    Args:
        place: where the device stands among others that were made together, from 0 to 1.
    """

    def __init__(self, place: float) -> None:
        self._left_part = LIFE_LEFT_PART - SPREAD_PART * place
        self._asked_s: float | None = None

    def is_due(self, held: HeldCertificate, wall_s: float, mono_s: float) -> bool:
        """Say whether to ask now.

        Args:
            held: the certificate that the broker took.
            wall_s: the time of day.
            mono_s: the time, for waits.
        """
        if self._asked_s is not None and mono_s < self._asked_s + ASK_AGAIN_S:
            return False
        return held.ends_s - wall_s < (held.ends_s - held.starts_s) * self._left_part

    def asked(self, mono_s: float) -> None:
        """The device asked."""
        self._asked_s = mono_s
