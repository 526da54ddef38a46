"""The search attributes of a run: what the Temporal web UI finds, and what it costs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory

from hookkeeper import temporal_names
from hookkeeper.commands import reopen
from hookkeeper.messages.event import Delivery, EventInput
from hookkeeper.messages.partition import parts_of
from hookkeeper.search_attributes import (
    DELIVER_AT_KEY,
    EVENT_TYPE_KEY,
    EVENTS_KEY,
    NEEDS_ATTENTION_KEY,
    TENANT_KEY,
    memo,
    search_attributes,
    shared_search_attributes,
)
from hookkeeper.statuses import DeliveryStatus

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HISTORIES = sorted((Path(__file__).parent / "histories").rglob("*.json"))
CLOSES = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
}


def event(*deliveries: Delivery, deliver_at: datetime | None = None) -> EventInput:
    return EventInput(
        id="evt_1",
        type="order.paid",
        tenant="acme",
        timestamp=NOW,
        accepted_at=NOW,
        data={},
        digest="abc",
        deliver_at=deliver_at,
        deliveries=deliveries,
    )


def attributes(event: EventInput, run_number: int = 1) -> dict[str, object]:
    return {pair.key.name: pair.value for pair in search_attributes(event, run_number)}


OF_EVERY_EVENT = {"HookTenant": "acme", "HookEventType": "order.paid"}
PLAIN = Delivery(id="wh_1", webhook_id="wh_1")
OTHER = Delivery(id="wh_2", webhook_id="wh_2")
LATER = NOW + timedelta(days=1)


def test_a_plain_event_has_its_tenant_and_type_only() -> None:
    assert attributes(event(PLAIN)) == OF_EVERY_EVENT
    assert memo(event(PLAIN), 1) == {"digest": "abc", "accepted_at": NOW}


def test_an_event_lists_what_needs_attention_and_its_time() -> None:
    held = PLAIN.model_copy(update={"status": "held"})
    assert attributes(event(held, OTHER, deliver_at=LATER)) == OF_EVERY_EVENT | {
        "HookNeedsAttention": ["wh_1"],
        "HookDeliverAt": LATER,
    }


@pytest.mark.parametrize("status", ["retrying", "held", "failed"])
def test_an_event_that_was_in_a_shared_run_needs_attention_from_the_start(status: DeliveryStatus) -> None:
    continued = PLAIN.model_copy(update={"status": status})
    assert attributes(event(continued)) == OF_EVERY_EVENT | {"HookNeedsAttention": ["wh_1"]}


def shared(*events: EventInput) -> dict[str, object]:
    attributes = shared_search_attributes(events)
    return {pair.key.name: pair.value for pair in attributes}


def test_a_shared_run_lists_its_events() -> None:
    second = event(PLAIN).model_copy(update={"id": "evt_2"})
    assert shared(event(PLAIN), second) == OF_EVERY_EVENT | {"HookEvents": ["evt_1", "evt_2"]}


def test_a_shared_run_of_several_tenants_and_types_has_neither() -> None:
    second = event(PLAIN).model_copy(update={"id": "evt_2", "tenant": "zeta", "type": "order.sent"})
    assert shared(event(PLAIN), second) == {"HookEvents": ["evt_1", "evt_2"]}


def test_a_redelivery_does_not_wait_for_its_time() -> None:
    failed = OTHER.model_copy(update={"status": "failed"})
    again = event(*reopen("retry", [PLAIN.model_copy(update={"status": "succeeded"}), failed], None), deliver_at=LATER)
    assert attributes(again, 2) == OF_EVERY_EVENT
    assert memo(again, 2) == {"digest": "abc", "accepted_at": NOW, "run_number": 2}


def test_of_several_runs_of_an_event_each_has_the_attributes_of_its_own_deliveries() -> None:
    deliveries = [Delivery(id=f"wh_{n:03}", webhook_id=f"wh_{n:03}", status="held") for n in range(101)]
    first, second = parts_of(event(*deliveries))
    assert attributes(event(*deliveries)) == attributes(first)
    assert attributes(first)["HookNeedsAttention"] == [f"wh_{n:03}" for n in range(100)]
    assert attributes(second)["HookNeedsAttention"] == ["wh_100"]


def test_each_attribute_is_registered() -> None:
    keys = (TENANT_KEY, EVENT_TYPE_KEY, NEEDS_ATTENTION_KEY, DELIVER_AT_KEY, EVENTS_KEY)
    assert {key.name for key in keys} == set(temporal_names.SEARCH_ATTRIBUTES)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_the_step_that_closes_a_run_writes_none(path: Path) -> None:
    """A write would be an event in history, and one more write of visibility, just before that of the close."""
    history: list[HistoryEvent] = list(WorkflowHistory.from_json(path.stem, path.read_text()).events)
    if history[-1].event_type not in CLOSES:
        return
    last_task = max(
        n for n, event in enumerate(history) if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    )
    assert not any(
        event.event_type == EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES for event in history[last_task:]
    )
