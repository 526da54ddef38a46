"""Describe, change, suspend and delete tenants. Their list is on the page of limits."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from api.access import needs
from api.deps import TenantsDep
from dashboard import forms
from dashboard.forms import REFUSED, FormRoute
from dashboard.rendering import query, redirect
from hookkeeper.services.field_texts import tidied, write_fields
from hookkeeper.services.fields import TENANT_PATTERN
from hookkeeper.services.tenants.tenants import NewTenant, TenantChanges, TenantService

router = APIRouter(prefix="/tenants", include_in_schema=False, route_class=FormRoute, dependencies=[needs("admin")])
Id = Annotated[str, Path(pattern=TENANT_PATTERN)]
FIRST = ("id", "name", "metadata", "rate_limit", "suspended", "reason")
WITHOUT = frozenset({"on_failure"})
"""The API and the command line set alerts, which are a form of their own."""
LIST: dict[str, Any] = {"list": "/limits", "list_name": "Tenants", "first": FIRST, "without": WITHOUT}


@router.get("/new")
async def show_new(request: Request) -> Response:
    """Show an empty form."""
    return await _show_new(request, {})


@router.post("/new")
async def add_tenant(request: Request, tenants: TenantsDep) -> Response:
    """Add a tenant, and go to it."""
    form = tidied(NewTenant, request.state.form, {})
    try:
        added = await tenants.add(NewTenant(**await forms.read(request, NewTenant, form)))
    except REFUSED as error:
        return await _show_new(request, form, error=error)
    return redirect(query("/limits", tenant=added.id))


@router.get("/{tenant_id}/edit")
async def show_edit(request: Request, tenant_id: Id, tenants: TenantsDep) -> Response:
    """Show the form of a tenant."""
    return await _show_edit(request, tenant_id, await _texts_of(tenants, tenant_id))


@router.post("/{tenant_id}/edit")
async def change_tenant(request: Request, tenant_id: Id, tenants: TenantsDep) -> Response:
    """Change what differs, and go to the tenant."""
    before = await _texts_of(tenants, tenant_id)
    form = tidied(TenantChanges, request.state.form, before)
    try:
        if given := await forms.changes(request, TenantChanges, form, before):
            await tenants.change(tenant_id, TenantChanges(**given))
    except REFUSED as error:
        return await _show_edit(request, tenant_id, form, error=error)
    return redirect(query("/limits", tenant=tenant_id))


@router.post("/{tenant_id}/delete")
async def delete_tenant(tenant_id: Id, tenants: TenantsDep) -> Response:
    """Delete a tenant, and go to the job."""
    return redirect(f"/recoveries/{(await tenants.delete(tenant_id)).id}")


async def _texts_of(tenants: TenantService, tenant_id: str) -> dict[str, str]:
    (shown,) = await tenants.shown([await tenants.get(tenant_id)])
    return write_fields(TenantChanges, shown.model_dump(exclude_unset=True, exclude=set(WITHOUT)))


async def _show_new(request: Request, form: dict[str, str], error: Exception | None = None) -> Response:
    return await forms.show(request, NewTenant, form, error=error, heading="New tenant", action="/tenants/new", **LIST)


async def _show_edit(
    request: Request, tenant_id: str, form: dict[str, str], error: Exception | None = None
) -> Response:
    action = f"/tenants/{tenant_id}/edit"
    return await forms.show(request, TenantChanges, form, error=error, heading=tenant_id, action=action, **LIST)
