"""Keys to the API: make, list, revoke. Who may do so may do everything in the end: it takes the scope `admin`."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import ConfigDict, Field

from api.access import USUAL_SCOPES, GuardedRoute, Scope, needs
from api.deps import AnyTenant, CallerDep, Cursor, Limit, StoreDep
from api.doorkeeper import Doorkeeper
from api.fields import EVENT_ID, Given, GivenTime, Line, Page, Taken, TenantName, Time
from api.problems import KEYED, Invalid, NotFound, responses
from registry.api_keys import ApiKey, digest_of, new_key, new_key_id
from settings import RATE
from times import utc_now

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
async def list_keys(store: StoreDep, tenant: AnyTenant, limit: Limit = 50, cursor: Cursor = None) -> Page[KeyEntry]:
    """List keys, newest first, also those that were revoked. The admin key is not among them."""
    found, next_cursor = await store.api_keys.page(tenant=tenant, limit=limit, cursor=cursor)
    return Page(items=[_entry(each) for each in found], next_cursor=next_cursor)


@router.delete("/{key_id}", status_code=204, responses=responses(404))
async def revoke_key(key_id: KeyId, store: StoreDep, caller: CallerDep, request: Request) -> Response:
    """Revoke a key: it lets nobody in from now on; where other processes serve the API, within a second."""
    key = await store.api_keys.get(key_id)
    if key is None:
        raise NotFound("There is no such key.")
    await store.api_keys.revoke(key_id, caller.did("key.revoke", key_id, key.tenant))
    doorkeeper: Doorkeeper = request.app.state.doorkeeper
    doorkeeper.forget(key_id)
    return Response(status_code=204)


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
