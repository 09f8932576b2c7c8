"""Presence: retained; the device says it is online, its last will says that it is not."""

from __future__ import annotations

from slotcast_schemas import limits
from slotcast_schemas.fields import DeviceId, Format, Requires, ShortText, UnixTime
from slotcast_schemas.wire import Message


class Presence(Message, frozen=True, kw_only=True, tag_field="kind", tag="presence"):
    """Whether a device is connected; `time` is when that connection began.

    `session` is drawn at each start of the device's software: two that alternate under one id are
    two devices that share it.
    """

    KIND = "presence"
    MAX_BYTES = limits.PRESENCE_MAX_BYTES

    format: Format = 1
    requires: Requires = ()
    device: DeviceId
    online: bool
    time: UnixTime
    session: ShortText = ""
