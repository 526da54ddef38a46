"""Endpoints, which are webhooks with a URL: their headers, secrets, statistics, recoveries, examples."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter, Header, Response
from pydantic import AfterValidator, AliasChoices, Field
from starlette.responses import JSONResponse

from api.access import needs
from api.deps import EventTypesDep, IndexDep, RecoveriesDep, StoreDep, WebhooksDep
from api.schemas.webhooks import SecretRotation
from extensions.svix.base import (
    ROUTES,
    WITH_KEY,
    Application,
    Endpoint,
    Identified,
    In,
    KeyMac,
    ListResponse,
    Ordering,
    Out,
    PagingDep,
    SvixTime,
    find_endpoint,
)
from extensions.svix.errors import translated, untranslatable
from extensions.svix.messages import OF_KEY, MessageOut
from hookkeeper.content.payload import Payload
from hookkeeper.crypto.signing_keys import ASYMMETRIC, SYMMETRIC, is_asymmetric, public_key
from hookkeeper.registry.events.statistics import StatisticsQuery
from hookkeeper.registry.models import Tenant, Webhook
from hookkeeper.registry.storage.paging import write_cursor
from hookkeeper.registry.webhooks.webhooks import WEBHOOKS_BY_AGE, WebhookExists
from hookkeeper.services.errors import Invalid
from hookkeeper.services.events.new_event import new_event_id
from hookkeeper.services.events.recoveries import MAX_RATE, RecoveryRequest
from hookkeeper.services.fields import Time
from hookkeeper.services.webhooks.fields import NewWebhook, WebhookChanges
from hookkeeper.services.webhooks.preview import SampleEvent
from hookkeeper.services.webhooks.webhooks import WebhookService, require, webhook_id_of
from hookkeeper.times import utc_now

router = APIRouter(**ROUTES)
READ, WRITE = needs("webhooks:read"), needs("webhooks:write")
RESERVED = ("x-svix-", "x-amz", "x-goog", "x-gfe", "x-azure-", "x-fd-")
"""Prefixes that names of headers must not have."""
NULLABLE = frozenset({"uid", "rate_limit"})
"""Fields of a webhook that can be null."""
STATISTICS = timedelta(days=28)
RECOVERABLE = timedelta(days=14)
CLOCK_SKEW = timedelta(minutes=5)
"""A client's `now - 14 days` is accepted whatever its clock."""
MAX_PREVIOUS = 9
"""Previous keys that sign: with the present one, no more than receivers verify."""
TIMEOUT = 30.0
"""Seconds for which endpoints of Svix may work on a request."""
PING = "svix.ping"
"""An event type with a built-in example."""
READS_KEY = "svix-libs/2."
"""The start of the user agent of clients that read the new key from the answer to a rotation."""


class EndpointPatch(In):
    """A change. Clients of the first version send `filterTypes`, `rateLimit`, and `version`, which has no effect."""

    url: str = ""
    uid: str | None = None
    description: Any = ""
    disabled: bool = False
    event_types: list[Any] | None = Field(
        None, min_length=1, validation_alias=AliasChoices("eventTypes", "filterTypes")
    )
    channels: list[Any] | None = Field(None, min_length=1)
    metadata: Any = Field(default_factory=dict)
    throttle_rate: int | None = Field(None, validation_alias=AliasChoices("throttleRate", "rateLimit"))
    version: Any = None
    secret: Annotated[Any, untranslatable("cannot be changed here: use POST …/secret/rotate")] = None


class EndpointUpdate(EndpointPatch):
    url: str


class EndpointIn(EndpointUpdate):
    secret: str | None = None
    headers: Any = None


class EndpointOut(Identified):
    uid: str | None
    url: str
    description: str
    disabled: bool
    event_types: list[str] | None
    channels: list[str] | None
    metadata: dict[str, str]
    throttle_rate: int | None
    created_at: Time
    updated_at: Time
    filter_types: list[str] | None
    rate_limit: int | None
    version: int = 1

    @classmethod
    def of(cls, row: Webhook, **state: Any) -> Self:
        """Show a webhook, with the names for clients of both versions."""
        types = None if "*" in row.events else row.events
        rate = max(round(row.rate_limit), 1) if row.rate_limit else None
        return cls(
            id=row.id,
            uid=row.uid,
            url=row.url,
            description=row.description,
            disabled=not row.enabled,
            event_types=types,
            filter_types=types,
            channels=list(row.channels) or None,
            metadata=row.metadata_,
            throttle_rate=rate,
            rate_limit=rate,
            created_at=row.created_at,
            updated_at=row.updated_at,
            **state,
        )


def _unreserved(headers: dict[str, Any]) -> dict[str, Any]:
    """Raise ValueError for a name that Svix reserves. The rules of webhooks refuse most others that Svix refuses."""
    for name in headers:
        if name.lower().startswith(RESERVED):
            raise ValueError(f"{name} is reserved")
    return headers


class HeadersIn(In):
    headers: Annotated[dict[str, str], AfterValidator(_unreserved)]


class HeadersPatchIn(In):
    headers: Annotated[dict[str, str | None], AfterValidator(_unreserved)]


class HeadersOut(Out):
    headers: dict[str, str]
    sensitive: list[str]


class SecretOut(Out):
    key: str


class RotateIn(In):
    key: str | None = None
    grace_period_seconds: int | None = None


class StatsOut(Out):
    success: int
    pending: int
    sending: int
    fail: int
    canceled: int


class RecoverIn(In):
    since: SvixTime
    until: SvixTime | None = None


class RecoverOut(Out):
    id: str
    status: str = "running"
    task: str = "endpoint.recover"
    updated_at: Time


class ExampleIn(In):
    event_type: str


def _fields(given: EndpointPatch) -> dict[str, Any]:
    """Return the sent fields as fields of a webhook."""
    fields = {name: getattr(given, name) for name in given.model_fields_set - {"version"}}
    if "event_types" in fields:
        fields["events"] = fields.pop("event_types") or ["*"]
    if "channels" in fields:
        fields["channels"] = list(dict.fromkeys(fields["channels"] or ()))
    if "disabled" in fields:
        fields["enabled"] = not fields.pop("disabled")
    if "throttle_rate" in fields:
        fields["rate_limit"] = fields.pop("throttle_rate") or None
    if "secret" in fields:
        fields["secret"] = _key(fields["secret"])
    return {name: value for name, value in fields.items() if value is not None or name in NULLABLE}


def _key(given: str | None) -> str | None:
    """Return a signing key with its prefix, which Svix makes optional."""
    if not given or given.startswith((SYMMETRIC, ASYMMETRIC)):
        return given
    return SYMMETRIC + given


def _shown_key(webhook: Webhook) -> str:
    """Return the key that verifies signatures: the public part of an asymmetric key."""
    return public_key(webhook.secret) if is_asymmetric(webhook.secret) else webhook.secret


async def _create(app: Tenant, given: EndpointUpdate, webhooks: WebhookService, mac: str | None = None) -> EndpointOut:
    """Register a webhook, or return the one with the id that is made from the MAC of the idempotency key."""
    fields = _fields(given)
    new = translated(NewWebhook, tenant=app.id, payload=Payload(format="svix"), timeout=TIMEOUT, **fields)
    await _check_types(new.events, webhooks)
    webhook_id = webhook_id_of(mac) if mac else None
    try:
        return EndpointOut.of(await webhooks.create(dict(new), new.model_fields_set, webhook_id))
    except WebhookExists:
        return EndpointOut.of(require(await webhooks.store.webhooks.get(webhook_id or "", app.id)))


async def _check_types(patterns: Sequence[str], webhooks: WebhookService) -> None:
    """Raise Invalid for an event type that is not in the catalogue, as Svix does. A pattern need not match one."""
    names = [pattern for pattern in patterns if not pattern.endswith("*")]
    known = {name for name, _ in await webhooks.store.catalogue.matching(names, len(names))} if names else set()
    if missing := [name for name in names if name not in known]:
        raise Invalid.field("events", f"these event types do not exist: {', '.join(missing)}")


async def _change(webhook: Webhook, fields: dict[str, Any], webhooks: WebhookService) -> Webhook:
    changes = translated(WebhookChanges, **fields)
    if "events" in fields:
        await _check_types(changes.events, webhooks)
    return await webhooks.change(webhook.id, {name: getattr(changes, name) for name in fields})


@router.get("/app/{app_id}/endpoint", dependencies=[READ])
async def list_endpoints(
    app: Application, store: StoreDep, paging: PagingDep, order: Ordering = "descending"
) -> ListResponse[EndpointOut]:
    """List endpoints, the newest first unless `order` says otherwise."""

    async def read(limit: int, cursor: str | None, oldest_first: bool) -> tuple[list[Webhook], str | None]:
        return await store.webhooks.page(
            tenant=app.id, event=None, enabled=None, limit=limit, cursor=cursor, oldest_first=oldest_first
        )

    return await paging.by_cursor(order, read, lambda row: write_cursor(row, WEBHOOKS_BY_AGE), EndpointOut.of)


@router.post("/app/{app_id}/endpoint", status_code=201, dependencies=[WRITE])
async def create_endpoint(app: Application, new: EndpointIn, webhooks: WebhooksDep, mac: KeyMac) -> EndpointOut:
    """Register a webhook that sends what Svix sends: the payload alone, with headers `svix-…`."""
    return await _create(app, new, webhooks, mac)


@router.get("/app/{app_id}/endpoint/{endpoint_id}", dependencies=[READ])
async def show_endpoint(endpoint: Endpoint) -> EndpointOut:
    """Show an endpoint."""
    return EndpointOut.of(endpoint)


@router.put("/app/{app_id}/endpoint/{endpoint_id}", dependencies=[WRITE])
async def put_endpoint(
    app: Application, endpoint_id: str, new: EndpointUpdate, store: StoreDep, webhooks: WebhooksDep, response: Response
) -> EndpointOut:
    """Replace an endpoint except its headers and its secret, or register it."""
    endpoint = await find_endpoint(app, endpoint_id, store)
    if endpoint is None:
        response.status_code = 201
        return await _create(app, new, webhooks)
    whole = EndpointUpdate.model_construct(set(EndpointUpdate.model_fields), **dict(new))
    return EndpointOut.of(await _change(endpoint, _fields(whole), webhooks))


@router.patch("/app/{app_id}/endpoint/{endpoint_id}", dependencies=[WRITE])
async def change_endpoint(endpoint: Endpoint, given: EndpointPatch, webhooks: WebhooksDep) -> EndpointOut:
    """Change the fields that are sent."""
    return EndpointOut.of(await _change(endpoint, _fields(given), webhooks))


@router.delete("/app/{app_id}/endpoint/{endpoint_id}", status_code=204, dependencies=[WRITE])
async def delete_endpoint(endpoint: Endpoint, webhooks: WebhooksDep) -> None:
    """Remove an endpoint."""
    await webhooks.delete(endpoint)


@router.get("/app/{app_id}/endpoint/{endpoint_id}/headers", dependencies=[needs("webhooks:secrets", "webhooks:write")])
async def show_headers(endpoint: Endpoint) -> HeadersOut:
    """Show the names of the headers: all are sensitive, so no value is shown."""
    return HeadersOut(headers={}, sensitive=[*endpoint.headers])


@router.put("/app/{app_id}/endpoint/{endpoint_id}/headers", status_code=204, dependencies=[WRITE])
async def put_headers(endpoint: Endpoint, given: HeadersIn, webhooks: WebhooksDep) -> None:
    """Replace all headers."""
    await _change(endpoint, {"headers": given.headers}, webhooks)


@router.patch("/app/{app_id}/endpoint/{endpoint_id}/headers", status_code=204, dependencies=[WRITE])
async def change_headers(endpoint: Endpoint, given: HeadersPatchIn, webhooks: WebhooksDep) -> None:
    """Set these headers, and remove those that are null."""
    named = {name.lower() for name in given.headers}
    kept = {name: value for name, value in endpoint.headers.items() if name.lower() not in named}
    added = {name: value for name, value in given.headers.items() if value is not None}
    await _change(endpoint, {"headers": kept | added}, webhooks)


@router.get("/app/{app_id}/endpoint/{endpoint_id}/secret", dependencies=[needs("webhooks:secrets", "webhooks:write")])
async def show_secret(endpoint: Endpoint, webhooks: WebhooksDep) -> SecretOut:
    """Show the signing key, and note it in the audit log."""
    await webhooks.note_shown(endpoint)
    return SecretOut(key=_shown_key(endpoint))


@router.post(
    "/app/{app_id}/endpoint/{endpoint_id}/secret/rotate", status_code=204, response_model=None, dependencies=[WRITE]
)
async def rotate_secret(
    endpoint: Endpoint,
    webhooks: WebhooksDep,
    given: RotateIn | None = None,
    user_agent: Annotated[str, Header()] = "",
) -> Response:
    """Set a new signing key. Previous keys sign too, until the latest one's grace ends.

    The open server answers without a body. Clients from 2.0 on, such as the Python one, read the new key from a body.
    """
    given = given or RotateIn()
    fields: dict[str, Any] = {"secret": _key(given.key)} if given.key else {}
    if given.grace_period_seconds is not None:
        fields["grace"] = given.grace_period_seconds
    rotation = translated(SecretRotation, **fields)
    rotated = await webhooks.rotate_secret(endpoint, rotation.model_fields_set, keeps=MAX_PREVIOUS, **dict(rotation))
    if not user_agent.startswith(READS_KEY):
        return Response(status_code=204)
    return JSONResponse(SecretOut(key=_shown_key(rotated)).model_dump())


@router.get("/app/{app_id}/endpoint/{endpoint_id}/stats", dependencies=[needs("events:read")])
async def show_stats(
    endpoint: Endpoint, index: IndexDep, since: SvixTime | None = None, until: SvixTime | None = None
) -> StatsOut:
    """Count deliveries by outcome, by default those of the latest 28 days."""
    now = utc_now()
    until = until or now
    since = since or until - STATISTICS
    if since >= until:
        raise Invalid.field("since", "must be before until")
    query = StatisticsQuery(since=since, until=until, now=now, tenant=endpoint.tenant, webhook=endpoint.id)
    (group,) = (await index.statistics(query)).groups
    return StatsOut(
        success=group.total["deliveries_succeeded"],
        fail=group.total["deliveries_failed"],
        canceled=group.total["deliveries_cancelled"],
        sending=group.held + group.retrying,
        pending=0,
    )


@router.post("/app/{app_id}/endpoint/{endpoint_id}/recover", status_code=202, dependencies=[needs("events:write")])
async def recover_endpoint(endpoint: Endpoint, given: RecoverIn, recoveries: RecoveriesDep) -> RecoverOut:
    """Send messages of up to 14 days again that failed, or wait for their next attempt, in the background."""
    if (given.until or utc_now()) - given.since > RECOVERABLE + CLOCK_SKEW:
        raise Invalid.field("since", f"must be at most {RECOVERABLE.days} days before until")
    wanted = translated(RecoveryRequest, since=given.since, until=given.until, rate=MAX_RATE)
    state = await recoveries.of_webhook(endpoint, wanted, with_retrying=True)
    return RecoverOut(id=state.id, updated_at=utc_now())


@router.post("/app/{app_id}/endpoint/{endpoint_id}/send-example", dependencies=[WRITE, WITH_KEY])
async def send_example(
    endpoint: Endpoint, given: ExampleIn, webhooks: WebhooksDep, event_types: EventTypesDep, mac: KeyMac
) -> MessageOut:
    """Send the example of an event type to this endpoint only."""
    data = {"data": {"success": True}} if given.event_type == PING else {}
    sample = translated(SampleEvent, type=given.event_type, **data)
    if not data and not (await event_types.get(given.event_type)).examples:
        raise Invalid.field("type", "has no example: put `examples` into its schema")
    started = await webhooks.send_test(endpoint, sample, OF_KEY + mac[:32] if mac else new_event_id())
    return MessageOut.of(started.event, started.event.data)
