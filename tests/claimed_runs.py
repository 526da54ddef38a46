"""Shared runs in tests whose events have rows before, as the API does it."""

import asyncio
from collections.abc import Sequence

from hookkeeper import ids
from hookkeeper.messages.event import EventInput
from hookkeeper.messages.run_report import RunReport, first_report
from hookkeeper.temporal.events.shared_runs import first_state
from instances import Instance
from shared_runs import SharedRun
from timeouts import WAIT_TIMEOUT


def acceptance(event: EventInput, shared_run: str | None) -> RunReport:
    """Return what the row of an event of this run is made of."""
    return first_report(event, first_state(event), shared_run, text=event.model_dump_json())


async def share(instance: Instance, events: Sequence[EventInput], *, claimed: bool = True) -> SharedRun:
    """Accept events for a shared run, and start it. Not `claimed`: their rows are lost."""
    workflow_id = ids.shared_run_id()
    if claimed:
        assert await instance.store.rows.accept([acceptance(event, workflow_id) for event in events]) == {}
    assert await instance.gateway.runs.start_shared(workflow_id, events)
    return SharedRun(instance, instance.temporal.get_workflow_handle(workflow_id))


async def until_listed(run: SharedRun) -> None:
    """Wait until visibility lists the run, which has closed."""
    query = f"WorkflowId = '{run.handle.id}'"
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not [one async for one in run.instance.temporal.list_workflows(query) if one.close_time]:
            await asyncio.sleep(0.05)
