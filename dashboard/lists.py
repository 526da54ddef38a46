"""Lists with few commands: suppressed addresses, API keys, and the audit log."""

import re
from collections import defaultdict
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from api.access import needs
from api.cursors import PageCursor
from api.deps import (
    AnyTenant,
    AuthenticatorDep,
    CallerDep,
    Cursor,
    SchedulesDep,
    SettingsDep,
    StoreDep,
    SuppressionsDep,
    Tenant,
)
from api.problems import Conflicting, Problem
from dashboard.rendering import paging, problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry.audit import AuditEntry
from hookkeeper.registry.store import Store
from hookkeeper.registry.suppressions import Suppressions, TooManySuppressions
from hookkeeper.registry.tenants.api_keys import KEY_ID, KeyExists, new_key_id
from hookkeeper.services.caller import SCOPES, USUAL_SCOPES, Caller
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.mail.suppressions import KnownAddress, NewSuppression, allow, suppress
from hookkeeper.services.tenants.keys import NewKey, add_key, revoke
from hookkeeper.services.webhooks.webhooks import names_of
from hookkeeper.times import utc_now
from hookkeeper.wording import N_

router = APIRouter(include_in_schema=False, route_class=PageRoute)
KEYS_ON_PAGE = 50
CREATED_BEFORE = (
    "This form has created the key {} already, and only the first answer has shown it. If it is lost, revoke it and"
    " create another."
)
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year"}
"""In days."""
ADDRESSES_ON_PAGE = 50
ADDRESS: TypeAdapter[str] = TypeAdapter(KnownAddress)
DONE = {
    "add": N_("The address receives no more emails."),
    "known": N_("The address was suppressed before. Nothing has changed."),
    "remove": N_("The address receives emails again. If the provider suppresses it too, remove it there as well."),
}
"""What the page says after a change."""
ENTRIES_ON_PAGE = 50
PLACES = {
    "event": "/events/{}",
    "webhook": "/webhooks/{}",
    "recovery": "/recoveries/{}",
    "schedule": "/schedules/{}/edit",
    "event-type": "/event-types?name={}",
    "tenant": "/limits?tenant={}",
}
"""Pages of what an entry of the audit log is about, by the kind that begins its action."""
OWN_IDS = {"event", "schedule"}
"""Kinds whose ids each tenant has its own of."""


@router.get("/suppressions", dependencies=[needs("webhooks:read")])
async def list_suppressions(
    request: Request,
    cursor: Cursor,
    suppressions: SuppressionsDep,
    tenant: AnyTenant,
    address: Annotated[KnownAddress | None, Query()] = None,
    done: str = "",
) -> Response:
    """Show suppressed addresses, newest first."""
    return await _show_suppressions(request, suppressions, cursor, tenant, address, notice=DONE.get(done, ""))


@router.post("/suppressions/add", dependencies=[needs("webhooks:write")])
async def add_suppression(
    request: Request,
    cursor: Cursor,
    suppressions: SuppressionsDep,
    caller: CallerDep,
    settings: SettingsDep,
    tenant: AnyTenant,
) -> Response:
    """Suppress an address."""
    form: dict[str, str] = request.state.form
    try:
        _, is_new = await suppress(NewSuppression(**_suppression_fields(form)), suppressions, caller, settings)
    except (ValidationError, TooManySuppressions) as error:
        problem = problem_of(error)
        if "webhooks:read" not in caller.scopes:  # the page around the form lists addresses
            raise problem from None
        return await _show_suppressions(request, suppressions, cursor, tenant, problem=problem, form=form)
    return redirect(query("/suppressions", done="add" if is_new else "known"))


@router.post("/suppressions/remove", dependencies=[needs("webhooks:write")])
async def remove_suppression(
    request: Request, suppressions: SuppressionsDep, caller: CallerDep, tenant: Tenant
) -> Response:
    """Let an address receive emails again."""
    try:
        address = ADDRESS.validate_python(request.state.form.get("address", ""))
    except ValidationError as error:
        raise problem_of(error) from None
    await allow(tenant, address, suppressions, caller)
    return redirect("/suppressions?done=remove")


def _suppression_fields(form: dict[str, str]) -> dict[str, Any]:
    """Read the form as the fields of the API."""
    tenant = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
    return tenant | {name: form.get(name, "").strip() for name in ("address", "detail")}


async def _show_suppressions(
    request: Request,
    suppressions: Suppressions,
    cursor: PageCursor,
    tenant: str | None,
    address: str | None = None,
    *,
    notice: str = "",
    problem: Problem | None = None,
    form: dict[str, str] | None = None,
) -> Response:
    found, end = await suppressions.page(tenant=tenant, address=address, limit=ADDRESSES_ON_PAGE, cursor=cursor.start)
    return await render(
        request,
        "suppressions.html",
        items=found,
        **paging(request, "/suppressions", cursor, end),
        notice=notice,
        problem=problem,
        form=form or {"tenant": tenant or ""},
    )


@router.get("/keys", dependencies=[needs("admin")])
async def list_keys(request: Request, cursor: Cursor, store: StoreDep, tenant: AnyTenant) -> Response:
    """Show keys, newest first, including revoked ones."""
    return await _show_keys(request, store, cursor, tenant)


@router.post("/keys/create", dependencies=[needs("admin")])
async def create_key(
    request: Request, cursor: Cursor, store: StoreDep, caller: CallerDep, tenant: AnyTenant
) -> Response:
    """Create a key. Only this answer has it.

    The form names the key's id, so one that is sent again, by a second click or a reload, creates no second key.
    """
    form: dict[str, str] = request.state.form
    given = form.get("id", "")
    key_id = given if KEY_ID.fullmatch(given) else new_key_id()
    try:
        key, text = await add_key(NewKey(**_key_fields(form)), key_id, store, caller)
    except KeyExists:
        return await _show_keys(request, store, cursor, tenant, problem=Conflicting(CREATED_BEFORE.format(key_id)))
    except (ValidationError, Invalid) as error:
        return await _show_keys(request, store, cursor, tenant, problem=problem_of(error), form=form)
    return await _show_keys(request, store, cursor, tenant, created={"name": key.name, "key": text})


@router.post("/keys/revoke", dependencies=[needs("admin")])
async def revoke_key(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    schedules: SchedulesDep,
    caller: CallerDep,
    authenticator: AuthenticatorDep,
    tenant: AnyTenant,
) -> Response:
    """Revoke a key; pause the schedules that it made if the form says so."""
    form: dict[str, str] = request.state.form
    key_id, pauses = form.get("key", ""), form.get("pause_schedules") == "true"
    if not re.fullmatch(EVENT_ID, key_id):
        raise NotFound("There is no such key.")
    made = await revoke(key_id, store, schedules, caller, authenticator.forget, pauses=pauses)
    shown = [{"id": row.id, "tenant": row.tenant, "paused": row.paused or pauses} for row in made]
    return await _show_keys(request, store, cursor, tenant, revoked={"id": key_id, "schedules": shown})


def _key_fields(form: dict[str, str]) -> dict[str, Any]:
    """Read the form as the fields of the API. Raises Invalid: a key of all tenants is never made by an empty field."""
    text = {name: form.get(name, "").strip() for name in ("name", "tenant", "rate_limit", "expires")}
    of_all = form.get("all_tenants") == "true"
    if of_all == bool(text["tenant"]):
        raise Invalid.field("tenant", "name a tenant or choose all tenants")
    if text["expires"] and text["expires"] not in LIFETIMES:
        raise Invalid.field("expires", "choose one of the times")
    return {
        "name": text["name"],
        "tenant": None if of_all else text["tenant"],
        "scopes": [scope for scope in SCOPES if form.get(f"scope {scope}") == "true"],
        "rate_limit": text["rate_limit"] or None,
        "expires_at": utc_now() + timedelta(days=int(text["expires"])) if text["expires"] else None,
    }


async def _show_keys(
    request: Request,
    store: Store,
    cursor: PageCursor,
    tenant: str | None,
    *,
    problem: Problem | None = None,
    form: dict[str, str] | None = None,
    created: dict[str, str] | None = None,
    revoked: dict[str, Any] | None = None,
) -> Response:
    found, end = await store.api_keys.page(tenant=tenant, limit=KEYS_ON_PAGE, cursor=cursor.start)
    return await render(
        request,
        "keys.html",
        items=found,
        **paging(request, "/keys", cursor, end),
        now=utc_now(),
        problem=problem,
        created=created,
        revoked=revoked,
        form=form or {"id": new_key_id()} | {f"scope {scope}": "true" for scope in USUAL_SCOPES},
        scopes=SCOPES,
        lifetimes={"": "never"} | {days: f"in {text}" for days, text in LIFETIMES.items()},
    )


@router.get("/audit", dependencies=[needs("admin")])
async def list_audit_log(
    request: Request, cursor: Cursor, store: StoreDep, caller: CallerDep, tenant: AnyTenant
) -> Response:
    """Show changes and commands, newest first, with the names of what they were about."""
    found, end = await store.audit.page(
        tenant=tenant, since=None, until=None, limit=ENTRIES_ON_PAGE, cursor=cursor.start
    )
    return await render(
        request,
        "audit.html",
        items=[(entry, _place_of(entry)) for entry in found],
        names=await _names(store, caller, found),
        **paging(request, "/audit", cursor, end, exported=True),
    )


async def _names(store: Store, caller: Caller, entries: list[AuditEntry]) -> dict[str, str]:
    """Return the names of webhooks, keys and links that entries are about, by id. What was deleted has none."""
    ids: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        ids[entry.action.partition(".")[0]].add(entry.object_id)
    return {
        **await names_of(store, caller, ids["webhook"]),
        **await store.api_keys.names(ids["key"]),
        **await store.portal.names(ids["portal-link"] | ids["portal-session"]),
    }


def _place_of(entry: AuditEntry) -> str | None:
    """Return the page of what an entry is about, if it has one."""
    kind, _, done = entry.action.partition(".")
    if done == "delete" or kind not in PLACES:
        return None
    return query(PLACES[kind].format(entry.object_id), tenant=entry.tenant if kind in OWN_IDS else None)
