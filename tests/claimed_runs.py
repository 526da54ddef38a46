"""Shared runs in tests whose events have rows before, as the API does it."""

import asyncio
from collections.abc import Sequence

from hookkeeper import ids
from hookkeeper.messages.run_report import first_report
from hookkeeper.messages.shared_run import SharedEvent
from hookkeeper.registry.index.writing import Acceptance
from hookkeeper.temporal.shared_read import first_state
from instances import Instance
from shared_runs import SharedRun
from timeouts import WAIT_TIMEOUT


def acceptance(shared: SharedEvent, shared_run: str | None) -> Acceptance:
    """Return what the row of an event of this run is made of."""
    return Acceptance(first_report(shared.event, first_state(shared.event), "", shared.digest, shared_run))


async def share(instance: Instance, events: Sequence[SharedEvent], *, claimed: bool = True) -> SharedRun:
    """Accept events for a shared run, and start it. Not `claimed`: their rows are lost."""
    workflow_id = ids.shared_run_id()
    if claimed:
        assert await instance.store.rows.accept([acceptance(shared, workflow_id) for shared in events]) == {}
    assert await instance.gateway.shared_runs.start(workflow_id, events)
    return SharedRun(instance, instance.temporal.get_workflow_handle(workflow_id))


async def until_listed(run: SharedRun) -> None:
    """Wait until visibility lists the run."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not [listed async for listed in run.instance.temporal.list_workflows(f"WorkflowId = '{run.handle.id}'")]:
            await asyncio.sleep(0.05)
