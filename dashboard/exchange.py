"""An attempt of a delivery to a URL: its request, rebuilt from event and webhook, what has changed of it since, and the
response. Also the command line that sends the request again.
"""

from base64 import b64encode
from collections.abc import Mapping
from shlex import quote
from typing import Annotated, NamedTuple

import httpx
import yarl
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from api.access import needs
from api.authenticator import with_scope
from api.deps import AuditDep, CallerDep, SandboxDep, SettingsDep, StoreDep, Tenant
from dashboard.event import PathId
from dashboard.rendering import render
from dashboard.routes import PageRoute
from hookkeeper.content.context import OutgoingEvent
from hookkeeper.content.errors import ContentError
from hookkeeper.content.headers import MASK
from hookkeeper.crypto.signing_keys import RequestChanges
from hookkeeper.kinds import KINDS
from hookkeeper.messages.event import Attempt, Delivery, EventInput
from hookkeeper.registry.models import Webhook
from hookkeeper.services.caller import Scope
from hookkeeper.services.errors import NotFound
from hookkeeper.services.events.reads import read_event
from hookkeeper.services.webhooks.requests import rebuilt_request
from hookkeeper.times import utc_now
from hookkeeper.wording import N_

router = APIRouter(
    prefix="/events/{event_id}/deliveries/{delivery}/request", include_in_schema=False, route_class=PageRoute
)
SIGNED = ("webhook-id", "webhook-timestamp", "svix-id", "svix-timestamp")
NOT_SECRET = ("host", "content-type", "content-length", "user-agent", *SIGNED)
"""Headers that are shown, with those of a binary CloudEvent. A webhook cannot set them, and all others are masked."""
MAY_SIGN: tuple[Scope, ...] = ("webhooks:secrets", "webhooks:write")
"""Scopes of callers who may read the signing key, and so sign a request themselves."""
FAILS = N_("The template fails for this event, so nothing can be sent")
DELETED = N_("The webhook was deleted, or has no URL any more, so nothing can be sent.")
MAX_ARGUMENT = 96 * 1024
"""Bytes of a body that is an argument. Linux allows 128 KiB for one."""
SET_BY_CURL = ("host", "content-length")
ADDED_BY_CURL = ("accept", "content-type")
"""Headers that curl adds by itself; one without a value removes them."""


class Rebuilt(NamedTuple):
    """The request as an attempt would send it now, or the reason why none can be sent."""

    event: EventInput
    webhook: Webhook | None
    attempt: Attempt | None
    """The attempt that is shown with it; None: there was none."""
    request: httpx.Request | None = None
    problem: str = ""
    changes: RequestChanges | None = None
    """What would be sent otherwise now than the attempt has; None if the attempt has no digest."""

    @property
    def was_changed_later(self) -> bool:
        """Whether the webhook was changed after the attempt, in whatever way."""
        return bool(self.webhook and self.attempt and self.attempt.started_at < self.webhook.updated_at)


async def _rebuilt(
    event_id: PathId,
    delivery: Annotated[str, Path(max_length=256)],
    tenant: Tenant,
    store: StoreDep,
    sandbox: SandboxDep,
    settings: SettingsDep,
    caller: CallerDep,
    attempt: Annotated[int | None, Query(ge=1)] = None,
) -> Rebuilt:
    """Rebuild the request of an attempt, by default the latest. Raises NotFound for an unknown delivery or attempt, and
    for a delivery that is not to a URL.

    The event's data needs `events:read`, whatever the route needs.
    """
    snapshot = await read_event(store.rows, tenant, event_id)
    with_scope(caller, frozenset({"events:read"}))
    deliveries = {known.id: known for known in snapshot.state.deliveries if KINDS[known.channel].has_exchange}
    if delivery not in deliveries:
        raise NotFound("The event has no delivery of this id to a URL.")
    webhook_id, event = deliveries[delivery].webhook_id, snapshot.event
    shown = _attempt(deliveries[delivery], attempt)
    webhook = (await store.webhooks.many({webhook_id}, tenant)).get(webhook_id)
    if webhook is None or not webhook.url:
        return Rebuilt(event, webhook, shown, problem=DELETED)
    outgoing = OutgoingEvent(event.id, event.type, event.tenant, event.timestamp, event.data, event.channels)
    try:
        rebuilt = await rebuilt_request(
            webhook, outgoing, sandbox, settings.render_limits, utc_now(), shown.request_digest if shown else None
        )
    except ContentError as error:
        return Rebuilt(event, webhook, shown, problem=f"{FAILS}: {error}")
    except httpx.InvalidURL:
        return Rebuilt(event, webhook, shown, problem=N_("The webhook's URL is invalid, so nothing can be sent."))
    return Rebuilt(event, webhook, shown, rebuilt.request, changes=rebuilt.changes)


def _attempt(delivery: Delivery, number: int | None) -> Attempt | None:
    """Return the attempt of this number, or the latest. Raises NotFound for a number that is not shown."""
    if number is None:
        return delivery.attempts[-1] if delivery.attempts else None
    for attempt in delivery.attempts:
        if attempt.number == number:
            return attempt
    raise NotFound("The delivery has no attempt of this number, or it is in the Temporal history only.")


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
    entry = caller.did("webhook.show-request", webhook.id, webhook.tenant, event_id=rebuilt.event.id)
    await audit.keep_once(entry, webhook.updated_at)
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
        attempt=rebuilt.attempt,
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


def curl_command(request: httpx.Request) -> str:
    """Write a command for a POSIX shell that sends exactly this request."""
    headers = {name: value for name, value in request.headers.items() if name not in SET_BY_CURL}
    removed = [f"{name}:" for name in ADDED_BY_CURL if name not in headers]
    lines = [_header(name, value) for name, value in headers.items()] + removed
    url = str(yarl.URL(str(request.url)))  # as aiohttp sends it
    options = [f"--header {quote(line)}" for line in lines]
    start = f"curl --globoff --path-as-is --request {request.method} {quote(url)}"
    text = _argument(request.content)
    if text is not None:
        return " \\\n  ".join([start, *options, f"--data-raw {quote(text)}"])
    encoded = b64encode(request.content).decode()
    return f"printf %s {quote(encoded)} | base64 --decode |\n" + " \\\n  ".join([start, *options, "--data-binary @-"])


def _header(name: str, value: str) -> str:
    return f"{name}: {value}" if value else f"{name};"


def _argument(content: bytes) -> str | None:
    """Return the body as text; None if it is too long, or has characters by which a terminal can be controlled."""
    if len(content) > MAX_ARGUMENT:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if text.replace("\n", "").isprintable() else None
