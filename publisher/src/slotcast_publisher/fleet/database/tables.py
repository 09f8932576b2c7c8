"""All tables of the fleet's database.

What changes in one needs a migration in `migrations/versions`; a test holds that.

Times are whole seconds since 1970 by the clock of this machine, unless the name or a comment says
that they are the device's. Texts come from devices, were bounded when their message was validated,
and are data: whoever shows them escapes them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Double, String, Table, Text

from slotcast_publisher.fleet.database.access_tables import (
    audit,
    idempotency,
    links,
    notes,
    sessions,
    tokens,
    users,
)
from slotcast_publisher.fleet.database.columns import METADATA, NAME, count_column, seconds_column
from slotcast_publisher.fleet.database.device_tables import (
    IS_CLOCK_OFF,
    IS_OFFLINE,
    device_models,
    device_tags,
    devices,
    history,
    model_counts,
    tag_counts,
)
from slotcast_publisher.fleet.database.figure_tables import (
    IS_UNFOLDED,
    metrics,
    metrics_hours,
    metrics_releases,
    release_figures,
    release_hours,
)
from slotcast_publisher.fleet.database.steering_tables import (
    alarms,
    requests,
    rollout_log,
    rollout_views,
    rollouts,
)

__all__ = [
    "IS_CLOCK_OFF",
    "IS_OFFLINE",
    "IS_UNFOLDED",
    "METADATA",
    "alarms",
    "audit",
    "device_models",
    "device_tags",
    "devices",
    "dropped",
    "history",
    "idempotency",
    "leases",
    "links",
    "meta",
    "metrics",
    "metrics_hours",
    "metrics_releases",
    "model_counts",
    "notes",
    "release_figures",
    "release_hours",
    "requests",
    "rollout_log",
    "rollout_views",
    "rollouts",
    "sessions",
    "tag_counts",
    "tokens",
    "users",
]

meta: Final = Table(
    "meta",
    METADATA,
    Column("key", NAME, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Single values, such as since when this database knows (`knows_since_s`)."""

leases: Final = Table(
    "leases",
    METADATA,
    Column("name", NAME, primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until_s", Double, nullable=False),
    Column("term", BigInteger, nullable=False),
)
"""Who may do what only one process may do at a time."""

dropped: Final = Table(
    "dropped",
    METADATA,
    Column("reason", NAME, primary_key=True),
    count_column("count"),
    seconds_column("last_s"),
)
"""Messages that changed nothing, counted by why."""
