"""Run the migrations on the connection, and in the transaction, that `registry.database.migrate` opened."""

from alembic import context

from registry.models import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
