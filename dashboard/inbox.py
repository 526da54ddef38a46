"""Inboxes: one is made together with a webhook to it and a first event, and shows what
arrives at its address, which takes requests without a key.
"""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from api.access import needs
from api.authenticator import with_scope
from api.deps import AddressToken, CallerDep, EventEntryDep, SettingsDep, StoreDep, Tenant, WebhooksDep
from api.inboxes import MAX_BODY, ReceivedRequest
from api.problems import Problem
from api.requests import StrictRoute
from api.state import state_of
from api.strict_json import parse
from dashboard.rendering import json_text, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.services.errors import NotFound
from hookkeeper.services.new_event import NewEvent
from hookkeeper.services.webhook_fields import NewWebhook
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

FIRST_EVENT = {"type": "order.paid", "data": {"order": 4711, "amount": "12.50"}}
MAX_COMPARED = 200
"""Latest webhooks of a tenant among which that of an inbox is looked for."""


class InboxRoute(StrictRoute):
    max_body_bytes = MAX_BODY


router = APIRouter(prefix="/inbox", include_in_schema=False, route_class=PageRoute)
address_router = APIRouter(prefix="/inbox", include_in_schema=False, route_class=InboxRoute)
"""The addresses of inboxes, which need no key."""


@router.post("/new", dependencies=[needs("webhooks:write")])
async def make_inbox(
    request: Request,
    caller: CallerDep,
    webhooks: WebhooksDep,
    settings: SettingsDep,
    entry: EventEntryDep,
    tenant: Tenant,
) -> Response:
    """Make an inbox and a webhook to it, send a first event, and go to the inbox."""
    _check_on(settings)
    with_scope(caller, frozenset({"events:write"}))
    token = state_of(request).inboxes.tokens.new(tenant)
    new = NewWebhook(name="Inbox", url=_url(settings, token), tenant=tenant)
    await webhooks.create(dict(new), new.model_fields_set)
    event = await entry.accept(NewEvent.model_validate(FIRST_EVENT | {"tenant": tenant}))
    return redirect(query(f"/inbox/{token}", event=event.state.id))


@router.get("/{token}", dependencies=[needs("events:read")])
async def show_inbox(
    request: Request,
    token: AddressToken,
    store: StoreDep,
    caller: CallerDep,
    settings: SettingsDep,
    event: str = "",
) -> Response:
    """Show what has arrived."""
    _check_on(settings)
    inboxes = state_of(request).inboxes
    tenant = inboxes.tokens.owner_of(token)
    if tenant is None or caller.tenant not in (None, tenant):
        raise NotFound("There is no such inbox.")
    address = _url(settings, token)
    webhooks = [known for known in await store.webhooks.addresses(tenant, MAX_COMPARED) if known.url == address]
    return await render(
        request,
        "inbox.html",
        address=address,
        webhook=webhooks[0] if webhooks and "webhooks:read" in caller.scopes else None,
        requests=list(inboxes.requests(token)),
        keys=[webhook.secret for webhook in webhooks],
        text=_text,  # the thread that renders the page parses the bodies and checks the signatures
        tenant=tenant,
        event=event,
        api=settings.public_url,
    )


def _check_on(settings: Settings) -> None:
    if not settings.inboxes:
        raise NotFound("Inboxes are off: HOOKKEEPER_INBOXES.")


def _url(settings: Settings, token: str) -> str:
    return f"{settings.public_url}/inbox/{token}"


def _text(received: ReceivedRequest) -> str:
    try:
        return json_text(parse(received.body))
    except Problem:  # an inbox takes any body, also one that our API refuses
        return received.body.decode(errors="replace")


@address_router.post("/{token}")
async def receive(request: Request, token: AddressToken) -> PlainTextResponse:
    """Keep a request and answer 200."""
    state = state_of(request)
    tenant = state.inboxes.tokens.owner_of(token) if state.settings.inboxes else None
    if tenant is None:
        raise NotFound("There is no such inbox.")
    await state.inboxes.count(tenant)
    with state.inboxes.reading(tenant):
        body = b"".join([chunk async for chunk in request.stream()])
    state.inboxes.add(token, tenant, ReceivedRequest(utc_now(), dict(request.headers), body))
    return PlainTextResponse("ok")
