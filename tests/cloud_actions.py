"""Counts the actions that Temporal Cloud would bill, https://docs.temporal.io/cloud/actions, and requests to it."""

import asyncio
from collections import Counter
from functools import cache

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig

COUNTED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: "run",
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: "start of a child",  # which counts as a run as well
    EventType.EVENT_TYPE_TIMER_STARTED: "timer",
    EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: "search attributes",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: "signal",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: "update",
    EventType.EVENT_TYPE_MARKER_RECORDED: "marker",
}
IN_REQUESTS = {"RecordActivityTaskHeartbeat": "heartbeat", "QueryWorkflow": "query"}
"""What no history shows."""


class Actions:
    """The actions of all runs of a task queue."""

    def __init__(self, client: Client, metrics: MetricBuffer) -> None:
        self.client = client
        """The client for all actions: it counts its requests."""
        self._metrics = metrics
        self._metrics.retrieve_updates()  # those of earlier tests
        self._requests: Counter[str] = Counter()

    async def of(self, task_queue: str) -> Counter[str]:
        """Return the actions until now, by their kinds."""
        requests = self.requests()
        counted = Counter({kind: requests[operation] for operation, kind in IN_REQUESTS.items()})
        async for run in self.client.list_workflows(f"TaskQueue = '{task_queue}'"):
            handle = self.client.get_workflow_handle(run.id, run_id=run.run_id)
            for event in (await handle.fetch_history()).events:
                counted += _of_event(event)
        return counted

    def requests(self) -> Counter[str]:
        """Return the requests until now, by their operations."""
        for update in self._metrics.retrieve_updates():
            if update.metric.name == "temporal_request":
                self._requests[str(update.attributes.get("operation"))] += int(update.value)
        return self._requests

    async def until_heartbeats(self, count: int) -> None:
        while self.requests()["RecordActivityTaskHeartbeat"] < count:
            await asyncio.sleep(0.02)


def _of_event(event: HistoryEvent) -> Counter[str]:
    if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
        return Counter({"activity": event.activity_task_started_event_attributes.attempt})
    started = event.workflow_execution_started_event_attributes
    if "TemporalScheduledById" in started.search_attributes.indexed_fields:
        return Counter({"run": 1, "schedule": 2})
    kind = COUNTED.get(event.event_type)
    return Counter({kind: 1}) if kind else Counter()


async def counting(client: Client) -> Actions:
    """Count from now on, with a further client of the same server."""
    runtime, metrics = _measured()
    config = client.service_client.config
    counted = await Client.connect(
        config.target_host,
        namespace=client.namespace,
        data_converter=client.data_converter,
        runtime=runtime,
    )
    return Actions(counted, metrics)


@cache
def _measured() -> tuple[Runtime, MetricBuffer]:
    """Make the runtime once: its threads stay."""
    metrics = MetricBuffer(100_000)
    return Runtime(telemetry=TelemetryConfig(metrics=metrics)), metrics
