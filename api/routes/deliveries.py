"""The deliveries of a webhook: their states, the number of held ones, and the queue of an ordered webhook."""

from typing import Annotated

from fastapi import APIRouter, Query

from api import views
from api.access import GuardedRoute, needs
from api.deps import Cursor, GatewayDep, HeldCountsDep, KnownWebhook, Limit, LinksDep
from api.problems import KEYED, responses
from api.schemas.recoveries import HeldCount, QueueState, WebhookDelivery
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.services.fields import Page

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.get("/{webhook_id}/deliveries", responses=responses(404), dependencies=[needs("events:read")])
async def list_deliveries(
    cursor: Cursor,
    webhook: KnownWebhook,
    gateway: GatewayDep,
    links: LinksDep,
    status: Annotated[DeliveryStatus | None, Query(description="Only deliveries with this status")] = None,
    limit: Limit = 50,
) -> Page[WebhookDelivery]:
    """List the deliveries of a webhook: open ones first, then finished ones, each newest first.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    rows, next_cursor = await gateway.deliveries.page(webhook.id, status, limit, cursor.start)
    return cursor.page([views.delivery(row, links) for row in rows], next_cursor)


@router.get(
    "/{webhook_id}/held", summary="Count held events", responses=responses(404), dependencies=[needs("events:read")]
)
async def count_held(webhook: KnownWebhook, gateway: GatewayDep, counts: HeldCountsDep) -> HeldCount:
    """Count the events with held deliveries: the webhook is paused or disabled, or a command holds them."""
    count, counted_at = await counts.of(webhook.id, gateway.releases.held)
    return HeldCount(webhook_id=webhook.id, held=count, counted_at=counted_at)


@router.get("/{webhook_id}/queue", responses=responses(404), dependencies=[needs("events:read")])
async def show_queue(webhook: KnownWebhook, gateway: GatewayDep) -> QueueState:
    """Show the queue of an ordered webhook, and whether it is stuck."""
    return QueueState.of(await gateway.ordered_queues.state(webhook.id), webhook_id=webhook.id)
