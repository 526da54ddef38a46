"""`hookkeeper worker`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from temporalio.client import Client
from temporalio.service import RPCError

import worker
from hookkeeper.cli.console import Failed, InvalidSettings
from hookkeeper.cli.processes import ShutdownDeadline, forever, freeze_objects, run, to_log, until_stopped
from hookkeeper.cli.startup import begin, connect, exporting_traces, open_metrics, report_missing
from hookkeeper.registry.store import Store
from hookkeeper.settings import BadSetting, Settings
from hookkeeper.temporal.server import namespace
from hookkeeper.temporal.server.namespace import NamespaceNotReady, unusable
from hookkeeper.temporal.server.readiness import Readiness
from hookkeeper.temporal.workers import local as local_workers


def run_worker(*, local: bool = False) -> None:
    """Work until stopped, then finish the attempts in progress. `local`: all workers run on this machine."""
    run(_work(begin(), local))


async def _work(settings: Settings, local: bool) -> None:
    deadline = ShutdownDeadline(settings.shutdown_timeout, to_log())
    keyring = settings.keyring
    async with Store.connect(settings.database_url, keyring) as store, until_stopped(deadline=deadline):
        traces = exporting_traces(settings.otlp_endpoint, "worker")
        metrics = open_metrics(settings)
        client = await connect(settings, keyring, metrics.runtime)
        async with traces, metrics.serving(), working(client, store, settings, local=local):
            freeze_objects()
            try:
                await forever()
            finally:
                deadline.begin()


@asynccontextmanager
async def working(client: Client, store: Store, settings: Settings, *, local: bool) -> AsyncIterator[None]:
    """Work until the block ends. Raises `Failed`, and whatever the block raises."""
    try:
        if local:
            await _prepare(client, settings)
        await namespace.check(client)
        await report_missing(store, Readiness(client, settings.task_queue))
        async with (
            local_workers.retrying_lost_activities(client) if local else nullcontext(),
            worker.running(client, store, settings),
        ):
            yield
    except BadSetting as error:
        raise InvalidSettings(str(error)) from None
    except RPCError as error:
        raise Failed(f"Temporal does not let the worker start: {unusable(client.namespace, error)}") from error


async def _prepare(client: Client, settings: Settings) -> None:
    try:
        await local_workers.prepare(client, settings.retention)
    except (NamespaceNotReady, RPCError) as error:
        raise Failed(f"the namespace {client.namespace} cannot be prepared: {error}") from error
