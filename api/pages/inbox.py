"""Inboxes: one is made together with a webhook to it and a first event, and shows what arrives."""

from fastapi import APIRouter, Request, Response

from api.access import needs
from api.authenticator import with_scope
from api.caller import Caller
from api.deps import CallerDep, EventEntryDep, SettingsDep, StoreDep, Tenant, ValidatorDep
from api.inboxes import ReceivedRequest
from api.pages.rendering import json_text, query, redirect, render
from api.pages.routes import PageRoute
from api.problems import Problem
from api.routes import webhooks as api
from api.routes.inbox import PathToken
from api.routes.post_events import accept_event
from api.state import state_of
from api.strict_json import parse
from hookkeeper.registry.store import Store
from hookkeeper.registry.webhooks import WebhookAddress
from hookkeeper.services.errors import NotFound
from hookkeeper.services.new_event import NewEvent
from hookkeeper.services.webhook_fields import NewWebhook
from hookkeeper.settings import Settings

router = APIRouter(prefix="/inbox", include_in_schema=False, route_class=PageRoute)
FIRST_EVENT = {"type": "order.paid", "data": {"order": 4711, "amount": "12.50"}}
MAX_COMPARED = 200
"""Latest webhooks of a tenant among which that of an inbox is looked for."""


@router.post("/new", dependencies=[needs("webhooks:write")])
async def make_inbox(
    request: Request,
    store: StoreDep,
    caller: CallerDep,
    validator: ValidatorDep,
    settings: SettingsDep,
    entry: EventEntryDep,
    tenant: Tenant,
) -> Response:
    """Make an inbox and a webhook to it, send a first event, and go to the inbox."""
    _check_on(settings)
    with_scope(caller, frozenset({"events:write"}))
    token = state_of(request).inboxes.new_token(tenant)
    new = NewWebhook(name="Inbox", url=_url(settings, token), tenant=tenant)
    await api.create_webhook(new, store, caller, validator, settings)
    event = await accept_event(NewEvent.model_validate(FIRST_EVENT | {"tenant": tenant}), entry)
    return redirect(query(f"/inbox/{token}", event=event.id))


@router.get("/{token}", dependencies=[needs("events:read")])
async def show_inbox(
    request: Request,
    token: PathToken,
    store: StoreDep,
    caller: CallerDep,
    settings: SettingsDep,
    event: str = "",
) -> Response:
    """Show what has arrived."""
    _check_on(settings)
    inboxes = state_of(request).inboxes
    tenant = inboxes.tenant_of(token)
    if tenant is None or caller.tenant not in (None, tenant):
        raise NotFound("There is no such inbox.")
    webhooks = await _webhooks(store, tenant, _url(settings, token))
    return await render(
        request,
        "inbox.html",
        address=_url(settings, token),
        webhook=webhooks[0] if webhooks and _reads_webhooks(caller) else None,
        requests=list(inboxes.requests(token)),
        keys=[webhook.secret for webhook in webhooks],
        text=_text,  # the thread that renders the page parses the bodies and checks the signatures
        tenant=tenant,
        event=event,
        api=settings.public_url,
    )


async def _webhooks(store: Store, tenant: str, url: str) -> list[WebhookAddress]:
    """Return the webhooks of the tenant that deliver to the inbox."""
    return [webhook for webhook in await store.webhooks.addresses(tenant, MAX_COMPARED) if webhook.url == url]


def _check_on(settings: Settings) -> None:
    if not settings.inboxes:
        raise NotFound("Inboxes are off: HOOKKEEPER_INBOXES.")


def _url(settings: Settings, token: str) -> str:
    return f"{settings.public_url}/inbox/{token}"


def _reads_webhooks(caller: Caller) -> bool:
    return "webhooks:read" in caller.scopes


def _text(received: ReceivedRequest) -> str:
    try:
        return json_text(parse(received.body))
    except Problem:  # an inbox takes any body, also one that our API refuses
        return received.body.decode(errors="replace")
