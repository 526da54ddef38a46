"""`hookkeeper migrate`."""

import structlog
from temporalio.service import RPCError

import logs
from cli import temporal
from cli.console import Failed
from cli.processes import run
from registry.store import RegistryUnavailable, Store
from settings import Settings
from workflows.connection import prepare_namespace

log = structlog.get_logger("hookkeeper.migrate")


def run_migrate(settings: Settings) -> None:
    """Bring the registry up to date, then the namespace's search attributes and retention."""
    logs.configure(settings.log_format)
    run(_migrate(settings))


async def migrate_registry(settings: Settings) -> int:
    """Bring the schema up to date, and encrypt what the first key has not; give how many rows. Raises `Failed`."""
    store = Store.connect(settings.database_url, settings.keyring)
    try:
        await store.migrate()
        return await store.reseal()
    except RegistryUnavailable as error:
        raise Failed(str(error)) from error
    finally:
        await store.close()


async def _migrate(settings: Settings) -> None:
    if count := await migrate_registry(settings):
        log.info("registry encrypted with the first key", rows=count)
    client = await temporal.connect()
    try:
        await prepare_namespace(client, settings.retention)
    except RPCError as error:
        raise Failed(f"the registry is up to date, but Temporal refuses: {error.message}") from error
