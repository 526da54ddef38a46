"""What would be sent?"""

from fastapi import APIRouter, Request

from api.deps import StoreDep
from api.errors import NotFound, responses
from api.previewing import Preview, Previewer, PreviewRequest, check_one_of_the_two, unsaved
from api.requests import StrictRoute
from registry.models import Webhook
from registry.patterns import patterns_for
from registry.store import Store

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    route_class=StrictRoute,
    responses=responses(400, 401, 413, 415, 422, 503),
)


@router.post("/preview", responses=responses(404))
async def preview_webhook(wanted: PreviewRequest, store: StoreDep, request: Request) -> Preview:
    """Show what an event would send through a webhook, registered or not. Nothing is sent, and secrets are masked."""
    check_one_of_the_two(wanted)
    webhook = await _webhook(wanted, request, store)
    event = wanted.event
    if "data" not in event.model_fields_set and (known := await store.catalogue.get(event.type)) and known.examples:
        event = event.model_copy(update={"data": known.examples[0]})
    listens = not set(patterns_for(event.type)).isdisjoint(webhook.events)
    return await Previewer(request.app.state.sandbox, webhook, event, listens).preview()


async def _webhook(wanted: PreviewRequest, request: Request, store: Store) -> Webhook:
    if wanted.webhook:
        await request.app.state.written.check(dict(wanted.webhook))
        return unsaved(wanted.webhook)
    webhook = await store.get(wanted.webhook_id or "")
    if webhook is None:
        raise NotFound("There is no such webhook.")
    return webhook
