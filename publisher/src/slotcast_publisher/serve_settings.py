"""`[serve]` in `slotcast.toml`: on which topics devices ask, and how much they are sent again.

A module of its own because the file is read as one: a key that is wrong, or not known, is said
wherever the file is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

WantTopics = Literal["both", "device", "payload"]
"""On which topics wants are heard: those below devices' own names, those of payloads, or both."""

Reports = Literal["any", "signed"]
"""Which reports count of devices that are not enrolled; those of enrolled ones must be signed."""


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `serve` hears and answers."""

    want_topics: Annotated[
        WantTopics,
        Meta(
            description="On which topics devices ask for what they miss: `device`, below their own"
            " names, which the broker's access rules prove; `payload`, where names are only"
            " claimed, as devices of before do; or `both`. Unless it is `payload`, offers tell"
            " devices to ask below their own names, from the next `publish` on."
        ),
    ] = "both"
    device_day_payloads: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000_000,
            description="So many times the size of a payload is one device sent again a day, at"
            " each broker.",
        ),
    ] = 3.0
    claimed_day_payloads: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="The same for all together that ask on the payloads' topics, where names"
            " are only claimed.",
        ),
    ] = 1_000.0
    day_min_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=2**40,
            description="The least that either of these two comes to, for small payloads.",
        ),
    ] = 4_000_000
    recheck_days: Annotated[
        float,
        Meta(
            ge=0,
            le=36_500,
            description="How often `serve` reads back what brokers keep of the offered payloads,"
            " and replaces what is false; 0 for never.",
        ),
    ] = 1.0
    reports: Annotated[
        Reports,
        Meta(
            description="Which statuses and metrics are taken: `any`, also unsigned ones, but of"
            " devices that are enrolled only what their keys signed; `signed`, nothing of devices"
            " that are not enrolled either."
        ),
    ] = "any"

    @property
    def told_topic(self) -> str:
        """What offers tell devices of where to ask (`Offer.want_topic`)."""
        return "payload" if self.want_topics == "payload" else "device"
