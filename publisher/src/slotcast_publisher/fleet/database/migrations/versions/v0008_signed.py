"""Whether a device signs what it reports, what was refused in its name, and what it can take."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0008"
down_revision: Final = "0007"


def upgrade() -> None:
    """Go to this version; of devices that were heard before, it is not known yet."""
    empty = sa.text("''")
    zero = sa.text("0")
    op.add_column(
        "devices", sa.Column("signed", sa.String(16), server_default=empty, nullable=False)
    )
    op.add_column("devices", sa.Column("refused_s", sa.BigInteger(), nullable=True))
    op.add_column(
        "devices", sa.Column("refused_why", sa.String(32), server_default=empty, nullable=False)
    )
    op.add_column(
        "devices", sa.Column("refused_count", sa.BigInteger(), server_default=zero, nullable=False)
    )
    op.add_column(
        "devices", sa.Column("abilities", sa.Text(), server_default=sa.text("'{}'"), nullable=False)
    )
