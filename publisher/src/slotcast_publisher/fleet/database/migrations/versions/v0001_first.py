"""The first version: devices and their models, history, metrics, rollouts, alarms."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None
_ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go to this version."""
    _make_meta()
    _make_devices()
    _make_device_tags()
    _make_device_models()
    _make_history()
    _make_metrics()
    _make_metrics_hours()
    _make_metrics_releases()
    _make_rollouts()
    _make_rollout_log()
    _make_requests()
    _make_gate_answers()
    _make_alarms()
    _make_leases()
    _make_dropped()


def _make_meta() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_meta"),
    )


def _make_devices() -> None:
    op.create_table(
        "devices",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("first_seen_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("seen_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("status_at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status_heard_s", sa.BigInteger(), nullable=True),
        sa.Column("clock", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("clock_off_s", sa.BigInteger(), nullable=True),
        sa.Column("tags", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("software", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("runtime", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("machine", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("disk_free_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("online", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("online_since_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("session", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("presence_at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("metrics_counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("metrics_lost", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("twins_seen_s", sa.BigInteger(), nullable=True),
        sa.Column("twins_why", sa.String(256), server_default=sa.text("''"), nullable=False),
        sa.Column("started_anew_s", sa.BigInteger(), nullable=True),
        sa.Column("intake", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
    )


def _make_device_tags() -> None:
    op.create_table(
        "device_tags",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("device", "key", name="pk_device_tags"),
    )
    op.create_index("ix_device_tags_key_value", "device_tags", ["key", "value"])


def _make_device_models() -> None:
    op.create_table(
        "device_models",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.String(512), server_default=sa.text("''"), nullable=False),
        sa.Column("since_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("changed_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("active_version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("active_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("target_version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("target_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deployment", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("group_name", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("floor", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("saved_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("status", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "model", name="pk_device_models"),
    )
    op.create_index(
        "ix_device_models_model_active_sequence", "device_models", ["model", "active_sequence"]
    )
    op.create_index("ix_device_models_model_state", "device_models", ["model", "state"])


def _make_history() -> None:
    op.create_table(
        "history",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("device_at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), server_default=sa.text("''"), nullable=False),
        sa.Column("reason", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("detail", sa.String(512), server_default=sa.text("''"), nullable=False),
        sa.Column("version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("target_version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("target_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deployment", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("evidence", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
    )
    op.create_index("ix_history_at_s", "history", ["at_s"])
    op.create_index("ix_history_device_at_s", "history", ["device", "at_s"])
    op.create_index("ix_history_model_at_s", "history", ["model", "at_s"])


def _make_metrics() -> None:
    op.create_table(
        "metrics",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("counter", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("heard_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("start_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("end_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("on_trial", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.Column("is_folded", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("device", "counter", "number", name="pk_metrics"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metrics_device_model_heard_s", "metrics", ["device", "model", "heard_s"])
    op.create_index("ix_metrics_heard_s", "metrics", ["heard_s"])
    op.create_index(
        "ix_metrics_unfolded",
        "metrics",
        ["heard_s"],
        sqlite_where=sa.text("NOT is_folded"),
        postgresql_where=sa.text("NOT is_folded"),
    )


def _make_metrics_hours() -> None:
    op.create_table(
        "metrics_hours",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "model", "sequence", "hour_s", name="pk_metrics_hours"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metrics_hours_hour_s", "metrics_hours", ["hour_s"])


def _make_metrics_releases() -> None:
    op.create_table(
        "metrics_releases",
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("first_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("device", "model", "sequence", name="pk_metrics_releases"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_metrics_releases_last_s", "metrics_releases", ["last_s"])
    op.create_index("ix_metrics_releases_model_sequence", "metrics_releases", ["model", "sequence"])


def _make_rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), server_default=sa.text("''"), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("updated_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("model", "name", name="pk_rollouts"),
    )


def _make_rollout_log() -> None:
    op.create_table(
        "rollout_log",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("group_name", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("word", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("who", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rollout_log"),
    )
    op.create_index("ix_rollout_log_at_s", "rollout_log", ["at_s"])
    op.create_index("ix_rollout_log_rollout_id", "rollout_log", ["rollout", "id"])


def _make_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("who", sa.String(128), server_default=sa.text("''"), nullable=False),
        sa.Column("wish", sa.String(32), server_default=sa.text("''"), nullable=False),
        sa.Column("arguments", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("done_s", sa.BigInteger(), nullable=True),
        sa.Column("answer", sa.String(512), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
    )
    op.create_index("ix_requests_rollout_at_s", "requests", ["rollout", "at_s"])


def _make_gate_answers() -> None:
    op.create_table(
        "gate_answers",
        sa.Column("rollout", sa.String(64), nullable=False),
        sa.Column("question", sa.String(256), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("answer", sa.String(16), server_default=sa.text("''"), nullable=False),
        sa.Column("why", sa.String(512), server_default=sa.text("''"), nullable=False),
        sa.Column("at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "question", "kind", name="pk_gate_answers"),
    )


def _make_alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", _ROW_ID, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(256), nullable=False),
        sa.Column("raised_s", sa.Double(), nullable=False),
        sa.Column("updated_s", sa.Double(), nullable=False),
        sa.Column("cleared_s", sa.Double(), nullable=True),
        sa.Column("raise_posted_s", sa.Double(), nullable=True),
        sa.Column("clear_posted_s", sa.Double(), nullable=True),
        sa.Column("text", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("subjects", sa.Text(), server_default=sa.text("'[]'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
    )
    op.create_index("ix_alarms_cleared_s", "alarms", ["cleared_s"])
    op.create_index(
        "ix_alarms_standing",
        "alarms",
        ["kind", "subject"],
        unique=True,
        sqlite_where=sa.text("cleared_s IS NULL"),
        postgresql_where=sa.text("cleared_s IS NULL"),
    )


def _make_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("until_s", sa.Double(), nullable=False),
        sa.Column("term", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )


def _make_dropped() -> None:
    op.create_table(
        "dropped",
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("count", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("reason", name="pk_dropped"),
    )
