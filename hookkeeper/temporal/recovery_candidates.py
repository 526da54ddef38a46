"""The runs that a recovery redelivers: find them oldest first, redeliver them.

The index has them in order. The state of each run decides.
"""

from collections.abc import Collection
from datetime import datetime

from temporalio.client import Client

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.bulk_work import (
    RecoveryCandidate,
    RecoveryPlan,
    RecoveryScope,
    RecoverySearch,
    RedeliveryResult,
    RunPosition,
)
from hookkeeper.messages.event import Delivery, EventState
from hookkeeper.registry.index.runs_by_status import RunsByStatus, recoverable
from hookkeeper.temporal import run_state
from hookkeeper.temporal.error_translation import UnknownEvent, not_found_suppressed
from hookkeeper.temporal.event_commands import EventCommands
from hookkeeper.temporal.event_read import EventReader


class RecoveryCandidates:
    """Used by the activities of a recovery. Raises Temporal's `RPCError`, `Unavailable` and RegistryUnavailable."""

    def __init__(
        self,
        client: Client,
        runs: RunsByStatus,
        commands: EventCommands,
        reader: EventReader,
    ) -> None:
        self._client = client
        self._runs = runs
        self._commands = commands
        self._reader = reader

    async def count(self, scope: RecoveryScope) -> int:
        """Count the events that would be redelivered."""
        return await self._runs.count(recoverable(scope), scope.began)

    async def oldest(self, search: RecoverySearch, at_most: int) -> RecoveryPlan:
        """Return the oldest candidates, each run once."""
        scope = search.scope
        found, end = await self._runs.oldest(recoverable(scope), search.after, at_most)
        runs = tuple(
            _candidate(scope, run.position, is_counted=run.finished_at is not None and run.finished_at < scope.began)
            for run in found
        )
        return RecoveryPlan(runs=runs, end=end)

    async def redeliver(
        self, scope: RecoveryScope, run: RecoveryCandidate, active: Collection[str]
    ) -> RedeliveryResult:
        """Redeliver the deliveries of a run that are in scope, unless that was done since the recovery began.

        Only those of `active` webhooks: a requested delivery would be sent to one that is paused or disabled all the
        same, and one of a deleted webhook would need a further run to end without an attempt.
        """
        if scope.webhook_id is not None and scope.webhook_id not in active:
            return "skipped"
        state = await self._state(run.workflow_id)
        if state is None:
            return "skipped"
        in_scope = [delivery for delivery in state.deliveries if scope.webhook_id in (None, delivery.webhook_id)]
        due = [
            delivery
            for delivery in in_scope
            if delivery.webhook_id in active and is_to_redeliver(delivery, state, scope)
        ]
        tenant, event_id = ids.event_of(run.workflow_id)
        accepted = [await self._retry(tenant, event_id, delivery.id) for delivery in due]
        # What was not counted may be a run that was redelivered before.
        is_done = run.is_counted and any(was_reopened(delivery, state, scope.began) for delivery in in_scope)
        return "redelivered" if any(accepted) or is_done else "skipped"

    async def is_deciding(self, workflow_id: str) -> bool:
        """Return whether a run waits for a worker to take its next step."""
        run = await run_state.find_run(self._client, workflow_id)
        return run is not None and run_state.is_deciding(run)

    async def _state(self, workflow_id: str) -> EventState | None:
        with not_found_suppressed():
            run = await self._client.get_workflow_handle(workflow_id).describe()
            return await run_state.state_of(self._client, run_state.handle_of(self._client, run), run.status)
        snapshot = await self._reader.read(*ids.event_of(workflow_id))  # of a shared run that was terminated
        return snapshot and snapshot.state

    async def _retry(self, tenant: str, event_id: str, delivery: str) -> bool:
        try:
            await self._commands.send(tenant, event_id, "retry", delivery)
        except (Refused, UnknownDelivery, UnknownEvent):
            return False
        return True


def _candidate(scope: RecoveryScope, position: RunPosition, *, is_counted: bool) -> RecoveryCandidate:
    workflow_id = ids.run_of(scope.tenant, position.event_id, position.part)
    return RecoveryCandidate(workflow_id=workflow_id, is_counted=is_counted)


def is_to_redeliver(delivery: Delivery, state: EventState, scope: RecoveryScope) -> bool:
    """Return whether a delivery has the status of the scope, and was not reopened since the recovery began."""
    return delivery.status == scope.status and not was_reopened(delivery, state, scope.began)


def was_reopened(delivery: Delivery, state: EventState, began: datetime) -> bool:
    """Return whether a delivery was reopened since then, by a recovery or by request."""
    if not delivery.requested or not delivery.redelivered_from:
        return False
    since = [attempt for attempt in delivery.attempts if attempt.number >= delivery.redelivered_from]
    if since:
        return since[0].started_at >= began
    return state.finished_at is None or state.finished_at >= began
