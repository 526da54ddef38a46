"""Pause webhooks and let them go on."""

from fastapi import APIRouter

from api import views
from api.access import GuardedRoute, needs
from api.deps import CallerDep, GatewayDep, StoreDep
from api.problems import KEYED, responses
from api.releasing import release_held
from api.routes.webhooks import WebhookId, found
from api.schemas import webhooks as schemas

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.post("/{webhook_id}/pause", responses=responses(404), dependencies=[needs("webhooks:write")])
async def pause_webhook(webhook_id: WebhookId, store: StoreDep, caller: CallerDep) -> schemas.Webhook:
    """Hold deliveries until the webhook is resumed. In-flight attempts finish; manual retries are still sent."""
    known = found(await store.get(webhook_id, caller.tenant))
    entry = caller.did("webhook.pause", webhook_id, known.tenant)
    return views.webhook(found(await store.pauses.set(webhook_id, caller.tenant, True, entry)))


@router.post("/{webhook_id}/resume", responses=responses(404), dependencies=[needs("webhooks:write")])
async def resume_webhook(
    webhook_id: WebhookId, store: StoreDep, gateway: GatewayDep, caller: CallerDep
) -> schemas.Webhook:
    """Resume a webhook. Held deliveries are released in the background, oldest first, as fast as the receiver allows.

    Repeat the request after a 503: the webhook may be resumed already, without the release of its held deliveries.
    """
    known = found(await store.get(webhook_id, caller.tenant))
    entry = caller.did("webhook.resume", webhook_id, known.tenant)
    resumed = found(await store.pauses.set(webhook_id, caller.tenant, False, entry))
    await release_held(gateway, resumed)
    return views.webhook(resumed)
