"""The runs whose deliveries have failed, as the activities of a recovery see them: search, inspect, deliver again."""

from collections.abc import Collection
from datetime import datetime

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids
from hookkeeper.commands import Refused, UnknownDelivery
from hookkeeper.messages.event import Delivery, EventState
from hookkeeper.messages.recovery import RecoveryCandidate, RecoveryScope, RedeliveryResult
from hookkeeper.temporal import failures, reading
from hookkeeper.temporal.error_translation import UnknownEvent
from hookkeeper.temporal.gateway import Gateway


class RecoveryCandidates:
    """Raises Temporal's `RPCError`, and `Unavailable`."""

    def __init__(self, client: Client, gateway: Gateway) -> None:
        self._client = client
        self._gateway = gateway

    async def count(self, scope: RecoveryScope) -> int:
        """Count the finished events that would be redelivered."""
        return await failures.count(self._client, scope)

    async def oldest(
        self, scope: RecoveryScope, after: datetime, at_most: int
    ) -> tuple[list[RecoveryCandidate], datetime | None]:
        """Give the oldest runs with a delivery that may be meant, each event once, and where to go on."""
        found, end = await failures.oldest(self._client, scope, after, at_most)
        return [RecoveryCandidate(workflow_id=run.workflow_id, is_open=run.is_open) for run in found], end

    async def redeliver(self, scope: RecoveryScope, workflow_id: str, off: Collection[str]) -> RedeliveryResult:
        """Deliver again what is meant of a run, unless that was done since the recovery began.

        Webhooks that are `off` get nothing: what a person asks for by hand would be sent all the same.
        """
        state = await self._state(workflow_id)
        if state is None:
            return "skipped"
        meant = [each for each in state.deliveries if scope.webhook_id in (None, each.webhook_id)]
        again = [each for each in meant if each.webhook_id not in off and is_to_redeliver(each, state, scope)]
        tenant, event_id = ids.event_of(workflow_id)
        obeyed = [await self._obeys(tenant, event_id, each.id) for each in again]
        if any(obeyed) or any(was_reopened(each, state, scope.began) for each in meant):
            return "redelivered"
        return "nothing" if state.finished_at is None and not again else "skipped"

    async def _state(self, workflow_id: str) -> EventState | None:
        try:
            run = await self._client.get_workflow_handle(workflow_id).describe()
            handle = self._client.get_workflow_handle(workflow_id, run_id=run.run_id)
            return await reading.state_of(self._client, handle, run.status)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def _obeys(self, tenant: str, event_id: str, delivery: str) -> bool:
        try:
            await self._gateway.command(tenant, event_id, "retry", delivery)
        except (Refused, UnknownDelivery, UnknownEvent):
            return False
        return True


def is_to_redeliver(delivery: Delivery, state: EventState, scope: RecoveryScope) -> bool:
    """Say whether a delivery stands as is wanted, and not because this recovery has opened it again already."""
    return delivery.status == scope.status and not was_reopened(delivery, state, scope.began)


def was_reopened(delivery: Delivery, state: EventState, began: datetime) -> bool:
    """Say whether a delivery was opened again since then: by a recovery, or by a person."""
    if not delivery.by_hand or not delivery.redelivered_from:
        return False
    since = [each for each in delivery.attempts if each.number >= delivery.redelivered_from]
    if since:
        return since[0].started_at >= began
    return state.finished_at is None or state.finished_at >= began
