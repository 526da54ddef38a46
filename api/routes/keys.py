"""API keys: create, list, revoke. All of it needs the scope `admin`, since a new key can have any scope."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api.access import GuardedRoute, needs
from api.caller import USUAL_SCOPES, Caller, Scope
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, GatewayDep, Limit, StoreDep
from api.problems import KEYED, responses
from hookkeeper.registry.api_keys import ApiKey, digest_of, new_key, new_key_id
from hookkeeper.registry.store import Store
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import (
    EVENT_ID,
    GivenTime,
    Line,
    Page,
    RequestModel,
    ResponseModel,
    TenantName,
    Time,
    with_examples,
)
from hookkeeper.settings import RATE
from hookkeeper.temporal.error_translation import UnknownSchedule
from hookkeeper.times import utc_now

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin")],
)
KeyId = Annotated[str, Path(pattern=EVENT_ID, description="The key's id", examples=["key_0123456789abcdef"])]


class NewKey(RequestModel):
    model_config = with_examples({"name": "Acme's backend", "tenant": "acme"})

    name: Line = Field(min_length=1, max_length=256)
    """Shown in lists and in the audit log."""
    tenant: TenantName | None
    """The tenant that the key is bound to; null for a key of all tenants. It has no default."""
    scopes: list[Scope] = Field(default_factory=lambda: list(USUAL_SCOPES), min_length=1, max_length=10)
    """What the key may do; by default `events:write`, `events:read`, `webhooks:write` and `webhooks:read`. Only a key
    of all tenants can have `admin`.
    """
    rate_limit: str | None = Field(None, pattern=RATE, examples=["100/second"])
    """Requests that the key may make to each API process; by default `HOOKKEEPER_RATE_LIMIT`."""
    expires_at: GivenTime | None = None


class KeyView(ResponseModel):
    id: str
    name: str
    tenant: str | None
    scopes: list[Scope]
    rate_limit: str | None
    created_at: Time
    last_used_at: Time | None
    """To the minute."""
    expires_at: Time | None
    revoked_at: Time | None


class CreatedKey(KeyView):
    key: str
    """Shown only in this response."""


@router.post("", status_code=201)
async def create_key(new: NewKey, store: StoreDep, caller: CallerDep) -> CreatedKey:
    """Create a key. Only this response contains it: Hookkeeper stores a digest."""
    return await add_key(new, new_key_id(), store, caller)


async def add_key(new: NewKey, key_id: str, store: Store, caller: Caller) -> CreatedKey:
    """Create a key with this id. Raises Invalid, KeyExists."""
    if new.tenant is not None and "admin" in new.scopes:
        raise Invalid.field("scopes", "admin is for keys of all tenants")
    if new.expires_at is not None and new.expires_at <= utc_now():
        raise Invalid.field("expires_at", "is in the past")
    text = new_key()
    key = ApiKey(
        id=key_id,
        name=new.name,
        tenant=new.tenant,
        scopes=list(dict.fromkeys(new.scopes)),
        digest=digest_of(text),
        rate_limit=new.rate_limit,
        expires_at=new.expires_at,
    )
    await store.api_keys.add(key, caller.did("key.create", key.id, key.tenant, new.model_fields_set))
    return CreatedKey.of(key, key=text)


@router.get("")
async def list_keys(cursor: Cursor, store: StoreDep, tenant: AnyTenant, limit: Limit = 50) -> Page[KeyView]:
    """List keys, newest first, including revoked ones. The admin key is not listed."""
    found, next_cursor = await store.api_keys.page(tenant=tenant, limit=limit, cursor=cursor.start)
    return cursor.page([KeyView.of(row) for row in found], next_cursor)


class ScheduleOfKey(ResponseModel):
    id: str
    tenant: str
    paused: bool


class RevokedKey(ResponseModel):
    id: str
    schedules: list[ScheduleOfKey]
    """The schedules that were created with the key. They continue unless they are paused."""


@router.delete("/{key_id}", responses=responses(404))
async def revoke_key(
    key_id: KeyId,
    store: StoreDep,
    gateway: GatewayDep,
    caller: CallerDep,
    authenticator: AuthenticatorDep,
    pause_schedules: Annotated[
        bool, Query(description="Also pause the schedules that were created with the key")
    ] = False,
) -> RevokedKey:
    """Revoke a key. It is refused at once by this API process, and within a second by others.

    The response lists the schedules that were created with the key. The request can be repeated.
    """
    key = await store.api_keys.get(key_id)
    if key is None:
        raise NotFound("There is no such key.")
    await store.api_keys.revoke(key_id, caller.did("key.revoke", key_id, key.tenant))
    authenticator.forget(key_id)
    made = await gateway.schedules.made_by(key_id, key.tenant)
    if pause_schedules:
        for known in made:
            with suppress(UnknownSchedule):  # it was removed meanwhile
                await gateway.schedules.pause(known.plan.tenant, known.plan.id, f"Paused: key {key_id} was revoked")
                await store.audit.keep(caller.did("schedule.pause", known.plan.id, known.plan.tenant))
    return RevokedKey(
        id=key_id,
        schedules=[
            ScheduleOfKey(id=known.plan.id, tenant=known.plan.tenant, paused=known.paused or pause_schedules)
            for known in made
        ],
    )
