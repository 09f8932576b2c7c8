"""Who may use the page, and what they did: users, sessions, tokens, the audit log, notes."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
_ROW_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Go to this version."""
    _make_users()
    _make_links()
    _make_sessions()
    _make_tokens()
    _make_audit()
    _make_notes()
    _make_idempotency()


def _seconds(name: str, *, is_known: bool = False) -> sa.Column[int]:
    if is_known:
        return sa.Column(name, sa.BigInteger(), nullable=True)
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _text(name: str, size: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(size), server_default=sa.text("''"), nullable=False)


def _make_users() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.Text(), server_default=sa.text("''"), nullable=False),
        _seconds("made_s"),
        _seconds("password_s", is_known=True),
        _seconds("signed_in_s", is_known=True),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )


def _make_links() -> None:
    op.create_table(
        "links",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        _text("user", 64),
        sa.Column("role", sa.String(16), nullable=False),
        _text("made_by", 128),
        _seconds("made_s"),
        _seconds("ends_s"),
        sa.PrimaryKeyConstraint("secret_sha256", name="pk_links"),
    )


def _make_sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        _seconds("made_s"),
        _seconds("seen_s"),
        _seconds("ends_s"),
        _text("address", 64),
        _text("agent", 256),
        sa.PrimaryKeyConstraint("secret_sha256", name="pk_sessions"),
    )
    op.create_index("ix_sessions_user", "sessions", ["user"])


def _make_tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        _text("made_by", 128),
        _seconds("made_s"),
        _seconds("ends_s"),
        _seconds("used_s", is_known=True),
        _seconds("revoked_s", is_known=True),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
    )


def _make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", _ROW_ID, nullable=False),
        _seconds("at_s"),
        _text("who", 128),
        sa.Column("how", sa.String(16), nullable=False),
        _text("address", 64),
        sa.Column("action", sa.String(64), nullable=False),
        _text("subject", 256),
        _text("before", 2000),
        _text("after", 2000),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_at_s", "audit", ["at_s"])


def _make_notes() -> None:
    op.create_table(
        "notes",
        sa.Column("id", _ROW_ID, nullable=False),
        _seconds("at_s"),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(192), nullable=False),
        _text("who", 128),
        _text("text", 2000),
        sa.PrimaryKeyConstraint("id", name="pk_notes"),
    )
    op.create_index("ix_notes_kind_subject", "notes", ["kind", "subject"])


def _make_idempotency() -> None:
    op.create_table(
        "idempotency",
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=False),
        sa.Column("headers", sa.Text(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        _seconds("at_s"),
        sa.PrimaryKeyConstraint("who", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_at_s", "idempotency", ["at_s"])
