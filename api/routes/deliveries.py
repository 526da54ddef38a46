"""The deliveries of a webhook: their states, the number of held ones, and the queue of an ordered webhook."""

from fastapi import APIRouter

from api import views
from api.access import GuardedRoute, needs
from api.deps import Cursor, GatewayDep, HeldCountsDep, IndexDep, KnownWebhook, Limit, LinksDep
from api.filters import DeliverySearch, Total
from api.problems import KEYED, responses
from api.schemas.recoveries import HeldCount, QueueState, WebhookDelivery
from hookkeeper.services.fields import CountedPage

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.get("/{webhook_id}/deliveries", responses=responses(404), dependencies=[needs("events:read")])
async def list_deliveries(
    cursor: Cursor, index: IndexDep, links: LinksDep, search: DeliverySearch, total: Total = False, limit: Limit = 50
) -> CountedPage[WebhookDelivery]:
    """List the deliveries of a webhook, newest event first.

    What an event's workflow does is listed when it waits for its next step.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    rows, next_cursor = await index.deliveries(search, limit, cursor.start)
    count = await index.count_deliveries(search) if total else None
    return cursor.counted_page([views.delivery(row, links) for row in rows], next_cursor, count)


@router.get(
    "/{webhook_id}/held", summary="Count held events", responses=responses(404), dependencies=[needs("events:read")]
)
async def count_held(webhook: KnownWebhook, index: IndexDep, counts: HeldCountsDep) -> HeldCount:
    """Count the events with held deliveries: the webhook is paused or disabled, or a command holds them."""
    count, counted_at = await counts.of(webhook.id, index.count_held)
    return HeldCount(webhook_id=webhook.id, held=count, counted_at=counted_at)


@router.get("/{webhook_id}/queue", responses=responses(404), dependencies=[needs("events:read")])
async def show_queue(webhook: KnownWebhook, gateway: GatewayDep) -> QueueState:
    """Show the queue of an ordered webhook, and whether it is stuck."""
    return QueueState.of(await gateway.lines.state(webhook.id), webhook_id=webhook.id)
