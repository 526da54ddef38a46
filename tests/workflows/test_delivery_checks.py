"""How often a firing looks whether its event is over, on a server that skips time."""

from datetime import datetime, timedelta

from temporalio import activity
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.scheduled_event import ScheduledEventActivities
from activities.tenant_concurrency import TenantConcurrency
from conftest import binary
from hookkeeper import task_queues, temporal_names
from hookkeeper.messages.schedule import EventReference, ScheduledEvent, SchedulePlan
from hookkeeper.search_attributes import FIRED_FOR_KEY
from hookkeeper.services.events.scheduled_ingest import ScheduledEventIngest
from hookkeeper.temporal.gateway import Gateway
from hookkeeper.temporal.server.data_converter import data_converter
from hookkeeper.temporal.workers.serve import WORKFLOW_RUNNER
from workflows.scheduled_event import ScheduledEventWorkflow

MONTH = timedelta(days=30)
QUEUE = "firing-looks"


class HeldEvent(Gateway, ScheduledEventIngest):
    """An event that is accepted, and held for a month of Temporal's time."""

    def __init__(self) -> None:
        self.looks: list[datetime] = []

    async def accept(self, event: ScheduledEvent) -> None:
        return

    async def is_closed_within(self, tenant: str, event_id: str, seconds: float) -> bool:
        self.looks.append(activity.info().started_time)
        return self.looks[-1] - self.looks[0] >= MONTH

    async def cancel_if_open(self, tenant: str, event_id: str) -> None:
        return


async def test_an_event_that_is_held_for_a_month_costs_a_few_hundred_checks() -> None:
    held = HeldEvent()
    firing = ScheduledEventActivities(held, held, TenantConcurrency(10, 10))
    environment = await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=binary("temporal-test-server"), data_converter=data_converter()
    )
    await environment.client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(
            namespace=environment.client.namespace,
            search_attributes={temporal_names.FIRED_FOR: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME},
        )
    )
    async with (
        environment,
        Worker(
            environment.client,
            task_queue=QUEUE,
            workflows=[ScheduledEventWorkflow],
            activities=[firing.accept_scheduled_event],
            workflow_runner=WORKFLOW_RUNNER,
        ),
        Worker(environment.client, task_queue=task_queues.retry_queue(QUEUE), activities=[firing.await_delivery]),
    ):
        fired = await environment.client.execute_workflow(
            ScheduledEventWorkflow.run,
            SchedulePlan(id="daily", tenant="acme", type="report.due"),
            id="firing-acme-daily",
            task_queue=QUEUE,
            search_attributes=TypedSearchAttributes(
                [SearchAttributePair(FIRED_FOR_KEY, datetime.fromisoformat("2026-01-01T09:00:00Z"))]
            ),
        )
    assert fired == EventReference(event_id="daily-20260101T090000Z", tenant="acme")
    assert len(held.looks) < 1_000
    first_hour = [look for look in held.looks if look - held.looks[0] <= timedelta(hours=1)]
    assert len(first_hour) > 20, "a delivery that is over soon is noticed soon"
    pauses = [later - earlier for earlier, later in zip(held.looks, held.looks[1:], strict=False)]
    assert max(pauses) <= timedelta(hours=1, seconds=30)
