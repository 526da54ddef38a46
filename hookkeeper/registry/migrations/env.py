"""Run the migrations on the connection that `hookkeeper.registry.upkeep.schema.migrate` opened.

If that has begun a transaction, all of them are in it; otherwise each has its own.
"""

from alembic import context

from hookkeeper.registry.models import Base

connection = context.config.attributes["connection"]
is_alone = not connection.in_transaction()
context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=is_alone)
with context.begin_transaction():
    context.run_migrations()
