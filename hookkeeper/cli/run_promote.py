"""`hookkeeper promote`."""

import structlog
from temporalio.service import RPCError

from hookkeeper.cli.console import Failed
from hookkeeper.cli.processes import run
from hookkeeper.cli.startup import begin, connect
from hookkeeper.settings import Settings
from hookkeeper.temporal import worker_versions
from hookkeeper.temporal.worker_versions import UNVERSIONED, VersionNotReady

log = structlog.get_logger("hookkeeper.promote")
TIMEOUT = 60.0
"""Seconds to wait for workers of the version."""


def run_promote() -> None:
    """Make the version in the settings current, when its workers serve all task queues."""
    run(_promote(begin()))


async def _promote(settings: Settings) -> None:
    client = await connect(settings)
    version = settings.deployment_version or UNVERSIONED
    try:
        if not await worker_versions.promote(client, settings.task_queue, version, TIMEOUT):
            log.warning("this Temporal server has no worker versions")
    except VersionNotReady as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal refused the change: {error.message}") from error
