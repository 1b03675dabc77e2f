"""Run by alembic, inside the transaction that `migrate` opened."""

from alembic import context

from offpeak.ledger import tables
from offpeak.ledger.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
