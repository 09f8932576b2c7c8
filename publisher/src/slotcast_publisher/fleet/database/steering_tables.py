"""The tables of rollouts and of alarms.

`tables` names them all; what is said there of times and texts holds here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    Double,
    Index,
    String,
    Table,
    Text,
    text,
)

from slotcast_publisher.fleet.database.columns import (
    METADATA,
    NAME,
    ROW_ID,
    count_column,
    seconds_column,
    text_column,
)

rollouts: Final = Table(
    "rollouts",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("name", NAME, primary_key=True),
    text_column("state", 16),
    Column("record", Text, nullable=False),  # JSON; the file beside the repository is the truth
    seconds_column("updated_s"),
)
"""Where each rollout stands, as its file beside the repository says."""

rollout_views: Final = Table(
    "rollout_views",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("name", NAME, primary_key=True),
    seconds_column("at_s"),
    Column("view", Text, nullable=False),  # JSON of steering.overview_types.RolloutView
)
"""What whoever drives a rollout saw at its last look: so a page need not count a fleet anew."""

rollout_log: Final = Table(
    "rollout_log",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    seconds_column("at_s"),
    Column("model", NAME, nullable=False),
    Column("rollout", NAME, nullable=False),
    text_column("group_name", 128),
    text_column("word", 64),
    Column("text", Text, nullable=False, server_default=text("''")),
    text_column("who", 128),
    Index(None, "rollout", "id"),
    Index(None, "at_s"),
)
"""Who did what, and what was decided and why."""

requests: Final = Table(
    "requests",
    METADATA,
    Column("id", NAME, primary_key=True),
    Column("model", NAME, nullable=False),
    Column("rollout", NAME, nullable=False),
    text_column("who", 128),
    text_column("wish", 32),
    Column("arguments", Text, nullable=False, server_default=text("'{}'")),  # JSON
    seconds_column("at_s"),
    seconds_column("done_s", is_known=True),
    text_column("answer", 512),
    Index(None, "rollout", "at_s"),
)
"""What persons asked of a rollout."""

alarms: Final = Table(
    "alarms",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    Column("kind", NAME, nullable=False),
    Column("subject", String(256), nullable=False),
    Column("raised_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    Column("cleared_s", Double),
    Column("raise_posted_s", Double),  # when the webhook took it
    Column("clear_posted_s", Double),
    Column("text", Text, nullable=False, server_default=text("''")),
    count_column("count"),
    Column("subjects", Text, nullable=False, server_default=text("'[]'")),  # JSON: some of them
    Index(None, "cleared_s"),
    Index(
        "ix_alarms_standing",
        "kind",
        "subject",
        unique=True,
        sqlite_where=text("cleared_s IS NULL"),
        postgresql_where=text("cleared_s IS NULL"),
    ),
)
"""What needs a person; `cleared_s` is NULL while it lasts."""
