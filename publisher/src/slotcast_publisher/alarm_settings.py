"""`[alarms]` in `slotcast.toml`: when something needs a person, and whom to tell.

Of the fleet (`slotcast-publisher[fleet]`), and here because the file is read as one: a key that is
wrong, or not known, is said wherever the file is read.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

KindName = Literal[
    "device_silent",
    "disk_low",
    "clock_off",
    "id_shared",
    "reports_refused",
    "release_failing",
    "rollout_paused",
    "signature_expiring",
    "certificate_expiring",
    "support_ending",
    "broker_refusing",
    "broker_unreachable",
    "database_failing",
]
"""The kinds of alarms; what they mean is in docs/fleet.md."""

Share = Annotated[float, Meta(gt=0, lt=1)]
Days = Annotated[float, Meta(ge=0, le=36_500)]


class Webhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where alarms are posted to."""

    url: Annotated[
        str | None,
        Meta(
            description="Where alarms are posted to, `https://...` or `http://...`; nowhere if not"
            " given. A redirect is not followed."
        ),
    ] = None
    secret_file: Annotated[
        str | None,
        Meta(
            description="A file with the secret that posts are signed with, 16 characters or more;"
            " relative to the repository. The environment variable `SLOTCAST_WEBHOOK_SECRET` goes"
            " before it."
        ),
    ] = None
    timeout_s: Annotated[
        float, Meta(gt=0, le=120, description="The longest time that one post may take, in all.")
    ] = 10.0

    def __repr__(self) -> str:
        return f"Webhook(url={'***' if self.url else None})"


class AlarmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When alarms are raised."""

    off: Annotated[
        tuple[KindName, ...],
        Meta(description="Kinds of alarms that are not raised, such as `device_silent`."),
    ] = ()
    named_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="So many alarms of one kind name what they are about; when more hold at"
            " once, they are one alarm that counts them.",
        ),
    ] = 10
    raised_per_hour_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1000,
            description="So many alarms of one kind are raised within an hour at most; what more"
            " there is waits.",
        ),
    ] = 30
    silent_s: Annotated[
        float,
        Meta(
            ge=60,
            le=31_536_000,
            description="A device that is offline and was not heard of for so long is silent.",
        ),
    ] = 86_400.0
    disk_free_min_bytes: Annotated[
        int, Meta(ge=0, le=2**53 - 1, description="A device with less room has too little.")
    ] = 256 * 1024 * 1024
    clock_off_max_s: Annotated[
        float,
        Meta(
            ge=1,
            le=31_536_000,
            description="A device's clock that differs by more from ours is off.",
        ),
    ] = 300.0
    failing_share: Annotated[
        Share,
        Meta(
            description="A release is failing once more devices than this share do not take it,"
            " beyond chance."
        ),
    ] = 0.05
    failing_devices_min: Annotated[
        int, Meta(ge=1, le=1_000_000, description="And once so many devices have not taken it.")
    ] = 2
    signature_left_days: Annotated[
        Days,
        Meta(
            description="A signature that counts for less than this, and for less than a quarter of"
            " its life, is about to expire."
        ),
    ] = 30.0
    support_left_days: Annotated[
        Days,
        Meta(
            description="A release that devices run, and that its publisher supports for less than"
            " this, is to be replaced."
        ),
    ] = 30.0
    certificate_left_days: Annotated[
        Days,
        Meta(
            description="Likewise a certificate: of the brokers, the publisher's own, of devices"
            " and of the CAs; and a list of revoked ones."
        ),
    ] = 30.0
    webhook: Annotated[Webhook, Meta(description="Where alarms are posted to.")] = Webhook()
