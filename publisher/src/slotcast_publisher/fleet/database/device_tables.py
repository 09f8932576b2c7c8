"""The tables of devices: what each one last said, how many say the same, and what they said before.

`tables` names them all; what is said there of times and texts holds here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnClause,
    Index,
    LargeBinary,
    Table,
    Text,
    literal_column,
    text,
)

from slotcast_publisher.fleet.database.columns import (
    METADATA,
    NAME,
    ROW_ID,
    count_column,
    flag_column,
    seconds_column,
    text_column,
)


def _indexes_of_few() -> list[Index]:
    """Give the indexes by which devices are counted that are in some way special."""
    found = []
    for name, condition in (
        ("offline", "NOT online"),
        ("twins", "twins_seen_s IS NOT NULL"),
        ("clock_off", "clock_is_off"),
    ):
        where = text(condition)
        found.append(Index(f"ix_devices_{name}", "id", sqlite_where=where, postgresql_where=where))
    return found


devices: Final = Table(
    "devices",
    METADATA,
    Column("id", NAME, primary_key=True),
    seconds_column("first_seen_s"),
    seconds_column("seen_s"),
    # From its last status: the one with the highest counter.
    count_column("counter"),
    Column("status_sha256", LargeBinary),  # of the message's bytes; its first 8
    seconds_column("status_at_s"),  # by the device's clock
    seconds_column("status_heard_s", is_known=True),  # NULL where only the retained one was heard
    text_column("clock", 64),
    Column("clock_off_s", BigInteger),  # the device's clock less ours; NULL for unknown
    flag_column("clock_is_off"),  # by more than `listing.CLOCK_OFF_S`
    Column("tags", Text, nullable=False, server_default=text("'{}'")),  # JSON
    text_column("software", 128),
    text_column("runtime", 128),
    text_column("machine", 128),
    count_column("memory_bytes"),
    count_column("disk_free_bytes"),
    Column("link", Text),  # JSON of LinkStatus
    # From its presence.
    flag_column("online"),
    seconds_column("online_since_s"),
    text_column("session", 128),
    seconds_column("presence_at_s"),  # by the device's clock
    # Of its metrics.
    count_column("metrics_counter"),
    count_column("metrics_lost"),  # summaries that the device had to drop
    # What does not fit together.
    seconds_column(
        "twins_seen_s", is_known=True
    ),  # when two devices were last noticed under this id
    text_column("twins_why", 256),
    seconds_column("started_anew_s", is_known=True),  # when its counter began again
    Column("intake", LargeBinary),  # what the intake remembers of it, and nobody else reads
    # Who says it: see `intake.proof`.
    text_column("signed", 16),  # of its last status
    seconds_column("refused_s", is_known=True),  # when a report in its name was last refused
    text_column("refused_why", 32),
    count_column("refused_count"),
    Column("abilities", Text, nullable=False, server_default=text("'{}'")),  # JSON
    *_indexes_of_few(),
)
"""One row for each device. No index has `seen_s` or `clock_off_s`: each message changes them, and
PostgreSQL then writes the row beside the old one (HOT) only if no index knows the column, not even
in its condition."""

IS_OFFLINE: Final[ColumnClause[bool]] = literal_column("NOT devices.online")
"""Not connected, in the words of the index: in SQLite `~online` is `online = 0`, of which that does
not know that it is the same."""

IS_CLOCK_OFF: Final[ColumnClause[bool]] = literal_column("devices.clock_is_off")
"""The clock is off, in the words of the index: in SQLite the column is `clock_is_off = 1`."""

device_tags: Final = Table(
    "device_tags",
    METADATA,
    Column("device", NAME, primary_key=True),
    Column("key", NAME, primary_key=True),
    text_column("value", 128),
    Index(None, "key", "value"),
)
"""The tags of `devices` once more, to look by; written only when they change."""

device_models: Final = Table(
    "device_models",
    METADATA,
    Column("device", NAME, primary_key=True),
    Column("model", NAME, primary_key=True),
    text_column("state", 16),
    text_column("reason", 64),
    text_column("detail", 512),
    seconds_column("since_s"),  # by the device's clock
    seconds_column("changed_s"),  # when state, reason or release were last seen to change
    text_column("active_version", 64),
    count_column("active_sequence"),
    text_column("target_version", 64),
    count_column("target_sequence"),
    text_column("deployment", 64),
    text_column("group_name", 128),
    count_column("floor"),
    count_column("saved_bytes"),  # of the present target, kept after the status says it no more
    Column("status", LargeBinary, nullable=False),  # msgpack of ModelStatus
    Index("ix_device_models_state", "model", "state", "reason"),
    Index("ix_device_models_release", "model", "active_sequence", "active_version"),
    Index("ix_device_models_deployment", "deployment", "group_name"),
    Index("ix_device_models_changed", "model", "changed_s"),
)
"""One row for each model of each device: what its last status says."""

model_counts: Final = Table(
    "model_counts",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    text_column("version", 64, is_key=True),
    text_column("state", 16, is_key=True),
    text_column("reason", 64, is_key=True),
    text_column("deployment", 64, is_key=True),
    text_column("group_name", 128, is_key=True),
    Column("online", Boolean, primary_key=True),
    count_column("devices"),
    sqlite_with_rowid=False,
)
"""How many rows `device_models` has with each of these: see `kept_counts`. `sequence` and `version`
are what runs."""

tag_counts: Final = Table(
    "tag_counts",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("key", NAME, primary_key=True),
    text_column("value", 128, is_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("on_trial", Boolean, primary_key=True),
    count_column("devices"),
    sqlite_with_rowid=False,
)
"""How many devices with a tag have a model, by what runs of it: see `kept_counts`."""

history: Final = Table(
    "history",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    seconds_column("at_s"),
    seconds_column("device_at_s"),  # by the device's clock
    Column("device", NAME, nullable=False),
    Column("model", NAME, nullable=False),
    text_column("state", 16),
    text_column("reason", 64),
    text_column("detail", 512),
    text_column("version", 64),
    count_column("sequence"),
    text_column("target_version", 64),
    count_column("target_sequence"),
    text_column("deployment", 64),
    Column("evidence", LargeBinary),  # msgpack of Evidence
    Column("progress", LargeBinary),  # msgpack of Progress, of the transfer for the target
    Index(None, "device", "at_s"),
    Index(None, "model", "at_s"),
    Index(None, "at_s"),
)
"""A row for each change of a model's state, reason or release on a device; `version` is what it
ran then."""
