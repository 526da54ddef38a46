"""Shared runs in tests whose events are claimed first, as the API does it."""

import asyncio
from collections.abc import Sequence

from hookkeeper import ids
from hookkeeper.messages.shared_run import SharedEvent
from hookkeeper.registry.claims import Claim
from instances import Instance
from shared_runs import SharedRun
from timeouts import WAIT_TIMEOUT


async def share(instance: Instance, events: Sequence[SharedEvent], *, claimed: bool = True) -> SharedRun:
    """Claim events for a shared run, and start it. Not `claimed`: the claims are lost."""
    workflow_id = ids.shared_run_id()
    claims = [
        Claim(shared.event.tenant, shared.event.id, shared.digest, shared.event.accepted_at, workflow_id)
        for shared in events
    ]
    if claimed:
        assert await instance.store.claims.claim(claims, {claim.key for claim in claims}) == {}
    assert await instance.gateway.shared_runs.start(workflow_id, events)
    return SharedRun(instance, instance.temporal.get_workflow_handle(workflow_id))


async def until_listed(run: SharedRun) -> None:
    """Wait until visibility lists the run."""
    async with asyncio.timeout(WAIT_TIMEOUT):
        while not [listed async for listed in run.instance.temporal.list_workflows(f"WorkflowId = '{run.handle.id}'")]:
            await asyncio.sleep(0.05)
