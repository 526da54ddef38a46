"""`hookkeeper promote`."""

from temporalio.service import RPCError

from hookkeeper.cli.console import Failed, out
from hookkeeper.cli.processes import run
from hookkeeper.cli.startup import begin, connect
from hookkeeper.settings import Settings
from hookkeeper.temporal import worker_versions
from hookkeeper.temporal.worker_versions import UNVERSIONED, VersionNotReady, named

TIMEOUT = 60.0
"""Seconds to wait for workers of the version."""


def run_promote() -> None:
    """Make the version in the settings current, when its workers serve all task queues."""
    run(_promote(begin()))


async def _promote(settings: Settings) -> None:
    client = await connect(settings)
    version = settings.deployment_version or UNVERSIONED
    try:
        before = await worker_versions.promote(client, settings.task_queue, version, TIMEOUT)
    except VersionNotReady as error:
        raise Failed(str(error)) from error
    except RPCError as error:
        raise Failed(f"Temporal refused the change: {error.message}") from error
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
