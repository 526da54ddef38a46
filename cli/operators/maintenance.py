"""`hookkeeper migrate`, `adopt`, `promote`, `recount` and `reindex`."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from temporalio.client import Client
from temporalio.service import RPCError

from cli.client.options import age_of
from cli.console import CONTINUE, Failed, out
from cli.operators.startup import CONNECT_TIMEOUT, begin, connect
from cli.processes import run, until_stopped
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.settings import Settings
from hookkeeper.temporal.events.reindex import Reindex
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.run_repair import RunRepair
from hookkeeper.temporal.server import installation
from hookkeeper.temporal.server.error_translation import GatewayError, WrongRegistry
from hookkeeper.temporal.server.namespace import NamespaceNotReady, prepare
from hookkeeper.temporal.workers import versions as worker_versions
from hookkeeper.temporal.workers.versions import UNVERSIONED, VersionNotReady, named
from hookkeeper.times import utc_now

log = structlog.get_logger("hookkeeper.migrate")
PROMOTE_TIMEOUT = 60.0
"""Seconds to wait for workers of the version."""
PAUSE = 1.0
"""Seconds between two attempts."""
AWAY = (RegistryUnavailable, RPCError)
"""What a server ends a call with that is not there yet."""
Result = TypeVar("Result")


def run_migrate(*, registry_only: bool, new: bool, wait: float) -> None:
    """Update the registry, then the namespace's search attributes and retention. `new`: the registry may be a new one,
    in place of that of the namespace.
    """
    settings = begin()
    run(_migrate(settings, registry_only, new, wait))


async def migrate_registry(store: Store) -> int:
    """Update the schema, encrypt rows with the first key, and return their number. Raises `Failed`."""
    try:
        await store.migrate()
        return await store.re_encrypt()
    except RegistryUnavailable as error:
        raise Failed(str(error)) from error


async def _migrate(settings: Settings, registry_only: bool, new: bool, wait: float) -> None:
    deadline = asyncio.get_running_loop().time() + wait
    async with Store.connect(settings.database_url, settings.keyring) as store:
        if registry_only:
            await _update(store, deadline)
            return
        client = await connect(settings, timeout=max(CONNECT_TIMEOUT, wait))
        try:
            is_new = new and await _until(deadline, store.is_new, *AWAY)
            if not is_new:
                await _until(deadline, lambda: _refuse_other(client, store, settings.task_queue), *AWAY)
            await _update(store, deadline)
            await _until(deadline, lambda: _join(client, store, settings, replace=is_new), *AWAY)
        except NamespaceNotReady as error:
            raise Failed(_repair_instructions(error)) from error
        except RegistryUnavailable as error:
            raise Failed(str(error)) from error
        except RPCError as error:
            raise Failed(f"Temporal refused the change: {error.message}") from error


async def _refuse_other(client: Client, store: Store, task_queue: str) -> None:
    """Raise `Failed` if the namespace belongs to another registry, or has events, and this one has no tables."""
    if await store.is_new():
        if await installation.read(client, task_queue) or await installation.has_open_events(client, task_queue):
            raise Failed(
                f"the registry has no tables, and the Temporal namespace {client.namespace} (task queue {task_queue})"
                " belongs to another one: correct HOOKKEEPER_DATABASE_URL or TEMPORAL_NAMESPACE, or run"
                " `hookkeeper migrate --new` if a new registry is to take its place"
            )
        return
    try:
        await installation.check(client, task_queue, store.rows)
    except WrongRegistry as error:
        raise Failed(str(error)) from error


async def _update(store: Store, deadline: float) -> None:
    if count := await _until(deadline, lambda: migrate_registry(store), Failed):
        log.info("registry encrypted with the first key", rows=count)


async def _join(client: Client, store: Store, settings: Settings, *, replace: bool) -> None:
    await installation.join(client, settings.task_queue, store.rows, replace=replace)
    await prepare(client, settings.retention)


def run_adopt() -> None:
    """Let the namespace belong to the registry, and start the schedules and the open events that it has not."""
    run(_adopt(begin()))


async def _adopt(settings: Settings) -> None:
    client = await connect(settings)
    repaired: int | None = None
    try:
        async with Store.connect(settings.database_url, settings.keyring) as store:
            if await store.is_new():
                raise Failed("the registry has no tables: run `hookkeeper migrate --registry-only`")
            await installation.join(client, settings.task_queue, store.rows, replace=True)
            gateway = Gateway(client, settings.task_queue, store.rows)
            async with until_stopped():
                repaired = await RunRepair(client, gateway, store).repair(timedelta())
    except (RegistryUnavailable, GatewayError) as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal refused it: {error.message}") from error
    out.print(f"The namespace {client.namespace} belongs to this registry now. Restart API and workers.", markup=False)
    if repaired is None:
        raise Failed(f"interrupted before all open events were looked up: {CONTINUE}")
    out.print(_of_repaired(repaired))


async def _until(deadline: float, call: Callable[[], Awaitable[Result]], *errors: type[Exception]) -> Result:
    """Make the call again until the deadline, for as long as it ends with one of these errors."""
    while True:
        try:
            return await call()
        except errors as reason:
            if asyncio.get_running_loop().time() >= deadline:
                raise
            log.warning("waiting", reason=str(reason), retry_in=PAUSE)
        await asyncio.sleep(PAUSE)


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


def run_promote() -> None:
    """Make the version in the settings current, when its workers serve all task queues."""
    run(_promote(begin()))


async def _promote(settings: Settings) -> None:
    client = await connect(settings)
    version = settings.deployment_version or UNVERSIONED
    try:
        before = await worker_versions.promote(client, settings.task_queue, version, PROMOTE_TIMEOUT)
    except VersionNotReady as error:
        raise Failed(str(error)) from error
    out.print(sentence(version, before), markup=False)


def sentence(version: str, before: str | None) -> str:
    """Say what is current, and what was before; None is a server without versions."""
    if before is None:
        return "This Temporal server has no worker versions: all workers get tasks."
    unset = f"HOOKKEEPER_DEPLOYMENT_VERSION is not set: {named(UNVERSIONED)}"
    workers = f"Workers of version {version}" if version else unset
    if before == version:
        return f"{workers} get all tasks, as before."
    return f"{workers} get all tasks now. Open runs continue there, so {named(before)} can be stopped."


def run_recount(since: str) -> None:
    """Mend the counters of tenants since an age or a time, by default as long as rows are kept, and all totals."""
    settings = begin()
    # The audit log says of which tenants events were erased.
    kept_since = utc_now() - min(settings.retention, settings.audit_retention or settings.retention)
    run(_recount(settings, max(_time_of(since), kept_since) if since else kept_since))


async def _recount(settings: Settings, since: datetime) -> None:
    try:
        async with Store.connect(settings.database_url, settings.keyring, settings.database_connections) as store:
            rows = await store.index.recount_tenants(since, utc_now())
            totals = await store.index.recount()
    except RegistryUnavailable as error:
        raise Failed(f"{error}; {CONTINUE}") from error
    out.print(f"Wrong rows: {rows} of tenants, {totals} of totals")


def run_reindex(since: str) -> None:
    """Rebuild the index of events since an age or a time; by default as long as Temporal keeps events."""
    settings = begin()
    run(_reindex(settings, _time_of(since) if since else utc_now() - settings.retention))


def _time_of(since: str) -> datetime:
    age = age_of(since)
    try:
        time = datetime.fromisoformat(since) if age is None else utc_now() - age
    except ValueError as error:
        raise typer.BadParameter(
            f"--since is neither an age such as 7d nor a time such as 2026-01-02T03:04:05Z: {since}"
        ) from error
    if time.tzinfo is None:
        raise typer.BadParameter("--since needs a time zone, such as 2026-01-02T03:04:05Z")
    return time


async def _reindex(settings: Settings, since: datetime) -> None:
    keyring = settings.keyring
    added: int | None = None
    repaired = 0
    try:
        async with Store.connect(settings.database_url, keyring, settings.database_connections) as store:
            client = await connect(settings, keyring)
            await installation.check(client, settings.task_queue, store.rows)
            with _progress() as progress:
                task = progress.add_task("reindex", total=None)
                reindex = Reindex(
                    client,
                    store,
                    settings.task_queue,
                    settings.retention,
                    lambda done, total: progress.update(task, completed=done, total=total),
                )
                async with until_stopped():
                    added = await reindex.run(since)
                    gateway = Gateway(client, settings.task_queue, store.rows)
                    repaired = await RunRepair(client, gateway, store).repair(timedelta())
    except (RegistryUnavailable, GatewayError) as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal: {error.message}; {CONTINUE}") from error
    if added is None:
        raise Failed(f"interrupted: {CONTINUE}")
    out.print(f"{added} {'event was' if added == 1 else 'events were'} missing or incomplete")
    out.print(_of_repaired(repaired))


def _of_repaired(events: int) -> str:
    if not events:
        return "All open events have runs."
    return (
        f"{events} open {'event' if events == 1 else 'events'} had no run: what was lost is started again,"
        " what was terminated is cancelled."
    )


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=out)
