"""What gates answered stands in a rollout's log; the table for it was never written."""

from __future__ import annotations

from typing import Final

from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"


def upgrade() -> None:
    """Go to this version."""
    op.drop_table("gate_answers")
