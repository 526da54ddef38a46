"""Read attempts from histories that are left out of a run's state, because it has only the latest ones."""

from collections.abc import AsyncIterator
from datetime import datetime

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from hookkeeper import temporal_names
from hookkeeper.messages import Message
from hookkeeper.messages.batch import AttemptRequest, BatchResult
from hookkeeper.messages.event import Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.outcomes import NOT_MADE, Outcome
from hookkeeper.temporal.visibility import quoted

Attempts = dict[str, dict[int, Attempt]]
"""By delivery and number."""


class _Event(Message):
    """An `EventAttempts` without the event's data."""

    attempts: tuple[AttemptRequest, ...]


class _Batch(Message):
    """The `DeliveryBatch` of one event."""

    events: tuple[_Event]


class _Deliveries(Message):
    """An `EventInput` without the event's data."""

    deliveries: tuple[Delivery, ...]


async def with_all_attempts(client: Client, report: RunReport, workflow_id: str, counted: dict[str, int]) -> RunReport:
    """Add the attempts that the report leaves out, except those that are counted. Raises Temporal's `RPCError`."""
    missing = {
        (delivery.id, number)
        for delivery in report.deliveries
        for number in range(counted.get(delivery.id, 0) + 1, delivery.attempts_omitted + 1)
    }
    if not missing:
        return report
    found: Attempts = {}
    async for run_id in _runs(client, workflow_id):
        async for delivery, attempt in _attempts(client, workflow_id, run_id):
            if (delivery, attempt.number) in missing:
                found.setdefault(delivery, {})[attempt.number] = attempt
        if len(missing) == sum(map(len, found.values())):
            break
    deliveries = tuple(_with(delivery, found.get(delivery.id, {})) for delivery in report.deliveries)
    return report._replace(deliveries=deliveries)


def _with(delivery: Delivery, attempts: dict[int, Attempt]) -> Delivery:
    older = tuple(attempt for _, attempt in sorted(attempts.items()))
    return delivery.model_copy(
        update={
            "attempts": (*older, *delivery.attempts),
            "attempts_omitted": delivery.attempts_omitted - len(older),
        }
    )


async def _runs(client: Client, workflow_id: str) -> AsyncIterator[str]:
    """Iterate over the ids of all runs, the latest first."""
    runs = [run async for run in client.list_workflows(f"WorkflowId = {quoted(workflow_id)}")]
    for run in sorted(runs, key=lambda run: run.start_time, reverse=True):
        yield run.run_id


async def _attempts(client: Client, workflow_id: str, run_id: str) -> AsyncIterator[tuple[str, Attempt]]:
    """Iterate over the attempts in a run's history. One that was made again after an internal error comes last.

    Those of the shared run that an event has left are in the input of its own run.
    """
    scheduled: dict[int, HistoryEvent] = {}
    async for event in client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events():
        if event.HasField("workflow_execution_started_event_attributes"):
            payloads = event.workflow_execution_started_event_attributes.input.payloads
            (started,) = await client.data_converter.decode(payloads, [_Deliveries])
            for delivery in started.deliveries:
                for attempt in delivery.attempts:
                    yield delivery.id, attempt
        if event.activity_task_scheduled_event_attributes.activity_type.name in temporal_names.DELIVERING_ACTIVITIES:
            scheduled[event.event_id] = event
        completed = event.activity_task_completed_event_attributes
        if batch := scheduled.pop(completed.scheduled_event_id, None):
            payloads = batch.activity_task_scheduled_event_attributes.input.payloads
            (made,) = await client.data_converter.decode(payloads, [_Batch])
            (result,) = await client.data_converter.decode(completed.result.payloads, [BatchResult])
            (outcomes,) = result.outcomes
            for request, outcome in zip(made.events[0].attempts, outcomes, strict=False):
                if outcome.started_at and outcome.verdict not in NOT_MADE:
                    yield outcome.delivery, _attempt(request, outcome, outcome.started_at)


def _attempt(request: AttemptRequest, outcome: Outcome, started_at: datetime) -> Attempt:
    return Attempt(
        number=request.number,
        trigger=request.trigger,
        started_at=started_at,
        duration_ms=outcome.duration_ms,
        status_code=outcome.status_code,
        error=outcome.error,
    )
