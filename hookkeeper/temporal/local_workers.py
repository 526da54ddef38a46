"""Work of `hookkeeper worker --local`, as in `dev`: this machine has all workers of the namespace.

So no other process prepares the namespace, and activities of ended workers need not wait for their timeouts.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from hookkeeper.asyncio_tasks import in_background
from hookkeeper.temporal import namespace
from hookkeeper.temporal.lost_activities import retry_lost_activities

log = structlog.get_logger("hookkeeper.worker")
NAMESPACE_TIMEOUT, POLL_INTERVAL = 30.0, 0.05
"""Seconds in which a server that starts has to have its namespace, and between two tries."""


async def prepare(client: Client, retention: timedelta) -> None:
    """Prepare the namespace as soon as the server answers and has created it.

    Raises `NamespaceNotReady` and `RPCError`.
    """
    deadline = asyncio.get_running_loop().time() + NAMESPACE_TIMEOUT
    while True:
        try:
            return await namespace.prepare(client, retention)
        except RPCError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(POLL_INTERVAL)


def retrying_lost_activities(client: Client) -> AbstractAsyncContextManager[None]:
    """Retry the activities of ended workers in the background."""
    return in_background(_retry_lost_activities(client), "retry lost activities")


async def _retry_lost_activities(client: Client) -> None:
    try:
        if found := await retry_lost_activities(client):
            log.info("activities of ended workers are retried", activities=found)
    except RPCError as error:
        log.warning("activities of ended workers are retried after their timeouts", error=error.message)
