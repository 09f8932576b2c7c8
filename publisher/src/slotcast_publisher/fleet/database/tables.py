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
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from slotcast_publisher.fleet.database.bounded_text import BoundedText

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""All tables; constraints have names, so that migrations can speak of them."""

_ROW_ID: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself only what is called INTEGER; that has 64 bits, too."""
_NAME: Final = String(64)
"""The name of a model, or the id of a device."""


def _seconds(name: str, *, is_known: bool = False) -> Column[int]:
    """A time; 0 for never, unless `is_known` is asked for: then NULL stands for unknown."""
    if is_known:
        return Column(name, BigInteger)
    return _count(name)


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default=text("0"))


def _text(name: str, size: int) -> Column[str]:
    return Column(name, BoundedText(size), nullable=False, server_default=text("''"))


def _flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False, server_default=text("false"))


meta: Final = Table(
    "meta",
    METADATA,
    Column("key", _NAME, primary_key=True),
    Column("value", Text, nullable=False),
)
"""Single values, such as since when this database knows (`knows_since_s`)."""

devices: Final = Table(
    "devices",
    METADATA,
    Column("id", _NAME, primary_key=True),
    _seconds("first_seen_s"),
    _seconds("seen_s"),
    # From its last status: the one with the highest counter.
    _count("counter"),
    Column("status_sha256", LargeBinary),  # of the message's bytes; its first 8
    _seconds("status_at_s"),  # by the device's clock
    _seconds("status_heard_s", is_known=True),  # NULL where only the retained one was heard
    _text("clock", 64),
    Column("clock_off_s", BigInteger),  # the device's clock less ours; NULL for unknown
    Column("tags", Text, nullable=False, server_default=text("'{}'")),  # JSON
    _text("software", 128),
    _text("runtime", 128),
    _text("machine", 128),
    _count("memory_bytes"),
    _count("disk_free_bytes"),
    Column("link", Text),  # JSON of LinkStatus
    # From its presence.
    _flag("online"),
    _seconds("online_since_s"),
    _text("session", 128),
    _seconds("presence_at_s"),  # by the device's clock
    # Of its metrics.
    _count("metrics_counter"),
    _count("metrics_lost"),  # summaries that the device had to drop
    # What does not fit together.
    _seconds("twins_seen_s", is_known=True),  # when two devices were last noticed under this id
    _text("twins_why", 256),
    _seconds("started_anew_s", is_known=True),  # when its counter began again
    Column("intake", LargeBinary),  # what the intake remembers of it, and nobody else reads
)
"""One row for each device. No index has `seen_s`: each message changes it, and PostgreSQL then
writes the row beside the old one (HOT) only if no index knows the column."""

device_tags: Final = Table(
    "device_tags",
    METADATA,
    Column("device", _NAME, primary_key=True),
    Column("key", _NAME, primary_key=True),
    _text("value", 128),
    Index(None, "key", "value"),
)
"""The tags of `devices` once more, to look by; written only when they change."""

device_models: Final = Table(
    "device_models",
    METADATA,
    Column("device", _NAME, primary_key=True),
    Column("model", _NAME, primary_key=True),
    _text("state", 16),
    _text("reason", 64),
    _text("detail", 512),
    _seconds("since_s"),  # by the device's clock
    _seconds("changed_s"),  # when state, reason or release were last seen to change
    _text("active_version", 64),
    _count("active_sequence"),
    _text("target_version", 64),
    _count("target_sequence"),
    _text("deployment", 64),
    _text("group_name", 128),
    _count("floor"),
    _count("saved_bytes"),  # of the present target, kept after the status says it no more
    Column("status", LargeBinary, nullable=False),  # msgpack of ModelStatus
    Index("ix_device_models_state", "model", "state", "reason"),
    Index("ix_device_models_release", "model", "active_sequence", "active_version"),
    Index("ix_device_models_deployment", "deployment", "group_name"),
    Index("ix_device_models_changed", "model", "changed_s"),
)
"""One row for each model of each device: what its last status says."""

history: Final = Table(
    "history",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    _seconds("at_s"),
    _seconds("device_at_s"),  # by the device's clock
    Column("device", _NAME, nullable=False),
    Column("model", _NAME, nullable=False),
    _text("state", 16),
    _text("reason", 64),
    _text("detail", 512),
    _text("version", 64),
    _count("sequence"),
    _text("target_version", 64),
    _count("target_sequence"),
    _text("deployment", 64),
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
    Column("device", _NAME, primary_key=True),
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("model", _NAME, nullable=False),
    _text("version", 64),
    _count("sequence"),
    _seconds("heard_s"),
    _seconds("start_s"),  # by the device's clock, as `end_s`
    _seconds("end_s"),
    _flag("on_trial"),
    _count("requests"),
    _count("errors"),
    Column("figures", LargeBinary, nullable=False),  # figures_blob.pack_summary
    _flag("is_folded"),
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

metrics_hours: Final = Table(
    "metrics_hours",
    METADATA,
    Column("device", _NAME, primary_key=True),
    Column("model", _NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    _count("requests"),
    _count("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "hour_s"),
    sqlite_with_rowid=False,
)
"""Of `metrics`, the sum of each hour. Kept for months."""

metrics_releases: Final = Table(
    "metrics_releases",
    METADATA,
    Column("device", _NAME, primary_key=True),
    Column("model", _NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _text("version", 64),
    _seconds("first_s"),
    _seconds("last_s"),
    _count("requests"),
    _count("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "model", "sequence"),
    Index(None, "last_s"),
    sqlite_with_rowid=False,
)
"""Of `metrics`, the sum of each release on a device: what rollouts judge by."""

release_figures: Final = Table(
    "release_figures",
    METADATA,
    Column("model", _NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    _text("version", 64),
    _seconds("first_s"),
    _seconds("last_s"),
    _count("requests"),
    _count("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "last_s"),
)
"""Of `metrics`, the sum of each release over all devices: what pages show without adding up a
fleet."""

release_hours: Final = Table(
    "release_hours",
    METADATA,
    Column("model", _NAME, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    _count("requests"),
    _count("errors"),
    Column("figures", LargeBinary, nullable=False),
    Index(None, "hour_s"),
)
"""Of `metrics`, the sum of each hour and release over all devices. Kept for months."""

rollouts: Final = Table(
    "rollouts",
    METADATA,
    Column("model", _NAME, primary_key=True),
    Column("name", _NAME, primary_key=True),
    _text("state", 16),
    Column("record", Text, nullable=False),  # JSON; the file beside the repository is the truth
    _seconds("updated_s"),
)
"""Where each rollout stands, as its file beside the repository says."""

rollout_views: Final = Table(
    "rollout_views",
    METADATA,
    Column("model", _NAME, primary_key=True),
    Column("name", _NAME, primary_key=True),
    _seconds("at_s"),
    Column("view", Text, nullable=False),  # JSON of steering.overview_types.RolloutView
)
"""What whoever drives a rollout saw at its last look: so a page need not count a fleet anew."""

rollout_log: Final = Table(
    "rollout_log",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    _seconds("at_s"),
    Column("model", _NAME, nullable=False),
    Column("rollout", _NAME, nullable=False),
    _text("group_name", 128),
    _text("word", 64),
    Column("text", Text, nullable=False, server_default=text("''")),
    _text("who", 128),
    Index(None, "rollout", "id"),
    Index(None, "at_s"),
)
"""Who did what, and what was decided and why."""

requests: Final = Table(
    "requests",
    METADATA,
    Column("id", _NAME, primary_key=True),
    Column("model", _NAME, nullable=False),
    Column("rollout", _NAME, nullable=False),
    _text("who", 128),
    _text("wish", 32),
    Column("arguments", Text, nullable=False, server_default=text("'{}'")),  # JSON
    _seconds("at_s"),
    _seconds("done_s", is_known=True),
    _text("answer", 512),
    Index(None, "rollout", "at_s"),
)
"""What persons asked of a rollout."""

alarms: Final = Table(
    "alarms",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    Column("kind", _NAME, nullable=False),
    Column("subject", String(256), nullable=False),
    Column("raised_s", Double, nullable=False),
    Column("updated_s", Double, nullable=False),
    Column("cleared_s", Double),
    Column("raise_posted_s", Double),  # when the webhook took it
    Column("clear_posted_s", Double),
    Column("text", Text, nullable=False, server_default=text("''")),
    _count("count"),
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
    Column("name", _NAME, primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("until_s", Double, nullable=False),
    Column("term", BigInteger, nullable=False),
)
"""Who may do what only one process may do at a time."""

dropped: Final = Table(
    "dropped",
    METADATA,
    Column("reason", _NAME, primary_key=True),
    _count("count"),
    _seconds("last_s"),
)
"""Messages that changed nothing, counted by why."""

users: Final = Table(
    "users",
    METADATA,
    Column("name", _NAME, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False, server_default=text("''")),  # '' for none yet
    _seconds("made_s"),
    _seconds("password_s", is_known=True),  # when it was set
    _seconds("signed_in_s", is_known=True),
)
"""Persons who may use the page. No index has what a sign-in changes."""

links: Final = Table(
    "links",
    METADATA,
    Column("secret_sha256", LargeBinary, primary_key=True),
    Column("user", _NAME, nullable=False, server_default=text("''")),  # '' names themselves
    Column("role", String(16), nullable=False),
    _text("made_by", 128),
    _seconds("made_s"),
    _seconds("ends_s"),
)
"""One-time links by which a person sets a password; gone when used."""

sessions: Final = Table(
    "sessions",
    METADATA,
    Column("secret_sha256", LargeBinary, primary_key=True),
    Column("user", _NAME, nullable=False),
    _seconds("made_s"),
    _seconds("seen_s"),
    _seconds("ends_s"),
    _text("address", 64),
    _text("agent", 256),
    Index(None, "user"),
)
"""Who is signed in; the secret itself is only in the browser."""

tokens: Final = Table(
    "tokens",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("name", _NAME, nullable=False),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("scope", Text, nullable=False),  # JSON: a list of permissions
    _text("made_by", 128),
    _seconds("made_s"),
    _seconds("ends_s"),
    _seconds("used_s", is_known=True),
    _seconds("revoked_s", is_known=True),
)
"""What programs sign in with; the secret itself was shown once."""

audit: Final = Table(
    "audit",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    _seconds("at_s"),
    _text("who", 128),
    Column("how", String(16), nullable=False),
    _text("address", 64),
    Column("action", _NAME, nullable=False),
    _text("subject", 256),
    _text("before", 2000),
    _text("after", 2000),
    Index(None, "at_s"),
)
"""Every change by a person or a program: who, from where, what, before and after."""

notes: Final = Table(
    "notes",
    METADATA,
    Column("id", _ROW_ID, primary_key=True),
    _seconds("at_s"),
    Column("kind", String(16), nullable=False),
    Column("subject", String(192), nullable=False),
    _text("who", 128),
    _text("text", 2000),
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
    _seconds("at_s"),
    Index(None, "at_s"),
)
"""Answers to changes that were asked for with an `Idempotency-Key`, to be given again."""
