"""Runs migrations on the connection that `migrate` gives, in the transaction that it began."""

from __future__ import annotations

from alembic import context

from slotcast_publisher.fleet.database.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
    transaction_per_migration=False,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
