"""Make and revoke API keys. The scope `admin` is needed for it, since a new key can have any scope."""

from collections.abc import Callable
from contextlib import suppress

from pydantic import Field

from hookkeeper.registry.schedules import Schedule, UnknownSchedule
from hookkeeper.registry.store import Store
from hookkeeper.registry.tenants.api_keys import ApiKey, digest_of, new_key
from hookkeeper.services.caller import USUAL_SCOPES, Caller, Scope
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import GivenTime, Line, RequestModel, TenantName, with_examples
from hookkeeper.settings import RATE
from hookkeeper.temporal.schedules.client import Schedules
from hookkeeper.times import utc_now


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


async def add_key(new: NewKey, key_id: str, store: Store, caller: Caller) -> tuple[ApiKey, str]:
    """Create a key with this id; return it with its text, of which only a digest is kept. Raises Invalid, KeyExists."""
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
    if key.tenant is not None:
        await store.tenants.note(key.tenant)
    await store.api_keys.add(key, caller.did("key.create", key.id, key.tenant, new.model_fields_set))
    return key, text


async def revoke(
    key_id: str, store: Store, schedules: Schedules, caller: Caller, forget: Callable[[str], None], *, pauses: bool
) -> list[Schedule]:
    """Revoke a key, and return the schedules that were made with it, which are paused if `pauses`.

    `forget` makes this process read the key again. Raises NotFound; it can be repeated.
    """
    key = await store.api_keys.get(key_id)
    if key is None:
        raise NotFound("There is no such key.")
    await store.api_keys.revoke(key_id, caller.did("key.revoke", key_id, key.tenant))
    forget(key_id)
    made, note = await store.schedules.made_by(key_id), f"Paused: key {key_id} was revoked"
    for known in made if pauses else ():
        with suppress(UnknownSchedule):  # it was removed meanwhile
            entry = caller.did("schedule.pause", known.id, known.tenant)
            await schedules.change(known.tenant, known.id, lambda was: was._replace(paused=True, note=note), entry)
    return made
