"""An acknowledged event needs no attention, until a delivery of it fails again."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cases import each
from hookkeeper.messages.event import Acknowledgement, Attempt, Delivery
from hookkeeper.messages.run_report import RunReport
from hookkeeper.registry.events.conditions import Search
from hookkeeper.registry.store import Store
from hookkeeper.statuses import DeliveryStatus
from reports import reported

NOW = datetime(2026, 1, 10, 12, 34, 56, tzinfo=UTC)
KNOWN = Acknowledgement(at=NOW, by="ada", note="the receiver moves")
Step = tuple[DeliveryStatus, int]
"""The status of a delivery, and how many attempts it has had."""


def report(second: int, *deliveries: Step, event_id: str = "evt_1", parts: int = 1) -> RunReport:
    at = NOW + timedelta(seconds=second)
    made = tuple(
        Delivery(
            id=f"wh_{n}",
            webhook_id=f"wh_{n}",
            status=status,
            attempts=tuple(Attempt(number=k, started_at=NOW, duration_ms=1) for k in range(1, attempts + 1)),
        )
        for n, (status, attempts) in enumerate(deliveries)
    )
    needs_attention = any(status in ("failed", "retrying", "held") for status, _ in deliveries)
    return reported("acme", event_id, NOW, at, made, needs_attention=needs_attention, parts=parts)


async def shown(store: Store, **search: Any) -> dict[str, Acknowledgement | None]:
    rows, _ = await store.index.events(Search(tenant="acme", **search), 10, None)
    return {row.id: Acknowledgement.of(row.acknowledged) for row in rows}


@each("parts", [1, 2])
@each(
    ("before", "after", "stays"),
    [
        ([("failed", 1)], [("failed", 1)], True),
        ([("failed", 1)], [("pending", 1)], True),
        ([("failed", 1)], [("retrying", 2)], True),
        ([("failed", 1)], [("failed", 2)], False),
        ([("retrying", 1)], [("retrying", 2)], True),
        ([("retrying", 1)], [("held", 2)], True),
        ([("retrying", 1)], [("failed", 2)], False),
        ([("failed", 1), ("retrying", 1)], [("failed", 1), ("retrying", 2)], True),
        ([("failed", 1), ("retrying", 1)], [("failed", 1), ("failed", 2)], False),
        ([("failed", 1), ("pending", 0)], [("failed", 1), ("succeeded", 1)], True),
    ],
)
async def test_only_a_new_failure_undoes_it(
    store: Store, before: list[Step], after: list[Step], stays: bool, parts: int
) -> None:
    await store.rows.write([report(0, *before, parts=parts)])
    assert await shown(store, needs_attention=True) == {"evt_1": None}
    assert await store.rows.acknowledge("acme", ["evt_1", "evt_2"], KNOWN) == {"evt_1": True}
    for _ in range(2):  # a record may be repeated
        await store.rows.write([report(1, *after, parts=parts)])
        assert await shown(store, acknowledged=stays) == {"evt_1": KNOWN if stays else None}
        assert await shown(store, needs_attention=not stays) == {"evt_1": KNOWN if stays else None}
    await store.rows.remove("acme", "evt_1")


async def test_a_redelivery_that_fails_undoes_it(store: Store) -> None:
    await store.rows.write([report(0, ("failed", 1))])
    await store.rows.acknowledge("acme", ["evt_1"], KNOWN)
    steps: list[tuple[Step, bool]] = [(("pending", 1), True), (("retrying", 2), True), (("failed", 3), False)]
    for second, (step, stays) in enumerate(steps, start=1):
        await store.rows.write([report(second, step)])
        assert (await shown(store))["evt_1"] == (KNOWN if stays else None)


async def test_what_needs_no_attention_is_not_acknowledged(store: Store) -> None:
    fine = [report(0, ("succeeded", 1), event_id="fine"), report(0, ("failed", 1), event_id="bad")]
    await store.rows.write(fine)
    assert await store.rows.acknowledge("acme", ["fine", "bad"], KNOWN) == {"fine": False, "bad": True}
    assert await store.rows.acknowledge("other", ["bad"], KNOWN) == {}
    again = KNOWN.model_copy(update={"by": "grace"})
    assert await store.rows.acknowledge("acme", ["bad"], again) == {"bad": False}
    assert await store.rows.acknowledge("acme", ["bad"], KNOWN) == {"bad": True}, "a try that is repeated"
    assert await shown(store, acknowledged=True) == {"bad": KNOWN}


async def test_it_is_undone(store: Store) -> None:
    await store.rows.write([report(0, ("failed", 1)), report(0, ("failed", 1), event_id="evt_2")])
    await store.rows.acknowledge("acme", ["evt_1", "evt_2"], KNOWN)
    await store.rows.write([report(1, ("succeeded", 2), event_id="evt_2")])
    for event_id in ("evt_1", "evt_2"):
        assert await store.rows.acknowledge("acme", [event_id], None) == {event_id: True}
    assert await shown(store, needs_attention=True) == {"evt_1": None}
    assert await shown(store, needs_attention=False) == {"evt_2": None}
