"""The client side of recoveries: count, start, read, list, steer.

Raises what `hookkeeper.temporal.error_translation` names, and `Refused`.
"""

import asyncio
import secrets
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.commands import Refused
from hookkeeper.messages.recovery import RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.temporal import failures
from hookkeeper.temporal.error_translation import Conflict, Unavailable, UnknownRecovery, reaching_temporal
from hookkeeper.temporal.listing import sealed, unsealed

AT_ONCE = 10
"""Recoveries of a page that are read at the same time."""


class Recoveries:
    """All recoveries. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def count(self, scope: RecoveryScope) -> int:
        """Count the finished events that would be redelivered."""
        async with reaching_temporal(not_found=Unavailable):
            return await failures.count(self._client, scope)

    async def start(self, scope: RecoveryScope, rate: float) -> RecoveryState:
        """Start a recovery; raise `Conflict` where one of the same deliveries is under way.

        Of two that begin in the same moment, one of a webhook and one of its tenant, both may be started. Each event is
        redelivered once all the same, but where both ask for it within the same few milliseconds.
        """
        job = ids.recovery_job(secrets.token_hex(4), scope.tenant, scope.webhook_id)
        state = RecoveryState(id=job, scope=scope, rate=rate)
        async with reaching_temporal(not_found=Unavailable):
            if busy := await self._busy_with(scope):
                raise Conflict(f"recovery {busy} is under way: wait until it is over, or cancel it")
            try:
                await self._start(state)
            except WorkflowAlreadyStartedError:
                busy = await self._busy_with(scope)
                raise Conflict(f"recovery {busy} has just begun: wait until it is over, or cancel it") from None
        return state

    async def read(self, job: str) -> RecoveryState:
        """Give how a recovery is doing; raise `UnknownRecovery`. A closed one needs no worker."""
        async with reaching_temporal(not_found=UnknownRecovery):
            return await self._state(await self._run_of(job))

    async def steer(self, job: str, command: RecoveryCommand) -> None:
        """Pause, resume or cancel a recovery; raise `Refused` where it is over."""
        async with reaching_temporal(not_found=UnknownRecovery):
            run = await self._run_of(job)
            if run.status == WorkflowExecutionStatus.RUNNING:
                try:
                    return await self._client.get_workflow_handle(run.id, run_id=run.run_id).signal(command)
                except RPCError as error:
                    if error.status != RPCStatusCode.NOT_FOUND:
                        raise
            raise Refused(f"cannot {command}: the recovery is over")

    async def page(
        self, tenant: str | None, webhook_id: str | None, limit: int, cursor: str | None
    ) -> tuple[list[RecoveryState], str | None]:
        """Give one page, those under way first, then the latest, and the next page's cursor; raise `BadCursor`."""
        parts = [f"WorkflowType = '{ids.RECOVERY}'", "ExecutionStatus != 'ContinuedAsNew'"]
        if tenant is not None:
            parts.append(f"{ids.TENANT.name} = '{tenant}'")
        if webhook_id is not None:
            parts.append(f"{ids.WEBHOOKS.name} = '{webhook_id}'")
        query = " AND ".join(parts)
        async with reaching_temporal(not_found=Unavailable):
            found = self._client.list_workflows(query, page_size=limit, next_page_token=unsealed(query, cursor))
            await found.fetch_next_page()
            slots = asyncio.Semaphore(AT_ONCE)

            async def read(run: WorkflowExecution) -> RecoveryState | None:
                async with slots:
                    try:
                        return await self._state(run)
                    except RPCError as error:
                        if error.status != RPCStatusCode.NOT_FOUND:  # removed meanwhile
                            raise
                        return None

            states = await asyncio.gather(*(read(run) for run in found.current_page or []))
            return [state for state in states if state], sealed(query, found.next_page_token)

    async def _start(self, state: RecoveryState) -> None:
        scope, name = state.scope, ids.recovery_id(state.id)
        assert name is not None
        pairs: list[SearchAttributePair[Any]] = [SearchAttributePair(ids.TENANT, scope.tenant)]
        if scope.webhook_id:
            pairs.append(SearchAttributePair(ids.WEBHOOKS, [scope.webhook_id]))
        await self._client.start_workflow(
            ids.RECOVERY,
            state,
            id=name,
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            memo={"job": state.id},
            search_attributes=TypedSearchAttributes(pairs),
            static_summary=f"redeliver what has {scope.status} · {scope.webhook_id or 'all webhooks'} · {scope.tenant}",
        )

    async def _busy_with(self, scope: RecoveryScope) -> str | None:
        """Give the running recovery that this one would meet: its own webhook's, its tenant's, or any of the tenant."""
        jobs = [ids.recovery_job("", scope.tenant, each) for each in {None, scope.webhook_id}]
        for job in jobs:
            run = await self._latest(job)
            if run and run.status == WorkflowExecutionStatus.RUNNING:
                return await _job_of(run)
        if scope.webhook_id is None:
            running = f"WorkflowType = '{ids.RECOVERY}' AND ExecutionStatus = 'Running'"
            async for run in self._client.list_workflows(f"{running} AND {ids.TENANT.name} = '{scope.tenant}'"):
                return await _job_of(run)
        return None

    async def _run_of(self, job: str) -> WorkflowExecution:
        """Find a recovery: the latest of its subject, which visibility may not know yet, or an earlier one."""
        latest = await self._latest(job)
        if latest is None:
            raise UnknownRecovery("there is no such recovery")
        if await _job_of(latest) == job:
            return latest
        earlier = f"WorkflowId = '{latest.id}' AND ExecutionStatus != 'ContinuedAsNew'"
        async for run in self._client.list_workflows(earlier):
            if await _job_of(run) == job:
                return run
        raise UnknownRecovery("there is no such recovery")

    async def _latest(self, job: str) -> WorkflowExecution | None:
        name = ids.recovery_id(job)
        if name is None:
            return None
        try:
            return await self._client.get_workflow_handle(name).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def _state(self, run: WorkflowExecution) -> RecoveryState:
        handle: WorkflowHandle[Any, RecoveryState] = self._client.get_workflow_handle(
            run.id, run_id=run.run_id, result_type=RecoveryState
        )
        if run.status == WorkflowExecutionStatus.COMPLETED:
            return await handle.result(follow_runs=False)
        state = await handle.query(ids.STATE, result_type=RecoveryState)
        if run.status == WorkflowExecutionStatus.RUNNING:
            return state
        return state.model_copy(update={"status": "cancelled", "finished_at": run.close_time})


async def _job_of(run: WorkflowExecution) -> str:
    job: str = await run.memo_value("job", default="", type_hint=str)
    return job
