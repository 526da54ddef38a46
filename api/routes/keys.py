"""API keys: create, list, revoke. All of it needs the scope `admin`, since a new key can have any scope."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, Limit, SchedulesDep, StoreDep
from api.problems import KEYED, responses
from hookkeeper.registry.tenants.api_keys import new_key_id
from hookkeeper.services.caller import SCOPES, Scope
from hookkeeper.services.fields import EVENT_ID, Page, ResponseModel, Time
from hookkeeper.services.tenants.keys import NewKey, add_key, revoke

router = APIRouter(
    prefix="/v1/keys",
    tags=["keys"],
    route_class=GuardedRoute,
    responses=KEYED,
    dependencies=[needs("admin")],
)
current_router = APIRouter(prefix="/v1/keys/current", tags=["keys"], route_class=GuardedRoute, responses=KEYED)
KeyId = Annotated[str, Path(pattern=EVENT_ID, description="The key's id", examples=["key_0123456789abcdef"])]


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


class CurrentKey(ResponseModel):
    id: str
    name: str
    tenant: str | None
    """The tenant that the key is bound to; null for a key of all tenants."""
    scopes: list[Scope]


@current_router.get("", dependencies=[needs(*sorted(SCOPES))])
async def show_current_key(caller: CallerDep) -> CurrentKey:
    """Show the key that the request is made with."""
    scopes = [scope for scope in SCOPES if scope in caller.scopes]
    return CurrentKey(id=caller.key_id, name=caller.shown_name, tenant=caller.tenant, scopes=scopes)


@router.post("", status_code=201, responses=responses(410))
async def create_key(new: NewKey, store: StoreDep, caller: CallerDep) -> CreatedKey:
    """Create a key. Only this response contains it: Hookkeeper stores a digest."""
    key, text = await add_key(new, new_key_id(), store, caller)
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
    schedules: SchedulesDep,
    caller: CallerDep,
    authenticator: AuthenticatorDep,
    pause_schedules: Annotated[
        bool, Query(description="Also pause the schedules that were created with the key")
    ] = False,
) -> RevokedKey:
    """Revoke a key. It is refused at once by this API process, and within a second by others.

    The response lists the schedules that were created with the key. The request can be repeated.
    """
    made = await revoke(key_id, store, schedules, caller, authenticator.forget, pauses=pause_schedules)
    shown = [ScheduleOfKey(id=row.id, tenant=row.tenant, paused=row.paused or pause_schedules) for row in made]
    return RevokedKey(id=key_id, schedules=shown)
