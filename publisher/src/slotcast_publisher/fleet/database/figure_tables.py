"""The tables of figures that applications report through their devices.

`tables` names them all; what is said there of times and texts holds here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnClause,
    Index,
    Integer,
    LargeBinary,
    Table,
    literal_column,
    text,
)

from slotcast_publisher.fleet.database.columns import (
    METADATA,
    NAME,
    count_column,
    flag_column,
    seconds_column,
    text_column,
)

metrics: Final = Table(
    "metrics",
    METADATA,
    Column("device", NAME, primary_key=True),
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("model", NAME, nullable=False),
    text_column("version", 64),
    count_column("sequence"),
    seconds_column("heard_s"),
    seconds_column("start_s"),  # by the device's clock, as `end_s`
    seconds_column("end_s"),
    flag_column("on_trial"),
    count_column("requests"),
    count_column("errors"),
    Column("figures", LargeBinary, nullable=False),  # figures_blob.pack_summary
    flag_column("is_folded"),
    Index(None, "heard_s"),
    Index(None, "device", "model", "heard_s"),
    Index(
        "ix_metrics_unfolded",
        "heard_s",
        sqlite_where=text("NOT is_folded"),
        postgresql_where=text("NOT is_folded"),
    ),
    sqlite_with_rowid=False,
)
"""Summaries as they came: the one with this number in the message with this counter, so that a
doubled message adds nothing. Kept for days."""

IS_UNFOLDED: Final[ColumnClause[bool]] = literal_column("NOT metrics.is_folded")
"""Not added up yet, in the words of the index; see `IS_OFFLINE`."""

metrics_hours: Final = Table(
    "metrics_hours",
    METADATA,
    Column("device", NAME, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    count_column("requests"),
    count_column("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "hour_s"),
    sqlite_with_rowid=False,
)
"""Of `metrics`, the sum of each hour. Kept for months."""

metrics_releases: Final = Table(
    "metrics_releases",
    METADATA,
    Column("device", NAME, primary_key=True),
    Column("model", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    text_column("version", 64),
    seconds_column("first_s"),
    seconds_column("last_s"),
    count_column("requests"),
    count_column("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "model", "sequence"),
    Index(None, "last_s"),
    sqlite_with_rowid=False,
)
"""Of `metrics`, the sum of each release on a device: what rollouts judge by."""

release_figures: Final = Table(
    "release_figures",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    text_column("version", 64),
    seconds_column("first_s"),
    seconds_column("last_s"),
    count_column("requests"),
    count_column("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "last_s"),
)
"""Of `metrics`, the sum of each release over all devices: what pages show without adding up a
fleet."""

release_hours: Final = Table(
    "release_hours",
    METADATA,
    Column("model", NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    count_column("requests"),
    count_column("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "hour_s"),
)
"""Of `metrics`, the sum of each hour and release over all devices. Kept for months."""
