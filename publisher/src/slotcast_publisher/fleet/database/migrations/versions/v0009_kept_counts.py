"""How many devices are where is kept, and not added up when somebody looks."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0009"
down_revision: Final = "0008"


def upgrade() -> None:
    """Go to this version, and count all devices once."""
    _make_model_counts()
    _make_tag_counts()
    devices = sa.table("devices", sa.column("id"), sa.column("online"))
    names = ("active_sequence", "active_version", "state", "reason", "deployment", "group_name")
    models = sa.table("device_models", *map(sa.column, ("device", "model", *names)))
    tags = sa.table("device_tags", *map(sa.column, ("device", "key", "value")))
    m, t = models.c, tags.c
    # As a text: a parameter is another one where PostgreSQL groups by it.
    on_trial: sa.ColumnClause[bool] = sa.literal_column("device_models.state = 'TRIAL'")
    _fill(
        "model_counts",
        [m.model, *(m[name] for name in names), sa.func.coalesce(devices.c.online, sa.false())],
        models.outerjoin(devices, devices.c.id == m.device),
    )
    _fill(
        "tag_counts",
        [m.model, t.key, t.value, m.active_sequence, on_trial],
        models.join(tags, t.device == m.device),
    )


def _make_model_counts() -> None:
    key = ("model", "sequence", "version", "state", "reason", "deployment", "group_name", "online")
    op.create_table(
        "model_counts",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("deployment", sa.String(64), nullable=False),
        sa.Column("group_name", sa.String(128), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("devices", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_model_counts"),
        sqlite_with_rowid=False,
    )


def _make_tag_counts() -> None:
    key = ("model", "key", "value", "sequence", "on_trial")
    op.create_table(
        "tag_counts",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("value", sa.String(128), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("on_trial", sa.Boolean(), nullable=False),
        sa.Column("devices", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint(*key, name="pk_tag_counts"),
        sqlite_with_rowid=False,
    )


def _fill(name: str, key: list[Any], rows: Any) -> None:
    """Count rows by a key, which is all columns of a table but the last.

    Args:
        name: of the table.
        key: in the order of its columns.
        rows: that are counted.
    """
    columns = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(name)]
    table = sa.table(name, *map(sa.column, columns))
    counted = sa.select(*key, sa.func.count()).select_from(rows).group_by(*key)
    op.execute(table.insert().from_select(columns, counted))
