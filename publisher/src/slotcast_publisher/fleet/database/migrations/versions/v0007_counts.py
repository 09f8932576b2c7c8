"""Devices that are offline, whose clock is off, or whose id two use, are counted by an index."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"
_CLOCK_OFF_S: Final = 120
_INDEXES: Final = {
    "ix_devices_offline": "NOT online",
    "ix_devices_twins": "twins_seen_s IS NOT NULL",
    "ix_devices_clock_off": "clock_is_off",
}


def upgrade() -> None:
    """Go to this version."""
    column: sa.Column[bool] = sa.Column(
        "clock_is_off", sa.Boolean(), server_default=sa.text("false"), nullable=False
    )
    op.add_column("devices", column)
    devices = sa.table("devices", sa.column("clock_off_s"), sa.column("clock_is_off"))
    is_off = sa.func.abs(devices.c.clock_off_s) > _CLOCK_OFF_S
    op.execute(devices.update().where(is_off).values(clock_is_off=True))
    for name, condition in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "devices", ["id"], sqlite_where=where, postgresql_where=where)
