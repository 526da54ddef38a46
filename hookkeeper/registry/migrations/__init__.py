"""The schema's history. Begin a new step in a Python prompt:

from alembic import command
from hookkeeper.registry.database import alembic

command.revision(alembic(), "what it does", rev_id="0002")
"""
