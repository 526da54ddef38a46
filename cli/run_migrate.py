"""`hookkeeper migrate`."""

from temporalio.service import RPCError

import logs
from cli import temporal
from cli.console import Failed
from cli.processes import run
from registry.store import RegistryUnavailable, Store
from settings import Settings
from workflows.connection import prepare_namespace


def run_migrate(settings: Settings) -> None:
    """Bring the registry's schema up to date, then the namespace's search attributes and retention."""
    logs.configure(settings.log_format)
    run(_migrate(settings))


async def migrate_registry(database_url: str) -> None:
    """Bring the registry's schema up to date. Raises `Failed`."""
    store = Store.connect(database_url)
    try:
        await store.migrate()
    except RegistryUnavailable as error:
        raise Failed(str(error)) from error
    finally:
        await store.close()


async def _migrate(settings: Settings) -> None:
    await migrate_registry(settings.database_url)
    client = await temporal.connect()
    try:
        await prepare_namespace(client, settings.retention)
    except RPCError as error:
        raise Failed(f"the registry is up to date, but Temporal refuses: {error.message}") from error
