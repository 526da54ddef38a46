"""Versions of workers: those of the current version get all tasks (decision 29).

With HOOKKEEPER_DEPLOYMENT_VERSION, workers belong to a worker deployment that is named after the task queue. Open runs
move to the current version with their next workflow task (auto-upgrade).
"""

import asyncio

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
from hookkeeper.temporal.error_translation import not_found_suppressed

log = structlog.get_logger("hookkeeper.temporal")

UNVERSIONED = ""
POLL_INTERVAL = 0.2
BUSY_INTERVAL = 2.0
"""Seconds until the next try after the server was busy: it limits the changes of a worker deployment."""
BUSY = frozenset(
    {
        RPCStatusCode.CANCELLED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
    }
)
"""Statuses of a call that succeeds later, for example once all new workers have registered."""


class VersionNotReady(Exception):
    """No workers of the version serve all task queues, or the server is busy."""


def deployment_name(task_queue: str) -> str:
    """Return the name of the worker deployment, in which dots are not allowed."""
    return task_queue.replace(".", "-")


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


async def promote(client: Client, task_queue: str, version: str, timeout: float) -> bool:
    """Make a version current when its workers serve all task queues; False if the server has no worker versions.

    Raises `VersionNotReady` after `timeout` seconds without such workers or with a busy server, and `RPCError`.
    """
    busy: RPCError | None = None
    try:
        async with asyncio.timeout(timeout):
            while True:
                try:
                    if await _is_promoted(client, task_queue, version):
                        return True
                    busy = None
                except RPCError as error:
                    if error.status not in BUSY:
                        raise
                    busy = error
                await asyncio.sleep(BUSY_INTERVAL if busy else POLL_INTERVAL)
    except TimeoutError:
        raise VersionNotReady(_reason(version, busy)) from None
    except RPCError as error:
        if not _is_unsupported(error):
            raise
        return False


def _reason(version: str, busy: RPCError | None) -> str:
    if busy:
        return f"Temporal is busy, so version {version} is not current yet ({busy.message}): try again"
    missing = f"no workers of version {version} serve all task queues"
    return f"{missing}: start them first, or look for errors in their logs"


async def _is_promoted(client: Client, task_queue: str, version: str) -> bool:
    """Make a version current if its workers serve all task queues; return whether it is current now."""
    if await current_version(client, task_queue) == version:
        return True
    if not await _serves_all(client, task_queue, version):
        return False
    await _set_current(client, task_queue, version)
    return True


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


async def _serves_all(client: Client, task_queue: str, version: str) -> bool:
    """Return whether workers of this version have polled all task queues; those without a version are not checked."""
    if version == UNVERSIONED:
        return True
    request = DescribeWorkerDeploymentVersionRequest(namespace=client.namespace)
    request.deployment_version.deployment_name = deployment_name(task_queue)
    request.deployment_version.build_id = version
    polled: set[str] = set()
    with not_found_suppressed():
        found = await client.workflow_service.describe_worker_deployment_version(request)
        polled = {queue.name for queue in found.worker_deployment_version_info.task_queue_infos}
    return polled >= set(task_queues.by_kind(task_queue).values())


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
