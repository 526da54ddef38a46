"""`hookkeeper worker`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING

from temporalio.client import Client
from temporalio.service import RPCError

import worker
from cli.console import Failed, InvalidSettings
from cli.operators.startup import (
    begin,
    exporting_traces,
    open_client,
    open_metrics,
    report_missing,
    show_resources,
    until_connected,
)
from cli.processes import ShutdownDeadline, forever, freeze_objects, run, to_log, until_stopped
from hookkeeper.registry.storage.database import RegistryUnavailable
from hookkeeper.registry.store import Store
from hookkeeper.settings import BadSetting, Settings
from hookkeeper.temporal import run_repair
from hookkeeper.temporal.server import installation, namespace
from hookkeeper.temporal.server.connection import while_away
from hookkeeper.temporal.server.error_translation import TemporalIsNew, WrongRegistry
from hookkeeper.temporal.server.namespace import NamespaceNotReady, unusable
from hookkeeper.temporal.server.readiness import CHECK_TIMEOUT, Readiness, polls
from hookkeeper.temporal.workers import local as local_workers
from hookkeeper.times import rfc3339

if TYPE_CHECKING:
    from cli.operators.telemetry import Health

SILENCE = 360.0
"""Seconds without a poll, after which a worker is unwell: Temporal forgets a poll after 300 s."""


def run_worker(*, local: bool = False) -> None:
    """Work until stopped, then finish the attempts in progress. `local`: all workers run on this machine."""
    run(_work(begin(), local))


async def _work(settings: Settings, local: bool) -> None:
    deadline = ShutdownDeadline(settings.shutdown_timeout, to_log())
    keyring = settings.keyring
    async with (
        Store.connect(settings.database_url, keyring, settings.database_connections) as store,
        until_stopped(deadline=deadline),
    ):
        traces = exporting_traces(settings.otlp_endpoint, "worker")
        metrics = open_metrics(settings)
        client = open_client(settings, keyring, metrics.runtime)
        show_resources(settings, store, client)
        async with traces, metrics.serving(read_health=WorkerHealth(client, settings.task_queue).read):
            await until_connected(client)
            async with working(client, store, settings, local=local):
                freeze_objects()
                try:
                    await forever()
                finally:
                    deadline.begin()


class WorkerHealth:
    """Whether this process polls for tasks. If it answers at all, its event loop is alive."""

    def __init__(self, client: Client, task_queue: str, silence: float = SILENCE) -> None:
        self._client = client
        self._task_queue = task_queue
        self._silence = silence
        self._known_at = monotonic()

    async def read(self) -> "Health":
        """Ask Temporal for the latest poll of this process. No poll for minutes is bad health, unless Temporal does not
        answer: then a restart would not help.
        """
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                found = await polls(self._client, self._task_queue)
        except (RPCError, TimeoutError):
            self._known_at = monotonic()
            return True, {"status": "ok", "temporal": "unavailable"}
        if last := found.get(self._client.service_client.config.identity):
            self._known_at = monotonic()
            return True, {"status": "ok", "last_poll": rfc3339(last)}
        is_ok = monotonic() - self._known_at < self._silence
        return is_ok, {"status": "ok" if is_ok else "polls for no tasks", "last_poll": None}


@asynccontextmanager
async def working(client: Client, store: Store, settings: Settings, *, local: bool) -> AsyncIterator[None]:
    """Work until the block ends. Raises `Failed`, and whatever the block raises."""
    try:
        if local:
            await _prepare(client, store, settings)
        await while_away(lambda: namespace.check(client))
        await report_missing(store.ready, Readiness(client, settings.task_queue).check_namespace)
        await installation.until_checked(client, settings.task_queue, store.rows)
        async with (
            local_workers.retrying_lost_activities(client) if local else nullcontext(),
            worker.running(client, store, settings),
        ):
            yield
    except BadSetting as error:
        raise InvalidSettings(str(error)) from None
    except WrongRegistry as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal does not let the worker start: {unusable(client.namespace, error)}") from error


async def _prepare(client: Client, store: Store, settings: Settings) -> None:
    try:
        await local_workers.prepare(client, settings.retention)
        try:
            await installation.check(client, settings.task_queue, store.rows)
        except TemporalIsNew:  # its file was removed: all open events are started again
            await store.index.leases.forget(run_repair.LEASE_NAME)
        await installation.join(client, settings.task_queue, store.rows)
    except RegistryUnavailable:
        pass  # it is joined at the next start
    except (NamespaceNotReady, RPCError) as error:
        raise Failed(f"the namespace {client.namespace} cannot be prepared: {error}") from error
