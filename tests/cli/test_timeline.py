"""The timeline of an event: one line for each attempt, receipt and change of status."""

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from api.schemas import events as schemas
from cli.client import event_views
from cli.client.api import Api
from receivers import Answer, Receiver

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ANN = "ann@acme.example"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def attempt(number: int, seconds: float, **fields: Any) -> schemas.AttemptView:
    known: dict[str, Any] = {
        "trigger": "scheduled",
        "duration_ms": 12.3,
        "queue_ms": None,
        "connect_ms": None,
        "first_byte_ms": None,
        "status_code": None,
        "error": None,
        "request_digest": None,
        "response_headers": {},
        "response_excerpt": "",
    }
    return schemas.AttemptView(number=number, started_at=at(seconds), **known | fields)


def receipt(kind: Any, seconds: float, detail: str = "") -> schemas.ReceiptView:
    return schemas.ReceiptView(attempt=1, address=ANN, kind=kind, at=at(seconds), detail=detail)


def delivery(
    channel: Any, target: str, status: Any, *attempts: schemas.AttemptView, **fields: Any
) -> schemas.DeliveryView:
    known: dict[str, Any] = {
        "reason": None,
        "next_attempt_at": None,
        "attempts_omitted": 0,
        "awaiting": [],
        "receipts": [],
    }
    return schemas.DeliveryView(
        id=f"wh_1.{channel}",
        webhook_id="wh_1",
        channel=channel,
        target=target,
        status=status,
        attempts=list(attempts),
        **known | fields,
    )


def event(status: Any, *deliveries: schemas.DeliveryView) -> schemas.EventView:
    return schemas.EventView(
        id="evt_1",
        type="order.paid",
        tenant="acme",
        status=status,
        accepted_at=START,
        finished_at=None,
        deliver_at=None,
        channels=[],
        left_out=[],
        workflow_id="event-acme-evt_1",
        run_id="r",
        links=schemas.EventLinks(self="https://hooks.example/v1/events/evt_1", temporal=None),
        timestamp=START,
        data=None,
        acknowledged=None,
        deliveries=list(deliveries),
    )


async def followed(server: Receiver, *states: schemas.EventView) -> list[str]:
    """Follow an event while the API returns these states one after the other; return the printed lines."""
    output = io.StringIO()
    server.answers = [Answer(200, state.model_dump_json()) for state in states]
    api, console = Api(server.url, None), Console(file=output, width=200)
    await asyncio.to_thread(event_views.follow, api, console, "evt_1", "acme", sleep=lambda seconds: None)
    api.close()
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


def shown(state: schemas.EventView) -> list[str]:
    output = io.StringIO()
    event_views.show(Console(file=output, width=200), state.model_dump(mode="json"))
    return [" ".join(line.split()) for line in output.getvalue().splitlines()]


async def test_an_email_is_followed_until_it_has_arrived(inbox: Receiver) -> None:
    accepted = attempt(1, 0.2, status_code=202, response_excerpt="accepted as m1")
    waits = {"awaiting": [ANN], "receipts": [receipt("deferred", 1, "[busy]")]}
    arrived = {"receipts": [receipt("deferred", 1, "[busy]"), receipt("delivered", 90)]}
    lines = await followed(
        inbox,
        event("delivering", delivery("email", ANN, "pending")),
        event("delivering", delivery("email", ANN, "sent", accepted, awaiting=[ANN])),
        event("delivering", delivery("email", ANN, "sent", accepted, **waits)),
        event("succeeded", delivery("email", ANN, "succeeded", accepted, **arrived)),
    )
    assert lines == [
        f"0.2 s ✓ attempt 1 email to {ANN} → 202 12 ms “accepted as m1”",
        f"email to {ANN} sent, waiting for delivery to {ANN}",
        f"1.0 s · deferred for {ANN} “[busy]”",
        f"1.5 min ✓ delivered to {ANN}",
    ]


async def test_an_email_that_bounces_has_failed(inbox: Receiver) -> None:
    accepted = attempt(1, 0.2, status_code=250, response_excerpt="2.0.0 Ok")
    bounce = {"reason": "bounced", "receipts": [receipt("bounced", 2, "550 no such user")]}
    final = event("failed", delivery("email", ANN, "failed", accepted, **bounce))
    assert await followed(inbox, final) == [
        f"0.2 s ✓ attempt 1 email to {ANN} → 250 12 ms “2.0.0 Ok”",
        f"2.0 s ✗ bounced from {ANN} “550 no such user”",
        f"email to {ANN} failed (bounced)",
    ]
    assert shown(final) == [
        "evt_1 order.paid tenant acme failed",
        "accepted 2026-01-02T03:04:05.000Z",
        "",
        f"email to {ANN} failed (bounced) wh_1.email",
        "0.2 s ✓ attempt 1 250 12 ms “2.0.0 Ok”",
        f"2.0 s ✗ bounced from {ANN} “550 no such user”",
    ]


async def test_each_channel_has_its_own_text(inbox: Receiver) -> None:
    """SMTP codes have no HTTP phrase; a response that breaks off has a code and a reason; brackets are no markup."""
    hook = delivery(
        "webhook",
        "https://acme.example/[hook]",
        "succeeded",
        attempt(1, 0.1, status_code=500, error="http_500"),
        attempt(2, 1, status_code=200, error="timeout", response_excerpt="[b]"),
        attempt(3, 2, status_code=200, trigger="manual", response_excerpt="thank you"),
    )
    email = delivery("email", ANN, "failed", attempt(1, 0.2, status_code=451, error="smtp_451"), reason="exhausted")
    note = delivery("notification", "slack", "succeeded", attempt(1, 0.3, status_code=200, response_excerpt="ok"))
    lines = await followed(inbox, event("failed", hook, email, note))
    assert lines == [
        "0.1 s ✗ attempt 1 POST https://acme.example/[hook] → 500 12 ms “Internal Server Error”",
        f"0.2 s ✗ attempt 1 email to {ANN} → 451 12 ms",
        "0.3 s ✓ attempt 1 notify slack → 200 12 ms",
        "1.0 s ✗ attempt 2 POST https://acme.example/[hook] → 200, timeout 12 ms “[b]”",
        "2.0 s ✓ attempt 3 POST https://acme.example/[hook] → 200 12 ms manual",
        f"email to {ANN} failed (exhausted)",
    ]


async def test_a_held_or_cancelled_delivery_is_printed_once(inbox: Receiver) -> None:
    failed = attempt(1, 0.1, error="connection_refused")

    def state(status: Any, delivery_status: Any, **fields: Any) -> schemas.EventView:
        return event(status, delivery("webhook", "https://a.example/", delivery_status, failed, **fields))

    held = state("delivering", "held", reason="webhook_disabled")
    lines = await followed(inbox, state("delivering", "retrying"), held, held, state("cancelled", "cancelled"))
    assert lines == [
        "0.1 s ✗ attempt 1 POST https://a.example/ → connection refused 12 ms",
        "POST https://a.example/ held (webhook disabled)",
        "POST https://a.example/ cancelled",
    ]


async def test_without_a_terminal_each_long_wait_is_announced_once(inbox: Receiver) -> None:
    def state(delivery_status: Any, due: datetime | None, *attempts: schemas.AttemptView) -> schemas.EventView:
        hook = delivery("webhook", "https://a.example/", delivery_status, *attempts, next_attempt_at=due)
        return event("failed" if delivery_status == "failed" else "delivering", hook)

    failed = [attempt(number, number, error="connection_refused") for number in (1, 2, 3)]
    soon, later = datetime.now(UTC), datetime.now(UTC) + timedelta(hours=2, minutes=1)
    retrying, last = state("retrying", later, *failed[:2]), state("failed", None, *failed)
    lines = await followed(inbox, state("retrying", soon, failed[0]), retrying, retrying, last)
    assert lines == [
        "1.0 s ✗ attempt 1 POST https://a.example/ → connection refused 12 ms",
        "2.0 s ✗ attempt 2 POST https://a.example/ → connection refused 12 ms",
        "next attempt in 2.02 h",
        "3.0 s ✗ attempt 3 POST https://a.example/ → connection refused 12 ms",
        "POST https://a.example/ failed",
    ]
