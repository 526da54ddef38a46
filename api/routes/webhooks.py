"""Webhooks: register, change, remove; secrets; a test delivery."""

import secrets
import string
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from api import views
from api.access import Caller, GuardedRoute, needs
from api.cursors import Cursor
from api.deps import AnyTenant, CallerDep, GatewayDep, Limit, StoreDep
from api.fields import EVENT_ID, EventType, Page
from api.ingest import EventIngest
from api.masks import unmasked
from api.problems import KEYED, Invalid, NotFound, responses
from api.releasing import release_held
from api.schemas import webhooks as schemas
from api.schemas.events import AcceptedEvent, NewEvent
from api.schemas.webhooks import NewWebhook, Rotation, SampleEvent, WebhookChanges
from api.webhook_validator import WebhookValidator
from hookkeeper.crypto.signing_keys import is_asymmetric, new_secret
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.store import ChangedMeanwhile, Store

router = APIRouter(
    prefix="/v1/webhooks",
    tags=["webhooks"],
    route_class=GuardedRoute,
    responses=KEYED,
)
MAX_CHANGE_ATTEMPTS = 3
"""Checks of a change, where other requests change the webhook meanwhile; then 409."""
WebhookId = Annotated[str, Path(pattern=EVENT_ID)]


@router.post("", status_code=201, responses=responses(409), dependencies=[needs("webhooks:write")])
async def create_webhook(
    new: NewWebhook, store: StoreDep, caller: CallerDep, request: Request
) -> schemas.WebhookWithSecret:
    """Register a webhook. The answer has its signing key."""
    fields, new = new.model_fields_set, caller.own(new)
    given = dict(new) | unmasked(dict(new))
    await _written(request).for_(new.tenant).check(given)
    if new.secret and "signature_scheme" in new.model_fields_set:
        _check_scheme(new)
    webhook = Webhook(
        id=new_webhook_id(),
        tenant=new.tenant,
        name=new.name,
        description=new.description,
        url=new.url or "",
        events=new.events,
        filter=new.filter,
        payload=new.payload,
        emails=new.emails,
        notifications=given["notifications"],
        on_failure=given["on_failure"],
        headers=given["headers"],
        tls=given["tls"],
        secret=new.secret or new_secret(new.signature_scheme),
        retry=new.retry,
        timeout=new.timeout,
        rate_limit=new.rate_limit,
        disable_after=new.disable_after,
        ordered=_order(dict(new)),
        enabled=new.enabled,
        metadata_=new.metadata,
    )
    entry = caller.did("webhook.create", webhook.id, webhook.tenant, fields)
    await store.add(webhook, request.app.state.settings.max_webhooks_per_tenant, entry)
    return views.webhook_with_secret(webhook)


@router.get("", dependencies=[needs("webhooks:read")])
async def list_webhooks(
    cursor: Cursor,
    store: StoreDep,
    tenant: AnyTenant,
    event: Annotated[EventType | None, Query(description="Only webhooks that match events of this type")] = None,
    enabled: bool | None = None,
    limit: Limit = 50,
) -> Page[schemas.Webhook]:
    """List webhooks, newest first."""
    found, next_cursor = await store.page(tenant=tenant, event=event, enabled=enabled, limit=limit, cursor=cursor.start)
    return cursor.page([views.webhook(each) for each in found], next_cursor)


@router.get("/{webhook_id}", responses=responses(404), dependencies=[needs("webhooks:read")])
async def show_webhook(webhook_id: WebhookId, store: StoreDep, caller: CallerDep) -> schemas.Webhook:
    """Show a webhook, without its secret."""
    return views.webhook(found(await store.get(webhook_id, caller.tenant)))


@router.patch("/{webhook_id}", responses=responses(404, 409), dependencies=[needs("webhooks:write")])
async def change_webhook(
    webhook_id: WebhookId,
    changes: WebhookChanges,
    store: StoreDep,
    caller: CallerDep,
    gateway: GatewayDep,
    request: Request,
) -> schemas.Webhook:
    """Change the fields that are sent. Deliveries that wait for a retry use the new values at their next attempt.

    Enabling a webhook releases its held deliveries, oldest first, as `POST …/resume` does. 409 means that other
    requests keep changing the webhook at the same time.
    """
    known, changed = await _change(webhook_id, changes, store, caller, _written(request))
    if changed.ordered != known.ordered:
        await gateway.ordered_queues.request_check(webhook_id)
    if changes.enabled:
        await release_held(gateway, changed)
    return views.webhook(changed)


@router.delete("/{webhook_id}", status_code=204, responses=responses(404), dependencies=[needs("webhooks:write")])
async def delete_webhook(webhook_id: WebhookId, store: StoreDep, caller: CallerDep, gateway: GatewayDep) -> Response:
    """Remove a webhook. Its open deliveries are cancelled when their next attempt is due."""
    known = found(await store.get(webhook_id, caller.tenant))
    if not await store.delete(webhook_id, caller.tenant, caller.did("webhook.delete", webhook_id, known.tenant)):
        raise _unknown()
    if known.ordered:
        await gateway.ordered_queues.request_check(webhook_id)
    return Response(status_code=204)


@router.get(
    "/{webhook_id}/secret", summary="Show signing key", responses=responses(404), dependencies=[needs("webhooks:write")]
)
async def show_secret(webhook_id: WebhookId, store: StoreDep, caller: CallerDep) -> schemas.WebhookSecret:
    """Show the signing key. This needs `webhooks:write`, since the key can sign any request."""
    return views.secret(found(await store.get(webhook_id, caller.tenant)))


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Rotate signing key",
    responses=responses(404),
    dependencies=[needs("webhooks:write")],
)
async def rotate_secret(
    webhook_id: WebhookId, store: StoreDep, caller: CallerDep, rotation: Rotation | None = None
) -> schemas.WebhookSecret:
    """Set a new signing key. During the grace period both keys sign, so that receivers can switch."""
    rotation = rotation or Rotation()
    known = found(await store.get(webhook_id, caller.tenant))
    secret = rotation.secret or new_secret("v1a" if is_asymmetric(known.secret) else "v1")
    entry = caller.did("webhook.rotate-secret", webhook_id, known.tenant, rotation.model_fields_set)
    return views.secret(found(await store.rotate_secret(webhook_id, caller.tenant, secret, rotation.grace, entry)))


@router.post(
    "/{webhook_id}/test",
    summary="Send a test event",
    status_code=202,
    responses=responses(404),
    dependencies=[needs("webhooks:write")],
)
async def send_test(
    webhook_id: WebhookId, store: StoreDep, caller: CallerDep, request: Request, sample: SampleEvent | None = None
) -> AcceptedEvent:
    """Send a real, signed event to this webhook only, even if it is disabled."""
    sample = sample or SampleEvent()
    webhook = found(await store.get(webhook_id, caller.tenant))
    known = await store.catalogue.get(sample.type)
    from_catalogue = known is not None and known.examples and "data" not in sample.model_fields_set
    acceptance: EventIngest = request.app.state.acceptance
    event = NewEvent(
        type=sample.type,
        data=known.examples[0] if known and from_catalogue else sample.data,
        tenant=webhook.tenant,
    )
    return await acceptance.accept_test(event, webhook)


async def _change(
    webhook_id: str, changes: WebhookChanges, store: Store, caller: Caller, written: WebhookValidator
) -> tuple[Webhook, Webhook]:
    """Check changes and write them, and give the webhook before and after.

    Checking takes long enough for another request to change the row. Then masks and checks are worth nothing, and are
    made anew.
    """
    for attempt in range(MAX_CHANGE_ATTEMPTS):
        known = found(await store.get(webhook_id, caller.tenant))
        given = await _checked(changes, known, written)
        entry = caller.did("webhook.update", webhook_id, known.tenant, changes.model_fields_set)
        try:
            return known, found(await store.update(webhook_id, caller.tenant, given, entry, checked_against=known))
        except ChangedMeanwhile:
            if attempt == MAX_CHANGE_ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _checked(changes: WebhookChanges, known: Webhook, written: WebhookValidator) -> dict[str, Any]:
    """Give the changes as the store takes them, with the known secrets behind their masks."""
    given: dict[str, Any] = {name: getattr(changes, name) for name in changes.model_fields_set}
    given |= unmasked(given, known)
    _check_targets(given, known)
    await written.for_(known.tenant).check(given, known)
    if "metadata" in given:
        given["metadata_"] = given.pop("metadata")
    if "url" in given:
        given["url"] = given["url"] or ""
    if "ordered" in given or "order_policy" in given:
        given["ordered"] = _order(given, known)
        given.pop("order_policy", None)
    return given


def new_webhook_id() -> str:
    """Make a short id, of 62 random bits: a run lists some hundred of them in a search attribute of 2 KB."""
    return "wh_" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))


def found(webhook: Webhook | None) -> Webhook:
    """Give the webhook; raise NotFound where there is none."""
    if webhook is None:
        raise _unknown()
    return webhook


def _unknown() -> NotFound:
    return NotFound("There is no such webhook.")


def _written(request: Request) -> WebhookValidator:
    written: WebhookValidator = request.app.state.written
    return written


def _check_targets(given: dict[str, Any], known: Webhook) -> None:
    """Refuse a change that leaves nothing to send to."""
    if not any(given.get(name, getattr(known, name)) for name in ("url", "emails", "notifications")):
        raise Invalid("A webhook needs a url, emails or notifications.")


def _order(given: dict[str, Any], known: Webhook | None = None) -> str | None:
    """Make one of `ordered` and `order_policy`, as the registry keeps them; what is not given stays as it is."""
    before = known.ordered if known else None
    policy = given.get("order_policy")
    if given.get("ordered", before is not None):
        return policy or before or "block"
    if policy == "skip":
        raise Invalid.field("order_policy", "has a meaning only where ordered is true")
    return None


def _check_scheme(new: NewWebhook) -> None:
    if new.secret and is_asymmetric(new.secret) != (new.signature_scheme == "v1a"):
        raise Invalid.field("secret", f"is not a key for signature scheme {new.signature_scheme}")
