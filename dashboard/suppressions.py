"""Suppressed addresses, which receive no more emails: search them, add one, and let one receive emails again."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from api.access import needs
from api.cursors import PageCursor
from api.deps import AnyTenant, CallerDep, Cursor, SettingsDep, SuppressionsDep, Tenant
from api.errors import from_validation
from api.problems import Problem
from dashboard.paging import paging
from dashboard.recoveries import problem_of
from dashboard.rendering import errors_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry.suppressions import Suppressions, TooManySuppressions
from hookkeeper.services.suppressions import KnownAddress, NewSuppression, allow, suppress

router = APIRouter(prefix="/suppressions", include_in_schema=False, route_class=PageRoute)
ADDRESSES_ON_PAGE = 50
ADDRESS: TypeAdapter[str] = TypeAdapter(KnownAddress)


DONE = {
    "add": "The address receives no more emails.",
    "known": "The address was suppressed before. Nothing has changed.",
    "remove": "The address receives emails again. If the provider suppresses it too, remove it there as well.",
}
"""What the page says after a change."""


@router.get("", dependencies=[needs("webhooks:read")])
async def list_suppressions(
    request: Request,
    cursor: Cursor,
    suppressions: SuppressionsDep,
    tenant: AnyTenant,
    address: Annotated[KnownAddress | None, Query()] = None,
    done: str = "",
) -> Response:
    """Show suppressed addresses, newest first."""
    return await _show(request, suppressions, cursor, tenant, address, notice=DONE.get(done, ""))


@router.post("/add", dependencies=[needs("webhooks:write")])
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
        _, is_new = await suppress(NewSuppression(**_fields(form)), suppressions, caller, settings)
    except (ValidationError, TooManySuppressions) as error:
        problem = problem_of(error)
        if "webhooks:read" not in caller.scopes:  # the page around the form lists addresses
            raise problem from None
        return await _show(request, suppressions, cursor, tenant, problem=problem, form=form)
    return redirect(query("/suppressions", done="add" if is_new else "known"))


@router.post("/remove", dependencies=[needs("webhooks:write")])
async def remove_suppression(
    request: Request, suppressions: SuppressionsDep, caller: CallerDep, tenant: Tenant
) -> Response:
    """Let an address receive emails again."""
    try:
        address = ADDRESS.validate_python(request.state.form.get("address", ""))
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    await allow(tenant, address, suppressions, caller)
    return redirect("/suppressions?done=remove")


def _fields(form: dict[str, str]) -> dict[str, Any]:
    """Read the form as the fields of the API."""
    tenant = {"tenant": form["tenant"].strip()} if form.get("tenant", "").strip() else {}
    return tenant | {name: form.get(name, "").strip() for name in ("address", "detail")}


async def _show(
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
    page = cursor.page(found, end)
    return await render(
        request,
        "suppressions.html",
        problem.status_code if problem else 200,
        items=found,
        **paging(request, "/suppressions", cursor, page.next_cursor),
        notice=notice,
        problem=problem,
        errors=errors_of(problem),
        form=form or {"tenant": tenant or ""},
    )
