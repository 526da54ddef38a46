"""API keys: list them, create one, which is shown once, and revoke one, which names the schedules that it made."""

import re
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.cursors import PageCursor
from api.deps import AnyTenant, AuthenticatorDep, CallerDep, Cursor, GatewayDep, StoreDep
from api.errors import as_problem, from_validation
from api.problems import Conflicting, Problem
from dashboard.paging import paging
from dashboard.rendering import errors_of, render
from dashboard.routes import PageRoute
from hookkeeper.registry.api_keys import KEY_ID, KeyExists, new_key_id
from hookkeeper.registry.store import Store
from hookkeeper.services.caller import SCOPES, USUAL_SCOPES
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID
from hookkeeper.services.keys import NewKey, add_key, revoke
from hookkeeper.times import utc_now

router = APIRouter(prefix="/keys", include_in_schema=False, route_class=PageRoute, dependencies=[needs("admin")])
KEYS_ON_PAGE = 50
CREATED_BEFORE = (
    "This form has created the key {} already, and only the first answer has shown it. If it is lost, revoke it and"
    " create another."
)
LIFETIMES = {"30": "30 days", "90": "90 days", "365": "a year"}
"""In days."""


@router.get("")
async def list_keys(request: Request, cursor: Cursor, store: StoreDep, tenant: AnyTenant) -> Response:
    """Show keys, newest first, including revoked ones."""
    return await _show(request, store, cursor, tenant)


@router.post("/create")
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
        key, text = await add_key(NewKey(**_fields(form)), key_id, store, caller)
    except KeyExists:
        return await _show(request, store, cursor, tenant, problem=Conflicting(CREATED_BEFORE.format(key_id)))
    except ValidationError as error:
        return await _show(request, store, cursor, tenant, problem=from_validation(error.errors()), form=form)
    except Invalid as error:
        return await _show(request, store, cursor, tenant, problem=as_problem(error), form=form)
    return await _show(request, store, cursor, tenant, created={"name": key.name, "key": text})


@router.post("/revoke")
async def revoke_key(
    request: Request,
    cursor: Cursor,
    store: StoreDep,
    gateway: GatewayDep,
    caller: CallerDep,
    authenticator: AuthenticatorDep,
    tenant: AnyTenant,
) -> Response:
    """Revoke a key; pause the schedules that it made if the form says so."""
    form: dict[str, str] = request.state.form
    key_id, pauses = form.get("key", ""), form.get("pause_schedules") == "true"
    if not re.fullmatch(EVENT_ID, key_id):
        raise NotFound("There is no such key.")
    made = await revoke(key_id, store, gateway, caller, authenticator.forget, pauses=pauses)
    schedules = [{"id": known.plan.id, "tenant": known.plan.tenant, "paused": known.paused or pauses} for known in made]
    return await _show(request, store, cursor, tenant, revoked={"id": key_id, "schedules": schedules})


def _fields(form: dict[str, str]) -> dict[str, Any]:
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


async def _show(
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
    page = cursor.page(found, end)
    return await render(
        request,
        "keys.html",
        problem.status_code if problem else 200,
        items=found,
        **paging(request, "/keys", cursor, page.next_cursor),
        now=utc_now(),
        problem=problem,
        errors=errors_of(problem),
        created=created,
        revoked=revoked,
        form=form or {"id": new_key_id()} | {f"scope {scope}": "true" for scope in USUAL_SCOPES},
        scopes=SCOPES,
        lifetimes={"": "never"} | {days: f"in {text}" for days, text in LIFETIMES.items()},
    )
