"""Who is there, and whether two devices have one id. Pure.

A run of a device's software draws its session anew, so one that comes back after another is a
second device with the same id; so is one that says something else under the same counter, or whose
counter goes back although it did not start anew. They are shown as such, and what the highest
counter says stays what is believed.
"""

from __future__ import annotations

from typing import Final

from slotcast_publisher.fleet.intake.known_device import SESSIONS_MAX, DeviceRecord
from slotcast_publisher.fleet.intake.messages import Drop
from slotcast_schemas.messages import Presence

TWINS_REMEMBERED_S: Final = 3_600.0
"""The seconds after two devices were seen under one id in which a lower counter is not taken for a
device that began anew."""


def take_presence(
    record: DeviceRecord, said: Presence, now_s: float, *, is_live: bool
) -> Drop | None:
    """Change a record by a presence; gives why it changed nothing, or None.

    Args:
        record: of the device.
        said: the presence.
        now_s: the clock of this machine, in seconds since 1970.
        is_live: whether it was said now, and does not come from a broker's memory.
    """
    before = (record.online, record.presence_at_s, record.sessions)
    if _is_of_an_earlier_connection(record, said, is_live=is_live):
        return Drop.OLDER_PRESENCE
    if said.online and said.session and said.session != record.session:
        if is_live and said.session in record.sessions:
            record.note_twins(now_s, "runs of its software that are online take turns")
        others = tuple(name for name in record.sessions if name != said.session)
        record.sessions = (*others, said.session)[-SESSIONS_MAX:]
        record.status_session = record.status_session or said.session
        record.metrics_session = record.metrics_session or said.session
    if (said.online, said.time, record.sessions) == before:
        return Drop.REPEATED
    if said.online:
        record.online_since_s = now_s if is_live else min(float(said.time), now_s)
    record.online, record.presence_at_s = said.online, said.time
    return None


def may_begin_anew(record: DeviceRecord, session: str, now_s: float) -> bool:
    """Say whether a device that counts from the beginning may have lost what it had.

    It may where another run of its software is there than the one that was believed last, and no
    two devices are known to have its id.

    Args:
        record: of the device.
        session: the run of its software that was believed last.
        now_s: the clock of this machine, in seconds since 1970.
    """
    has_twin = record.twins_seen_s is not None and now_s - record.twins_seen_s < TWINS_REMEMBERED_S
    return not has_twin and record.session != session


def _is_of_an_earlier_connection(record: DeviceRecord, said: Presence, *, is_live: bool) -> bool:
    """Whether another connection of the device is known to have begun later.

    A last will comes when the broker notices, which may be after the device has connected again.
    That a device is online is believed by its last word, for its clock may have been set back.
    """
    if record.presence_at_s is None:
        return False
    if said.online and is_live:
        return False
    return said.time < record.presence_at_s or (
        said.online and said.time == record.presence_at_s and not record.online
    )
