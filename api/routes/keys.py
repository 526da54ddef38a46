"""Keys to the API: make, list, revoke. Who may do so may do everything in the end: it takes the scope `admin`."""

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import ConfigDict, Field

from api.access import USUAL_SCOPES, GuardedRoute, Scope, needs
from api.cursors import Cursor
from api.deps import AnyTenant, CallerDep, GatewayDep, Limit, StoreDep
from api.doorkeeper import Doorkeeper
from api.fields import EVENT_ID, Given, GivenTime, Line, Page, Taken, TenantName, Time
from api.problems import KEYED, Invalid, NotFound, responses
from registry.api_keys import ApiKey, digest_of, new_key, new_key_id
from settings import RATE
from times import utc_now
from workflows.reaching import UnknownSchedule

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin")],
)
KeyId = Annotated[str, Path(pattern=EVENT_ID, description="The key's id", examples=["key_0123456789abcdef"])]


class NewKey(Taken):
    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme's backend", "tenant": "acme"}]})

    name: Line = Field(min_length=1, max_length=256)
    """For people, and for the audit log."""
    tenant: TenantName | None
    """The one tenant that the key is for; null is all, and has to be said."""
    scopes: list[Scope] = Field(default_factory=lambda: list(USUAL_SCOPES), min_length=1, max_length=10)
    """What it may do: all but `admin` where left out. Only a key for all tenants can have `admin`."""
    rate_limit: str | None = Field(None, pattern=RATE, examples=["100/second"])
    """Requests that it may make, to an API process; `HOOKKEEPER_RATE_LIMIT` where left out."""
    expires_at: GivenTime | None = None


class KeyEntry(Given):
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


class KeyWithText(KeyEntry):
    key: str
    """Shown now, and never again."""


@router.post("", status_code=201)
async def create_key(new: NewKey, store: StoreDep, caller: CallerDep) -> KeyWithText:
    """Make a key. The answer is the only one that shows it: what is kept is a digest."""
    if new.tenant is not None and "admin" in new.scopes:
        raise Invalid.field("scopes", "admin is for keys of all tenants")
    if new.expires_at is not None and new.expires_at <= utc_now():
        raise Invalid.field("expires_at", "is in the past")
    text = new_key()
    key = ApiKey(
        id=new_key_id(),
        name=new.name,
        tenant=new.tenant,
        scopes=list(dict.fromkeys(new.scopes)),
        digest=digest_of(text),
        rate_limit=new.rate_limit,
        expires_at=new.expires_at,
    )
    await store.api_keys.add(key, caller.did("key.create", key.id, key.tenant, new.model_fields_set))
    return KeyWithText(**dict(_entry(key)), key=text)


@router.get("")
async def list_keys(cursor: Cursor, store: StoreDep, tenant: AnyTenant, limit: Limit = 50) -> Page[KeyEntry]:
    """List keys, newest first, also those that were revoked. The admin key is not among them."""
    found, next_cursor = await store.api_keys.page(tenant=tenant, limit=limit, cursor=cursor.start)
    return cursor.page([_entry(each) for each in found], next_cursor)


class ScheduleOfKey(Given):
    id: str
    tenant: str
    paused: bool


class RevokedKey(Given):
    id: str
    schedules: list[ScheduleOfKey]
    """The schedules that it made. They go on unless they are paused."""


@router.delete("/{key_id}", responses=responses(404))
async def revoke_key(
    key_id: KeyId,
    store: StoreDep,
    gateway: GatewayDep,
    caller: CallerDep,
    request: Request,
    pause_schedules: Annotated[bool, Query(description="Pause the schedules that the key made")] = False,
) -> RevokedKey:
    """Revoke a key: it is refused from now on; by other processes of the API, within a second.

    The answer names the schedules that the key made. This can be called again for a key that is revoked already.
    """
    key = await store.api_keys.get(key_id)
    if key is None:
        raise NotFound("There is no such key.")
    await store.api_keys.revoke(key_id, caller.did("key.revoke", key_id, key.tenant))
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.forget(key_id)
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


def _entry(row: ApiKey) -> KeyEntry:
    return KeyEntry(
        id=row.id,
        name=row.name,
        tenant=row.tenant,
        scopes=row.scopes,
        rate_limit=row.rate_limit,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
