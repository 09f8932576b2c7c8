"""The tables. What changes here needs a migration in `migrations/versions`; a test holds that.

Times are whole seconds since 1970 by the clock of this machine, unless the name or a comment says
that they are the device's. Texts come from devices, were bounded when their message was validated,
and are data: whoever shows them escapes them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnClause,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    literal_column,
    text,
)

from slotcast_publisher.fleet.database.columns import (
    NAME,
    ROW_ID,
    count_column,
    flag_column,
    seconds_column,
    text_column,
)

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables; constraints have names, so that migrations can speak of them."""

meta: Final = Table(
    "meta",
    METADATA,
    Column("key", NAME, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Single values, such as since when this database knows (`knows_since_s`)."""


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

users: Final = Table(
    "users",
    METADATA,
    Column("name", NAME, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False, server_default=text("''")),  # '' for none yet
    seconds_column("made_s"),
    seconds_column("password_s", is_known=True),  # when it was set
    seconds_column("signed_in_s", is_known=True),
)
"""Persons who may use the page. No index has what a sign-in changes."""

links: Final = Table(
    "links",
    METADATA,
    Column("secret_sha256", LargeBinary, primary_key=True),
    Column("user", NAME, nullable=False, server_default=text("''")),  # '' names themselves
    Column("role", String(16), nullable=False),
    text_column("made_by", 128),
    seconds_column("made_s"),
    seconds_column("ends_s"),
)
"""One-time links by which a person sets a password; gone when used."""

sessions: Final = Table(
    "sessions",
    METADATA,
    Column("secret_sha256", LargeBinary, primary_key=True),
    Column("user", NAME, nullable=False),
    seconds_column("made_s"),
    seconds_column("seen_s"),
    seconds_column("ends_s"),
    text_column("address", 64),
    text_column("agent", 256),
    Index(None, "user"),
)
"""Who is signed in; the secret itself is only in the browser."""

tokens: Final = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", NAME, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("scope", Text, nullable=False),  # JSON: a list of permissions
    text_column("made_by", 128),
    seconds_column("made_s"),
    seconds_column("ends_s"),
    seconds_column("used_s", is_known=True),
    seconds_column("revoked_s", is_known=True),
)
"""What programs sign in with; the secret itself was shown once."""

audit: Final = Table(
    "audit",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    seconds_column("at_s"),
    text_column("who", 128),
    Column("how", String(16), nullable=False),
    text_column("address", 64),
    Column("action", NAME, nullable=False),
    text_column("subject", 256),
    text_column("before", 2000),
    text_column("after", 2000),
    Index(None, "at_s"),
)
"""Every change by a person or a program: who, from where, what, before and after."""

notes: Final = Table(
    "notes",
    METADATA,
    Column("id", ROW_ID, primary_key=True),
    seconds_column("at_s"),
    Column("kind", String(16), nullable=False),
    Column("subject", String(192), nullable=False),
    text_column("who", 128),
    text_column("text", 2000),
    Index(None, "kind", "subject"),
)
"""What operators wrote beside a device (its id) or a release (`MODEL VERSION`)."""

idempotency: Final = Table(
    "idempotency",
    METADATA,
    Column("who", String(128), primary_key=True),
    Column("key", String(128), primary_key=True),
    Column("request_sha256", LargeBinary, nullable=False),
    Column("status", Integer, nullable=False),
    Column("headers", Text, nullable=False, server_default=text("'{}'")),  # JSON
    Column("body", LargeBinary, nullable=False),
    seconds_column("at_s"),
    Index(None, "at_s"),
)
"""Answers to changes that were asked for with an `Idempotency-Key`, to be given again."""
