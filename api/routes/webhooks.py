"""Webhooks: preview, register, change, remove, pause; their signing keys; test events."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from api import views
from api.access import GuardedRoute, needs
from api.caller import Caller
from api.deps import (
    AnyTenant,
    AuditDep,
    CallerDep,
    CatalogueDep,
    Cursor,
    GatewayDep,
    IngestDep,
    KnownWebhook,
    Limit,
    LinksDep,
    SandboxDep,
    SettingsDep,
    StoreDep,
    ValidatorDep,
)
from api.errors import naming_event
from api.problems import EVENT_ID_HEADER, KEYED, NAMES_EVENT, responses
from api.schemas.events import AcceptedEvent
from hookkeeper.crypto.signing_keys import is_asymmetric, new_secret
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID, EventType, Page
from hookkeeper.services.new_event import NewEvent, new_event_id
from hookkeeper.services.preview import Preview, Previewer
from hookkeeper.services.webhook_fields import (
    NewWebhook,
    PreviewRequest,
    SampleEvent,
    SecretRotation,
    TestEventRequest,
    WebhookChanges,
    WebhookSecret,
    WebhookView,
    WebhookWithSecret,
)
from hookkeeper.services.webhook_validator import WebhookValidator
from hookkeeper.services.webhooks import UNKNOWN_WEBHOOK, change, found, new_webhook, release_held, unsaved
from hookkeeper.settings import Settings

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"], route_class=GuardedRoute, responses=KEYED)


@router.post("/preview", responses=responses(404), dependencies=[needs("webhooks:read")])
async def preview_webhook(
    preview: PreviewRequest,
    store: StoreDep,
    caller: CallerDep,
    sandbox: SandboxDep,
    validator: ValidatorDep,
    settings: SettingsDep,
) -> Preview:
    """Show what a webhook, registered or not, would send for an event. Nothing is sent, and secrets are masked."""
    if (preview.webhook is None) == (preview.webhook_id is None):
        raise Invalid("Give either webhook or webhook_id.")
    if preview.webhook:
        new = caller.with_tenant(preview.webhook)
        await validator.for_(new.tenant).check(dict(new))
        webhook = unsaved(dict(new))
    else:
        webhook = found(await store.webhooks.get(preview.webhook_id or "", caller.tenant))
    data = await sample_data(preview.event, store.catalogue)
    return await Previewer(sandbox, webhook, preview.event.type, data, settings.render_limits).preview()


@router.post("", status_code=201, responses=responses(409), dependencies=[needs("webhooks:write")])
async def create_webhook(
    new: NewWebhook, store: StoreDep, caller: CallerDep, validator: ValidatorDep, settings: SettingsDep
) -> WebhookWithSecret:
    """Register a webhook. The response contains its signing key."""
    return await add_webhook(new, None, store, caller, validator, settings)


async def add_webhook(
    new: NewWebhook,
    webhook_id: str | None,
    store: Store,
    caller: Caller,
    validator: WebhookValidator,
    settings: Settings,
) -> WebhookWithSecret:
    """Register a webhook, with this id if there is one. Raises Invalid, TooManyWebhooks, WebhookExists."""
    fields, new = new.model_fields_set, caller.with_tenant(new)
    scheme = new.signature_scheme if "signature_scheme" in new.model_fields_set else None
    webhook = await new_webhook(dict(new), scheme, validator, webhook_id)
    entry = caller.did("webhook.create", webhook.id, webhook.tenant, fields)
    await store.webhooks.add(webhook, settings.max_webhooks_per_tenant, entry)
    return views.webhook_with_secret(webhook)


@router.get("", dependencies=[needs("webhooks:read")])
async def list_webhooks(
    cursor: Cursor,
    store: StoreDep,
    tenant: AnyTenant,
    event: Annotated[EventType | None, Query(description="Only webhooks that match events of this type")] = None,
    enabled: Annotated[bool | None, Query(description="Only enabled, or only disabled webhooks")] = None,
    limit: Limit = 50,
) -> Page[WebhookView]:
    """List webhooks, newest first.

    A page ends after about 1 MiB of configuration, so it can have fewer items than `limit` without being the last one:
    only `next_cursor` tells.
    """
    found, next_cursor = await store.webhooks.page(
        tenant=tenant, event=event, enabled=enabled, limit=limit, cursor=cursor.start
    )
    return cursor.page([views.webhook(row) for row in found], next_cursor)


@router.get("/{webhook_id}", responses=responses(404), dependencies=[needs("webhooks:read")])
async def show_webhook(webhook: KnownWebhook) -> WebhookView:
    """Show a webhook, without its secret."""
    return views.webhook(webhook)


@router.patch("/{webhook_id}", responses=responses(404, 409), dependencies=[needs("webhooks:write")])
async def change_webhook(
    webhook_id: Annotated[str, Path(pattern=EVENT_ID)],
    changes: WebhookChanges,
    store: StoreDep,
    caller: CallerDep,
    gateway: GatewayDep,
    validator: ValidatorDep,
) -> WebhookView:
    """Change the fields that are sent. Deliveries that wait for a retry use the new values at their next attempt.

    Enabling a webhook releases its held deliveries, oldest first, as `POST …/resume` does. 409 means that other
    requests keep changing the webhook at the same time.
    """
    fields = changes.model_fields_set
    known, changed = await change(
        webhook_id,
        caller.tenant,
        {name: getattr(changes, name) for name in fields},
        store=store,
        validator=validator,
        entry_for=lambda known: caller.did("webhook.update", webhook_id, known.tenant, fields),
    )
    if changed.ordered != known.ordered:
        await gateway.ordered_queues.request_check(webhook_id)
    if changes.enabled:
        await release_held(gateway, changed)
    return views.webhook(changed)


@router.delete("/{webhook_id}", status_code=204, responses=responses(404), dependencies=[needs("webhooks:write")])
async def delete_webhook(webhook: KnownWebhook, store: StoreDep, caller: CallerDep, gateway: GatewayDep) -> Response:
    """Remove a webhook. Its open deliveries are cancelled when their next attempt is due."""
    entry = caller.did("webhook.delete", webhook.id, webhook.tenant)
    if not await store.webhooks.delete(webhook.id, caller.tenant, entry):
        raise NotFound(UNKNOWN_WEBHOOK)
    if webhook.ordered:
        await gateway.ordered_queues.request_check(webhook.id)
    return Response(status_code=204)


@router.get(
    "/{webhook_id}/secret",
    summary="Show signing key",
    responses=responses(404),
    dependencies=[needs("webhooks:secrets", "webhooks:write")],
)
async def show_secret(webhook: KnownWebhook, audit: AuditDep, caller: CallerDep) -> WebhookSecret:
    """Show the signing key, which can sign any request: `webhooks:read` is not enough. The audit log has who did."""
    await audit.keep_once(caller.did("webhook.show-secret", webhook.id, webhook.tenant), webhook.updated_at)
    return views.secret(webhook)


@router.post(
    "/{webhook_id}/rotate-secret",
    summary="Rotate signing key",
    responses=responses(404, 409),
    dependencies=[needs("webhooks:write")],
)
async def rotate_secret(
    webhook: KnownWebhook, store: StoreDep, caller: CallerDep, rotation: SecretRotation | None = None
) -> WebhookSecret:
    """Set a new signing key. During the grace period both keys sign, so that receivers can switch.

    Until it ends, a further rotation is answered with 409, because it would end the key that receivers may still have:
    `end_previous` or a `grace` of 0 ends it. Repeated with its `secret`, the request changes nothing.
    """
    rotation = rotation or SecretRotation()
    if rotation.secret == webhook.secret:
        return views.secret(webhook)
    secret = rotation.secret or new_secret("v1a" if is_asymmetric(webhook.secret) else "v1")
    entry = caller.did("webhook.rotate-secret", webhook.id, webhook.tenant, rotation.model_fields_set)
    rotated = await store.webhooks.rotate_secret(
        webhook.id,
        caller.tenant,
        secret,
        rotation.grace,
        entry,
        replaces=webhook.secret,
        ends_previous=rotation.end_previous or rotation.grace == 0,
    )
    return views.secret(found(rotated))


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
    catalogue: CatalogueDep,
    ingest: IngestDep,
    links: LinksDep,
    test: TestEventRequest | None = None,
) -> AcceptedEvent:
    """Send a real, signed event to this webhook only, even if it is disabled.

    Its data must match the schema of its event type. By default they are the first example of the type.

    After a 503, the event may or may not have been accepted. Repeat the request with the `event_id` of the problem as
    its `id`, as for `POST /v1/events`.
    """
    test = test or TestEventRequest()
    event_id = test.id or new_event_id()
    response.headers[EVENT_ID_HEADER] = event_id
    with naming_event(event_id):
        data = await sample_data(test, catalogue)
        event = NewEvent(type=test.type, data=data, tenant=webhook.tenant)
        started = await ingest.accept_test(event, event_id, webhook)
    if started.duplicate:
        response.status_code = 200
    return views.accepted(started, links)


@router.post("/{webhook_id}/pause", responses=responses(404), dependencies=[needs("webhooks:write")])
async def pause_webhook(webhook: KnownWebhook, store: StoreDep, caller: CallerDep) -> WebhookView:
    """Hold deliveries until the webhook is resumed. In-flight attempts finish; manual retries are still sent."""
    entry = caller.did("webhook.pause", webhook.id, webhook.tenant)
    return views.webhook(found(await store.webhooks.set_paused(webhook.id, caller.tenant, True, entry)))


@router.post("/{webhook_id}/resume", responses=responses(404), dependencies=[needs("webhooks:write")])
async def resume_webhook(webhook: KnownWebhook, store: StoreDep, gateway: GatewayDep, caller: CallerDep) -> WebhookView:
    """Resume a webhook. Held deliveries are released in the background, oldest first, as fast as the receiver allows.

    Repeat the request after a 503: the webhook may be resumed already, without the release of its held deliveries.
    """
    entry = caller.did("webhook.resume", webhook.id, webhook.tenant)
    resumed = found(await store.webhooks.set_paused(webhook.id, caller.tenant, False, entry))
    await release_held(gateway, resumed)
    return views.webhook(resumed)


async def sample_data(sample: SampleEvent, catalogue: Catalogue) -> Any:
    """Return the data that were sent, or by default the first example of the type in the catalogue."""
    if "data" not in sample.model_fields_set and (known := await catalogue.get(sample.type)) and known.examples:
        return known.examples[0]
    return sample.data
