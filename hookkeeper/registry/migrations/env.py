"""Run the migrations on the connection, and in the transaction, that `hookkeeper.registry.database.migrate` opened."""

from alembic import context

from hookkeeper.registry.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
