"""The deliveries of a webhook: what became of them, how many are held, and what waits in its order."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.access import GuardedRoute, needs
from api.deps import CallerDep, Cursor, GatewayDep, HeldCountsDep, Limit, LinksDep, StoreDep
from api.problems import KEYED, responses
from api.routes.webhooks import WebhookId
from api.schemas.recoveries import HeldCount, QueueState, WebhookDelivery
from api.views import links_of
from hookkeeper.links import LinkBuilder
from hookkeeper.messages.event import DeliveryStatus
from hookkeeper.services.fields import Page
from hookkeeper.services.webhooks import found
from hookkeeper.temporal.delivery_list import ListedDelivery

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.get("/{webhook_id}/deliveries", responses=responses(404), dependencies=[needs("events:read")])
async def list_deliveries(
    cursor: Cursor,
    webhook_id: WebhookId,
    store: StoreDep,
    gateway: GatewayDep,
    caller: CallerDep,
    links: LinksDep,
    status: Annotated[DeliveryStatus | None, Query(description="Only deliveries with this status")] = None,
    limit: Limit = 50,
) -> Page[WebhookDelivery]:
    """List the deliveries of a webhook: open ones first, then finished ones, each newest first.

    A page can have fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    found(await store.get(webhook_id, caller.tenant))
    rows, next_cursor = await gateway.deliveries.page(webhook_id, status, limit, cursor.start)
    return cursor.page([_shown(row, links) for row in rows], next_cursor)


@router.get(
    "/{webhook_id}/held", summary="Count held events", responses=responses(404), dependencies=[needs("events:read")]
)
async def count_held(
    webhook_id: WebhookId, store: StoreDep, gateway: GatewayDep, caller: CallerDep, counts: HeldCountsDep
) -> HeldCount:
    """Count the events with held deliveries: the webhook is paused or disabled, or a command holds them."""
    found(await store.get(webhook_id, caller.tenant))
    count, counted_at = await counts.of(webhook_id, gateway.releases.held)
    return HeldCount(webhook_id=webhook_id, held=count, counted_at=counted_at)


@router.get("/{webhook_id}/queue", responses=responses(404), dependencies=[needs("events:read")])
async def show_queue(webhook_id: WebhookId, store: StoreDep, gateway: GatewayDep, caller: CallerDep) -> QueueState:
    """Show the queue of an ordered webhook, and whether it is stuck."""
    found(await store.get(webhook_id, caller.tenant))
    queue = await gateway.ordered_queues.state(webhook_id)
    return QueueState(webhook_id=webhook_id, waiting=queue.waiting, head=queue.head, stuck_since=queue.stuck_since)


def _shown(row: ListedDelivery, links: LinkBuilder) -> WebhookDelivery:
    run = row.run
    return WebhookDelivery(
        event_id=run.event_id,
        type=run.type,
        tenant=run.tenant,
        status=row.status,
        accepted_at=run.accepted_at,
        finished_at=run.finished_at,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        links=links_of(links, run.tenant, run.event_id, run.workflow_id, run.run_id),
    )
