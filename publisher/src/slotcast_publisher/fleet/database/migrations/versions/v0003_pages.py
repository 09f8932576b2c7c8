"""What pages read without adding up a fleet: sums over all devices, the last look at a rollout."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import sqlalchemy as sa
from alembic import op

from slotcast_publisher.fleet.database.figures_blob import pack, unpack
from slotcast_publisher.fleet.figures.release_figures import ReleaseFigures, together

revision: Final = "0003"
down_revision: Final = "0001"
_ROWS: Final = 2_000
"""The number of rows that are read at once."""
_KEY: Final = ("model", "sequence")


def upgrade() -> None:
    """Go to this version."""
    _make_release_figures()
    _make_release_hours()
    op.create_table(
        "rollout_views",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("at_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("view", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("model", "name", name="pk_rollout_views"),
    )
    op.drop_index("ix_device_models_model_state", "device_models")
    op.drop_index("ix_device_models_model_active_sequence", "device_models")
    op.create_index("ix_device_models_state", "device_models", ["model", "state", "reason"])
    of_release = ["model", "active_sequence", "active_version"]
    op.create_index("ix_device_models_release", "device_models", of_release)
    op.create_index("ix_device_models_deployment", "device_models", ["deployment", "group_name"])
    op.create_index("ix_device_models_changed", "device_models", ["model", "changed_s"])
    _add_up("metrics_releases", "release_figures", _KEY)
    _add_up("metrics_hours", "release_hours", (*_KEY, "hour_s"))


def _make_release_figures() -> None:
    op.create_table(
        "release_figures",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.String(64), server_default=sa.text("''"), nullable=False),
        sa.Column("first_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_s", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "sequence", name="pk_release_figures"),
    )
    op.create_index("ix_release_figures_last_s", "release_figures", ["last_s"])


def _make_release_hours() -> None:
    op.create_table(
        "release_hours",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hour_s", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("errors", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("figures", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("model", "sequence", "hour_s", name="pk_release_hours"),
    )
    op.create_index("ix_release_hours_hour_s", "release_hours", ["hour_s"])


# --- what is there already ------------------------------------------------------------------------


def _add_up(source: str, target: str, key: tuple[str, ...]) -> None:
    """Add up over all devices what there is of each."""
    table = sa.table(target, *map(sa.column, (*key, "requests", "errors", "figures", *_times(key))))
    for place, rows in groupby(
        _rows(source, key), key=lambda row: tuple(row[name] for name in key)
    ):
        row = dict(zip(key, place, strict=True)) | _sum_of(rows, key)
        op.get_bind().execute(table.insert(), row)


def _times(key: tuple[str, ...]) -> tuple[str, ...]:
    return () if "hour_s" in key else ("version", "first_s", "last_s")


def _rows(source: str, key: tuple[str, ...]) -> Iterator[Any]:
    columns = ", ".join((*key, "figures", *_times(key)))
    query = f"SELECT {columns} FROM {source} ORDER BY {', '.join(key)}"  # noqa: S608 - ours
    # Of this statement alone: options of the connection would count for all that follow.
    options = {"stream_results": True}
    result = op.get_bind().execute(sa.text(query), execution_options=options)
    yield from result.mappings().yield_per(_ROWS)


def _sum_of(rows: Iterator[Any], key: tuple[str, ...]) -> dict[str, Any]:
    figures, waiting, times = ReleaseFigures(), [], []
    for row in rows:
        waiting.append(unpack(row["figures"]))
        times.append([row[name] for name in _times(key)])
        if len(waiting) >= _ROWS:
            figures, waiting = together([figures, *waiting]), []
    figures = together([figures, *waiting])
    found = {"requests": figures.requests, "errors": figures.errors, "figures": pack(figures)}
    if times and _times(key):
        versions, firsts, lasts = zip(*times, strict=True)
        found |= {"version": versions[-1], "first_s": min(firsts), "last_s": max(lasts)}
    return found
