"""The tables of who may use the page, and of what they did.

`tables` names them all; what is said there of times and texts holds here.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    text,
)

from slotcast_publisher.fleet.database.columns import (
    METADATA,
    NAME,
    ROW_ID,
    seconds_column,
    text_column,
)

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
