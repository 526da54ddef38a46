"""Webhooks: preview, register, change, remove, pause; their signing keys, test events and deliveries."""

from fastapi import APIRouter, Response

from api import views
from api.access import GuardedRoute, needs
from api.deps import (
    CallerDep,
    Cursor,
    GatewayDep,
    HeldCountsDep,
    IndexDep,
    KnownWebhook,
    Limit,
    LinksDep,
    StoreDep,
    WebhooksDep,
    WebhookTenant,
)
from api.errors import naming_event
from api.filters import DeliverySearch, Total, WebhookSearch
from api.problems import EVENT_ID_HEADER, KEYED, NAMES_EVENT, responses
from api.schemas.events import AcceptedEvent
from api.schemas.recoveries import HeldCount, QueueState, WebhookDelivery
from api.schemas.webhooks import PreviewRequest, SecretRotation, TestEventRequest, WebhookSecret
from hookkeeper.services.errors import Invalid
from hookkeeper.services.events.new_event import new_event_id
from hookkeeper.services.fields import CountedPage, Page
from hookkeeper.services.webhooks.fields import NewWebhook, WebhookChanges, WebhookView, WebhookWithSecret
from hookkeeper.services.webhooks.preview import Preview
from hookkeeper.services.webhooks.webhooks import require

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.post("/preview", responses=responses(404), dependencies=[needs("webhooks:read")])
async def preview_webhook(
    preview: PreviewRequest, store: StoreDep, caller: CallerDep, webhooks: WebhooksDep, tenant: WebhookTenant
) -> Preview:
    """Show what a webhook, registered or not, would send for an event. Nothing is sent, and secrets are masked."""
    if (preview.webhook is None) == (preview.webhook_id is None):
        raise Invalid("Give either webhook or webhook_id.")
    if preview.webhook:
        webhook = await webhooks.draft(dict(caller.with_tenant(preview.webhook)))
    else:
        webhook = require(await store.webhooks.get(preview.webhook_id or "", tenant))
    return await webhooks.preview(webhook, preview.event)


@router.post("", status_code=201, responses=responses(409, 410), dependencies=[needs("webhooks:write")])
async def create_webhook(new: NewWebhook, caller: CallerDep, webhooks: WebhooksDep) -> WebhookWithSecret:
    """Register a webhook. The response contains its signing key."""
    created = await webhooks.create(dict(caller.with_tenant(new)), new.model_fields_set)
    return views.webhook_with_secret(created)


@router.get("", dependencies=[needs("webhooks:read")])
async def list_webhooks(cursor: Cursor, store: StoreDep, search: WebhookSearch, limit: Limit = 50) -> Page[WebhookView]:
    """List webhooks, newest first.

    A page ends after about 1 MiB of configuration, or after 500 webhooks that were compared with `q`, so it can have
    fewer items than `limit` without being the last one: only `next_cursor` tells.
    """
    found, next_cursor = await store.webhooks.page(**search._asdict(), limit=limit, cursor=cursor.start)
    return cursor.page([views.webhook(row) for row in found], next_cursor)


@router.get("/{webhook_id}", responses=responses(404), dependencies=[needs("webhooks:read")])
async def show_webhook(webhook: KnownWebhook) -> WebhookView:
    """Show a webhook, without its secret."""
    return views.webhook(webhook)


@router.patch("/{webhook_id}", responses=responses(404, 409), dependencies=[needs("webhooks:write")])
async def change_webhook(webhook: KnownWebhook, changes: WebhookChanges, webhooks: WebhooksDep) -> WebhookView:
    """Change the fields that are sent. Deliveries that wait for a retry use the new values at their next attempt.

    Enabling a webhook releases its held deliveries, oldest first, as `POST …/resume` does. 409 means that other
    requests keep changing the webhook at the same time, or that another webhook of the tenant has the `uid`.
    """
    given = {name: getattr(changes, name) for name in changes.model_fields_set}
    return views.webhook(await webhooks.change(webhook.id, given))


@router.delete("/{webhook_id}", status_code=204, responses=responses(404), dependencies=[needs("webhooks:write")])
async def delete_webhook(webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Remove a webhook. Its open deliveries are cancelled when their next attempt is due."""
    await webhooks.delete(webhook)
    return Response(status_code=204)


@router.get(
    "/{webhook_id}/secret",
    summary="Show signing key",
    responses=responses(404),
    dependencies=[needs("webhooks:secrets", "webhooks:write")],
)
async def show_secret(webhook: KnownWebhook, webhooks: WebhooksDep) -> WebhookSecret:
    """Show the signing key, which can sign any request: `webhooks:read` is not enough. The audit log has who did."""
    await webhooks.note_shown(webhook)
    return views.secret(webhook)


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Rotate signing key",
    responses=responses(404, 409),
    dependencies=[needs("webhooks:write")],
)
async def rotate_secret(
    webhook: KnownWebhook, webhooks: WebhooksDep, rotation: SecretRotation | None = None
) -> WebhookSecret:
    """Set a new signing key. During the grace period both keys sign, so that receivers can switch.

    Until it ends, a further rotation is answered with 409, because it would end the key that receivers may still have:
    `end_previous` or a `grace` of 0 ends it. Repeated with its `secret`, the request changes nothing.
    """
    rotation = rotation or SecretRotation()
    return views.secret(await webhooks.rotate_secret(webhook, rotation.model_fields_set, **dict(rotation)))


@router.post(
    "/{webhook_id}/test",
    summary="Send a test event",
    status_code=202,
    responses={
        200: {"model": AcceptedEvent, "description": "The event was accepted before", "headers": NAMES_EVENT},
        202: {"headers": NAMES_EVENT},
        **{status: answer | {"headers": NAMES_EVENT} for status, answer in responses(404, 409, 503).items()},
    },
    dependencies=[needs("webhooks:write")],
)
async def send_test(
    webhook: KnownWebhook,
    response: Response,
    webhooks: WebhooksDep,
    links: LinksDep,
    test: TestEventRequest | None = None,
) -> AcceptedEvent:
    """Send a real, signed event to this webhook only, even if it is disabled.

    By default it is the example of an event type of the catalogue that the webhook gets, else `hookkeeper.test`. Its
    data must match the schema of its type.

    After a 503, the event may or may not have been accepted. Repeat the request with the `event_id` of the problem as
    its `id`, as for `POST /v1/events`.
    """
    test = test or TestEventRequest()
    event_id = test.id or new_event_id()
    response.headers[EVENT_ID_HEADER] = event_id
    with naming_event(event_id):
        started = await webhooks.send_test(webhook, test, event_id)
    if started.duplicate:
        response.status_code = 200
    return views.accepted(started, links)


@router.post("/{webhook_id}/pause", responses=responses(404), dependencies=[needs("webhooks:write")])
async def pause_webhook(webhook: KnownWebhook, webhooks: WebhooksDep) -> WebhookView:
    """Hold deliveries until the webhook is resumed. In-flight attempts finish; manual retries are still sent."""
    return views.webhook(await webhooks.pause(webhook))


@router.post("/{webhook_id}/resume", responses=responses(404), dependencies=[needs("webhooks:write")])
async def resume_webhook(webhook: KnownWebhook, webhooks: WebhooksDep) -> WebhookView:
    """Resume a webhook. Held deliveries are released in the background, oldest first, as fast as the receiver allows.

    Repeat the request after a 503: the webhook may be resumed already, without the release of its held deliveries.
    """
    return views.webhook(await webhooks.resume(webhook))


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
