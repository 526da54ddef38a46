"""The request of a delivery to a URL, rebuilt from event and webhook, and the command line that sends it again."""

from collections.abc import Mapping
from typing import Annotated, NamedTuple

import httpx
from fastapi import APIRouter, Depends, Path, Request, Response

from api.access import needs
from api.authenticator import with_scope
from api.caller import Scope
from api.deps import AuditDep, CallerDep, GatewayDep, SandboxDep, SettingsDep, StoreDep, Tenant
from api.pages.curl import curl_command
from api.pages.event import PathId
from api.pages.rendering import render
from api.pages.routes import PageRoute
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.content.errors import ContentError
from hookkeeper.content.headers import MASK
from hookkeeper.messages.event import EventInput
from hookkeeper.registry.models import Webhook
from hookkeeper.services.errors import NotFound
from hookkeeper.services.webhook_requests import rebuilt_request
from hookkeeper.times import utc_now

router = APIRouter(
    prefix="/events/{event_id}/deliveries/{delivery}/request", include_in_schema=False, route_class=PageRoute
)
NOT_SECRET = ("host", "content-type", "content-length", "user-agent", "webhook-id", "webhook-timestamp")
"""Headers that are shown, with those of a binary CloudEvent. A webhook cannot set them, and all others are masked."""
MAY_SIGN: tuple[Scope, ...] = ("webhooks:secrets", "webhooks:write")
"""Scopes of callers who may read the signing key, and so sign a request themselves."""
DELETED = "The webhook was deleted, or has no URL any more, so nothing can be sent."


class Rebuilt(NamedTuple):
    """The request as an attempt would send it now, or the reason why none can be sent."""

    event: EventInput
    webhook: Webhook | None
    request: httpx.Request | None = None
    problem: str = ""
    has_changed: bool = False
    """The webhook was changed after the latest attempt."""


async def _rebuilt(
    event_id: PathId,
    delivery: Annotated[str, Path(max_length=256)],
    tenant: Tenant,
    gateway: GatewayDep,
    store: StoreDep,
    sandbox: SandboxDep,
    settings: SettingsDep,
    caller: CallerDep,
) -> Rebuilt:
    """Rebuild the request. Raises NotFound for an unknown delivery, and for one that is not to a URL.

    The event's data needs `events:read`, whatever the route needs.
    """
    snapshot = await gateway.read(tenant, event_id)
    with_scope(caller, frozenset({"events:read"}))
    deliveries = {known.id: known for known in snapshot.state.deliveries if known.channel == "webhook"}
    if delivery not in deliveries:
        raise NotFound("The event has no delivery of this id to a URL.")
    webhook_id, event = deliveries[delivery].webhook_id, snapshot.event
    webhook = (await store.many({webhook_id}, tenant)).get(webhook_id)
    if webhook is None or not webhook.url:
        return Rebuilt(event, webhook, problem=DELETED)
    outgoing = OutgoingEvent(event.id, event.type, event.tenant, event.timestamp, event.data)
    try:
        request = await rebuilt_request(webhook, outgoing, sandbox, settings.render_limits, utc_now())
    except ContentError as error:
        return Rebuilt(event, webhook, problem=f"The template fails for this event, so nothing can be sent: {error}")
    except httpx.InvalidURL:
        return Rebuilt(event, webhook, problem="The webhook's URL is invalid, so nothing can be sent.")
    attempts = deliveries[delivery].attempts
    has_changed = bool(attempts) and attempts[-1].started_at < webhook.updated_at
    return Rebuilt(event, webhook, request, has_changed=has_changed)


RebuiltDep = Annotated[Rebuilt, Depends(_rebuilt)]


@router.get("", dependencies=[needs("webhooks:read")])
async def show_request(request: Request, rebuilt: RebuiltDep, delivery: str, caller: CallerDep) -> Response:
    """Show the request that an attempt would send now, with what can be secret masked."""
    return await _show(request, rebuilt, delivery, not caller.scopes.isdisjoint(MAY_SIGN))


@router.post("/curl", dependencies=[needs(*MAY_SIGN)])
async def show_curl(
    request: Request, rebuilt: RebuiltDep, delivery: str, caller: CallerDep, audit: AuditDep
) -> Response:
    """Show the command that sends the request, signed now, and record that it was shown."""
    if rebuilt.webhook is None or rebuilt.request is None:
        return await _show(request, rebuilt, delivery, can_reveal=True)
    webhook = rebuilt.webhook
    await audit.keep(caller.did("webhook.show-request", webhook.id, webhook.tenant, event_id=rebuilt.event.id))
    return await _show(request, rebuilt, delivery, can_reveal=True, command=curl_command(rebuilt.request))


async def _show(
    request: Request, rebuilt: Rebuilt, delivery: str, can_reveal: bool, command: str | None = None
) -> Response:
    made = rebuilt.request
    return await render(
        request,
        "event_request.html",
        rebuilt=rebuilt,
        delivery=delivery,
        path=request.url.path.removesuffix("/curl"),
        target=_masked_url(rebuilt.webhook) if rebuilt.webhook else "",
        headers=_masked(made.headers) if made else {},
        body=made.content.decode(errors="replace") if made else "",
        can_reveal=can_reveal,
        command=command,
    )


def _masked_url(webhook: Webhook) -> str:
    """Return the URL; what `target` leaves out can be a secret, and is masked."""
    return webhook.target + (f"?{MASK}" if "?" in webhook.url else "")


def _masked(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value if name in NOT_SECRET or name.startswith("ce-") else MASK for name, value in headers.items()}
