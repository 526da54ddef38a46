"""`hookkeeper migrate`."""

import structlog
from temporalio.service import RPCError

from hookkeeper.cli.console import Failed
from hookkeeper.cli.processes import run
from hookkeeper.cli.startup import begin, connect
from hookkeeper.registry.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.namespace import NamespaceNotReady, prepare

log = structlog.get_logger("hookkeeper.migrate")


def run_migrate(*, registry_only: bool) -> None:
    """Update the registry, then the namespace's search attributes and retention."""
    settings = begin()
    run(_migrate(settings, registry_only))


async def _migrate_registry(settings: Settings) -> int:
    """Update the schema, encrypt rows with the first key, and return their number. Raises `Failed`."""
    try:
        async with Store.connect(settings.database_url, settings.keyring) as store:
            await store.migrate()
            return await store.re_encrypt()
    except RegistryUnavailable as error:
        raise Failed(str(error)) from error


async def _migrate(settings: Settings, registry_only: bool) -> None:
    if count := await _migrate_registry(settings):
        log.info("registry encrypted with the first key", rows=count)
    if registry_only:
        return
    client = await connect(settings)
    try:
        await prepare(client, settings.retention)
    except NamespaceNotReady as error:
        raise Failed(_repair_instructions(error)) from error
    except RPCError as error:
        raise Failed(f"the registry is up to date, but Temporal refused the change: {error.message}") from error


def _repair_instructions(error: NamespaceNotReady) -> str:
    """Describe what is wrong with the namespace, and the commands that repair it."""
    findings = error.findings
    lines = [f"the registry is up to date, but the namespace {findings.namespace} is not: {error}."]
    if error.refused:
        lines += [
            "Only administrators may change it on this server. On Temporal Cloud, run:",
            *findings.cloud_commands(),
        ]
    else:
        lines.append(
            "The type of a search attribute cannot be changed. Remove it, then run `hookkeeper migrate` again:"
        )
        lines += [
            f"temporal operator search-attribute remove --namespace {findings.namespace} --name {name}"
            for name in findings.mistyped
        ]
    return "\n".join(lines)
