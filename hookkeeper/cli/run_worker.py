"""`hookkeeper worker`."""

from contextlib import nullcontext

from temporalio.client import Client
from temporalio.service import RPCError

import worker
from hookkeeper.cli.console import Failed, InvalidSettings
from hookkeeper.cli.processes import forever, freeze_objects, run, until_stopped
from hookkeeper.cli.shutdown import ShutdownDeadline, to_log
from hookkeeper.cli.startup import begin, connect, exporting_traces, open_metrics
from hookkeeper.loop_monitor import monitored
from hookkeeper.registry.store import Store
from hookkeeper.settings import BadSetting, Settings
from hookkeeper.temporal import local_workers, namespace
from hookkeeper.temporal.namespace import NamespaceNotReady


def run_worker(*, local: bool = False) -> None:
    """Work until stopped, then finish the attempts in progress. `local`: all workers run on this machine."""
    settings = begin()
    try:
        run(_work(settings, local))
    except BadSetting as error:
        raise InvalidSettings(str(error)) from None
    except RPCError as error:
        raise Failed(f"Temporal does not let the worker start: {error.message}") from error


async def _work(settings: Settings, local: bool) -> None:
    deadline = ShutdownDeadline(settings.shutdown_timeout, to_log())
    keyring = settings.keyring
    async with Store.connect(settings.database_url, keyring) as store, until_stopped(deadline=deadline):
        traces = exporting_traces(settings.otlp_endpoint, "worker")
        metrics = open_metrics(settings)
        client = await connect(settings, keyring, metrics.runtime)
        if local:
            await _prepare(client, settings)
        await namespace.check(client)
        async with (
            traces,
            metrics.serving(),
            local_workers.retrying_lost_activities(client) if local else nullcontext(),
            worker.running(client, store, settings),
        ):
            freeze_objects()
            try:
                with monitored(settings.debug_event_loop):
                    await forever()
            finally:
                deadline.begin()


async def _prepare(client: Client, settings: Settings) -> None:
    try:
        await local_workers.prepare(client, settings.retention)
    except (NamespaceNotReady, RPCError) as error:
        raise Failed(f"the namespace {client.namespace} cannot be prepared: {error}") from error
