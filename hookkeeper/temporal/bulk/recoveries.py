"""The client of recoveries: start, read, list, command.

Raises the errors of `hookkeeper.temporal.server.error_translation`, and `Refused`.
"""

import asyncio
import secrets
from functools import partial
from typing import Any

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import Priority, WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids, temporal_names
from hookkeeper.commands import Refused
from hookkeeper.messages.bulk_work import RecoveryCommand, RecoveryScope, RecoveryState
from hookkeeper.search_attributes import tenant_attributes
from hookkeeper.temporal.events.run_state import find_run, handle_of, input_of
from hookkeeper.temporal.server import visibility
from hookkeeper.temporal.server.error_translation import (
    UNAVAILABLE_STATUSES,
    Conflict,
    Unavailable,
    UnknownRecovery,
    not_found_suppressed,
    translated_errors,
)

ANSWER_TIMEOUT = 2.0
"""Seconds in which the runs of a page must answer. One that does not is listed with what is known without it."""


class Recoveries:
    """All recoveries. One for the process."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def start(self, scope: RecoveryScope, rate: float) -> RecoveryState:
        """Start a recovery, or a bulk action; raise `Conflict` while one of the same deliveries is running, or one with
        the same action of the tenant.

        One that also takes what is `retrying` replaces one of its kind that is running, and does its work too.

        If one of a webhook and one of its tenant are requested at the same moment, both may start. Each event is still
        redelivered once, unless both reach it within the same few milliseconds.
        """
        recovery = ids.recovery_id(secrets.token_hex(4), scope.tenant, scope.webhook_id, scope.action)
        state = RecoveryState(id=recovery, scope=scope, rate=rate)
        async with translated_errors(not_found=Unavailable):
            known = await self._replaced(state) if scope.retrying else None
            if known is None and (other := await self._running(scope)):
                raise Conflict(f"recovery {other} is running: wait until it has ended, or cancel it")
            if known and known.since and scope.since:
                since = min(known.since, scope.since)
                state = state.model_copy(update={"scope": scope.model_copy(update={"since": since})})
            try:
                await self._start(state, replaces=known is not None)
            except WorkflowAlreadyStartedError:
                other = await self._running(scope)
                raise Conflict(f"recovery {other} has just started: wait until it has ended, or cancel it") from None
        return state

    async def read(self, recovery: str) -> RecoveryState:
        """Return the state of a recovery; raise `UnknownRecovery`. One that has ended needs no worker."""
        async with translated_errors(not_found=UnknownRecovery):
            return await self._state(await self._run_of(recovery))

    async def scope_of(self, recovery: str) -> RecoveryScope:
        """Return the scope with which a recovery began; raise `UnknownRecovery`. This needs no worker."""
        async with translated_errors(not_found=UnknownRecovery):
            run = await self._run_of(recovery)
            return (await input_of(self._client, handle_of(self._client, run), RecoveryState)).scope

    async def command(self, recovery: str, command: RecoveryCommand) -> None:
        """Pause, resume or cancel a recovery; raise `Refused` if it has ended.

        This needs no worker: one that does not answer does so as soon as it has one again.
        """
        async with translated_errors(not_found=UnknownRecovery):
            run = await self._run_of(recovery)
            while run.status == WorkflowExecutionStatus.RUNNING:
                with not_found_suppressed():
                    return await handle_of(self._client, run).signal(command)
                run = await self._run_of(recovery)  # it has ended meanwhile, or has continued as a new run
            raise Refused(f"cannot {command}: the recovery has ended")

    async def page(
        self, tenant: str | None, webhook_id: str | None, limit: int, cursor: str | None
    ) -> tuple[list[RecoveryState], str | None]:
        """Return one page, running ones first, each newest first, and the next page's cursor; raise `BadCursor`."""
        type_ = f"WorkflowType = '{temporal_names.RECOVERY}'"
        conditions = [type_, "ExecutionStatus != 'ContinuedAsNew'", visibility.in_queue(self._task_queue)]
        if tenant is not None:
            conditions.append(f"{temporal_names.TENANT} = '{tenant}'")
        if webhook_id is not None:
            conditions.append(f"WorkflowId = '{ids.recovery_workflow_id(ids.recovery_id('', '', webhook_id))}'")
        async with translated_errors(not_found=Unavailable):
            runs, next_cursor = await visibility.page(self._client, " AND ".join(conditions), limit, cursor)
            deadline = asyncio.get_running_loop().time() + ANSWER_TIMEOUT
            states = await visibility.read_all(runs, partial(self._state_if_present, deadline))
            return [state for state in states if state], next_cursor

    async def _replaced(self, state: RecoveryState) -> RecoveryScope | None:
        """Return the scope of the running recovery that this one replaces, or None."""
        run = await self._latest(state.id)
        if run is None or run.status != WorkflowExecutionStatus.RUNNING:
            return None
        scope = (await input_of(self._client, handle_of(self._client, run), RecoveryState)).scope
        return scope if scope.retrying else None

    async def _start(self, state: RecoveryState, *, replaces: bool) -> None:
        scope, workflow_id = state.scope, ids.recovery_workflow_id(state.id)
        assert workflow_id is not None
        what = "retry what waits" if scope.status == "retrying" else f"redeliver what has {scope.status}"
        about = f"{what} · {scope.webhook_id or 'all webhooks'}"
        await self._client.start_workflow(
            temporal_names.RECOVERY,
            state,
            id=workflow_id,
            task_queue=self._task_queue,
            id_conflict_policy=(
                WorkflowIDConflictPolicy.TERMINATE_EXISTING if replaces else WorkflowIDConflictPolicy.FAIL
            ),
            memo={"recovery": state.id},
            search_attributes=tenant_attributes(scope.tenant),
            priority=Priority(fairness_key=scope.tenant),
            static_summary=f"{f'{scope.action} what was found' if scope.action else about} · {scope.tenant}",
        )

    async def _running(self, scope: RecoveryScope) -> str | None:
        """Return the running recovery of an overlapping scope: of the webhook, of its tenant, or any of the tenant.

        A bulk action overlaps with one of the same tenant and action.
        """
        for webhook_id in {None, scope.webhook_id}:
            run = await self._latest(ids.recovery_id("", scope.tenant, webhook_id, scope.action))
            if run and run.status == WorkflowExecutionStatus.RUNNING:
                return await _id_of(run)
        if scope.action is None and scope.webhook_id is None:
            running = f"WorkflowId STARTS_WITH '{ids.WEBHOOK_RECOVERY_PREFIX}' AND ExecutionStatus = 'Running'"
            async for run in self._client.list_workflows(f"{running} AND {temporal_names.TENANT} = '{scope.tenant}'"):
                return await _id_of(run)
        return None

    async def _run_of(self, recovery: str) -> WorkflowExecution:
        """Find a recovery: the latest of its subject, which visibility may not list yet, or an earlier one."""
        latest = await self._latest(recovery)
        if latest is None:
            raise UnknownRecovery("there is no such recovery")
        if await _id_of(latest) == recovery:
            return latest
        earlier = f"WorkflowId = '{latest.id}' AND ExecutionStatus != 'ContinuedAsNew'"
        async for run in self._client.list_workflows(earlier):
            if await _id_of(run) == recovery:
                return run
        raise UnknownRecovery("there is no such recovery")

    async def _latest(self, recovery: str) -> WorkflowExecution | None:
        workflow_id = ids.recovery_workflow_id(recovery)
        return await find_run(self._client, workflow_id) if workflow_id else None

    async def _state_if_present(self, deadline: float, run: WorkflowExecution) -> RecoveryState | None:
        """Return the state of a recovery, or what its run began with if that does not answer by then."""
        with not_found_suppressed():  # it may be deleted meanwhile
            try:
                async with asyncio.timeout_at(None if run.status == WorkflowExecutionStatus.COMPLETED else deadline):
                    return await self._state(run)
            except (TimeoutError, RPCError) as error:
                if isinstance(error, RPCError) and error.status not in UNAVAILABLE_STATUSES:
                    raise
                began = await input_of(self._client, handle_of(self._client, run), RecoveryState)
                return began.model_copy(update={"status": "unknown"})
        return None

    async def _state(self, run: WorkflowExecution) -> RecoveryState:
        handle: WorkflowHandle[Any, RecoveryState] = self._client.get_workflow_handle(
            run.id, run_id=run.run_id, result_type=RecoveryState
        )
        if run.status == WorkflowExecutionStatus.COMPLETED:
            return await handle.result(follow_runs=False)
        try:
            state: RecoveryState = await handle.query(temporal_names.STATE, result_type=RecoveryState)
        except RPCError as error:
            if error.status != RPCStatusCode.FAILED_PRECONDITION:
                raise
            state = await input_of(self._client, handle, RecoveryState)  # it was replaced before a worker began it
        if run.status == WorkflowExecutionStatus.RUNNING:
            return state
        return state.model_copy(update={"status": "cancelled", "finished_at": run.close_time})


async def _id_of(run: WorkflowExecution) -> str:
    recovery: str = await run.memo_value("recovery", default="", type_hint=str)
    return recovery
