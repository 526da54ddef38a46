"""Previews of what a webhook sends."""

from fastapi import APIRouter, Request

from api.access import Caller, GuardedRoute, needs
from api.deps import CallerDep, StoreDep
from api.previewing import Preview, Previewer, PreviewRequest, check_one_of_the_two, unsaved
from api.problems import KEYED, NotFound, responses
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.patterns import patterns_for
from hookkeeper.registry.store import Store

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    route_class=GuardedRoute,
    responses=KEYED,
)


@router.post("/preview", responses=responses(404), dependencies=[needs("webhooks:read")])
async def preview_webhook(wanted: PreviewRequest, store: StoreDep, caller: CallerDep, request: Request) -> Preview:
    """Show what a webhook, registered or not, would send for an event. Nothing is sent, and secrets are masked."""
    check_one_of_the_two(wanted)
    webhook = await _webhook(wanted, request, store, caller)
    event = wanted.event
    if "data" not in event.model_fields_set and (known := await store.catalogue.get(event.type)) and known.examples:
        event = event.model_copy(update={"data": known.examples[0]})
    listens = not set(patterns_for(event.type)).isdisjoint(webhook.events)
    state = request.app.state
    return await Previewer(state.sandbox, webhook, event, listens, state.settings.max_body_bytes).preview()


async def _webhook(wanted: PreviewRequest, request: Request, store: Store, caller: Caller) -> Webhook:
    if wanted.webhook:
        new = caller.own(wanted.webhook)
        await request.app.state.written.for_(new.tenant).check(dict(new))
        return unsaved(new)
    webhook = await store.get(wanted.webhook_id or "", caller.tenant)
    if webhook is None:
        raise NotFound("There is no such webhook.")
    return webhook
