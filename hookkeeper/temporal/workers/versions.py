"""Versions of workers: those of the current version get all tasks (decision 29).

With HOOKKEEPER_DEPLOYMENT_VERSION, workers belong to a worker deployment that is named after the task queue. Open runs
move to the current version with their next workflow task (auto-upgrade).
"""

import asyncio
import os
from contextlib import suppress

import structlog
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    DescribeWorkerDeploymentResponse,
    DescribeWorkerDeploymentVersionRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from hookkeeper import task_queues
from hookkeeper.temporal.server.connection import BUSY
from hookkeeper.temporal.server.error_translation import not_found_suppressed

log = structlog.get_logger("hookkeeper.temporal")

UNVERSIONED = ""
POLL_INTERVAL = 0.2
BUSY_INTERVAL = 2.0
"""Seconds until the next try after the server was busy: it limits the changes of a worker deployment."""
LAST_LOOK = 5.0
"""Seconds for the question whether the version is current, after the time to make it so is over."""


class VersionNotReady(Exception):
    """The version is not current, or not known to be: workers are missing, or Temporal is busy or refuses."""


def deployment_name(task_queue: str) -> str:
    """Return the name of the worker deployment, in which dots are not allowed. Temporal's Worker Controller sets it."""
    return os.environ.get("TEMPORAL_DEPLOYMENT_NAME") or task_queue.replace(".", "-")


async def configure_workers(client: Client, task_queue: str, version: str) -> WorkerDeploymentConfig | None:
    """Return the configuration of workers of this version; None if they have no version.

    If no version is current yet, this one becomes current: otherwise no worker would get tasks. A server that has no
    worker deployments gets workers without a version. Raises `RPCError`.
    """
    try:
        current = await current_version(client, task_queue)
        if version and not current:
            await _set_current(client, task_queue, version, allow_no_pollers=True)
            current = version
    except RPCError as error:
        if not _is_unsupported(error):
            raise
        if version:
            log.warning("this Temporal server has no worker versions: workers run without", error=error.message)
        return None
    if current != version:
        log.warning(
            "workers of another version are current, so these get no tasks until `hookkeeper promote`",
            current=current,
            version=version,
        )
    return _config(task_queue, version) if version else None


async def promote(client: Client, task_queue: str, version: str, timeout: float) -> str | None:
    """Make a version current when its workers serve all task queues.

    Return the version that was current before, which can be this one; None if the server has no worker versions. Raises
    `VersionNotReady` with what is known, after `timeout` seconds or when Temporal refuses the change.
    """
    promotion = _Promotion(client, task_queue, version)
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await promotion.try_until_done()
        return await promotion.result()
    except RPCError as error:
        if _is_unsupported(error):
            return None
        return await promotion.result(error)


class _Promotion:
    """A change of the current version, and what is known of it."""

    def __init__(self, client: Client, task_queue: str, version: str) -> None:
        self._client = client
        self._task_queue = task_queue
        self._version = version
        self._before: str | None = None
        self._unserved: set[str] = set()
        """Task queues without workers of the version. If there are none, Temporal was told to change."""

    async def try_until_done(self) -> str:
        """Return the version that was current before. What Temporal has confirmed is not asked again: a server that is
        busy with the change may refuse to answer.
        """
        while True:
            interval = POLL_INTERVAL
            try:
                current = await current_version(self._client, self._task_queue)
                self._before = current if self._before is None else self._before
                if current == self._version:
                    return self._before
                self._unserved = await _unserved(self._client, self._task_queue, self._version)
                if not self._unserved:
                    await _set_current(self._client, self._task_queue, self._version)
                    return self._before
            except RPCError as error:
                if error.status not in BUSY:
                    raise
                interval = BUSY_INTERVAL
            await asyncio.sleep(interval)

    async def result(self, refusal: RPCError | None = None) -> str:
        """Return the version that was current before, if the change is made: the answer to it may have been lost, or
        it was refused the second time. Raises `VersionNotReady`.
        """
        reason = f"Temporal refused the change: {refusal.message}; " if refusal else ""
        current = await self._last_look()
        if current is None:
            raise VersionNotReady(
                f"{reason}Temporal is busy or away, so it is unknown whether {named(self._version)} get all tasks: try"
                " again"
            ) from refusal
        if current == self._version:
            return current if self._before is None else self._before
        known = f"{reason}{named(current)} still get all tasks"
        if self._unserved:
            raise VersionNotReady(
                f"{known}: no {named(self._version)} serve {', '.join(sorted(self._unserved))}: start them first, or"
                " look for errors in their logs"
            ) from refusal
        raise VersionNotReady(f"{known}, and not {named(self._version)}: try again") from refusal

    async def _last_look(self) -> str | None:
        """Return the current version; None if Temporal does not say."""
        loop = asyncio.get_running_loop()
        end = loop.time() + LAST_LOOK
        while (left := end - loop.time()) > 0:
            with suppress(RPCError, TimeoutError):
                async with asyncio.timeout(left):
                    return await current_version(self._client, self._task_queue)
            await asyncio.sleep(min(BUSY_INTERVAL, max(0.0, end - loop.time())))
        return None


def named(version: str) -> str:
    """Name the workers of a version in a sentence."""
    return f"workers of version {version}" if version else "workers without a version"


async def current_version(client: Client, task_queue: str) -> str:
    """Return the current version, or `UNVERSIONED`. Raises `RPCError`."""
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=deployment_name(task_queue))
    with not_found_suppressed():
        found: DescribeWorkerDeploymentResponse = await client.workflow_service.describe_worker_deployment(request)
        return found.worker_deployment_info.routing_config.current_deployment_version.build_id
    return UNVERSIONED


def _config(task_queue: str, version: str) -> WorkerDeploymentConfig:
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name(task_queue), version),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )


async def _unserved(client: Client, task_queue: str, version: str) -> set[str]:
    """Return the task queues that no workers of this version have polled; those without a version are not checked."""
    if version == UNVERSIONED:
        return set()
    request = DescribeWorkerDeploymentVersionRequest(namespace=client.namespace)
    request.deployment_version.deployment_name = deployment_name(task_queue)
    request.deployment_version.build_id = version
    polled: set[str] = set()
    with not_found_suppressed():
        found = await client.workflow_service.describe_worker_deployment_version(request)
        polled = {queue.name for queue in found.worker_deployment_version_info.task_queue_infos}
    return set(task_queues.by_kind(task_queue).values()) - polled


async def _set_current(client: Client, task_queue: str, version: str, *, allow_no_pollers: bool = False) -> None:
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace,
        deployment_name=deployment_name(task_queue),
        build_id=version,
        identity="hookkeeper",
        allow_no_pollers=allow_no_pollers,
    )
    await client.workflow_service.set_worker_deployment_current_version(request, retry=True)
    log.info("version of workers is current", version=version or None)


def _is_unsupported(error: RPCError) -> bool:
    """Return whether the server does not know worker deployments, or they are disabled in the namespace."""
    return error.status == RPCStatusCode.UNIMPLEMENTED or (
        error.status == RPCStatusCode.PERMISSION_DENIED and "disabled" in error.message
    )
