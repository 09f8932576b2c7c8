"""What came over the link stands beside each change of a device's history."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"


def upgrade() -> None:
    """Go to this version; of what happened before, nobody knows it."""
    op.add_column("history", sa.Column("progress", sa.LargeBinary()))
