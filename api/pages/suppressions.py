"""Suppressed addresses, which receive no more emails: search them, and let one receive emails again."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from api.access import needs
from api.deps import AnyTenant, CallerDep, Cursor, SuppressionsDep, Tenant
from api.errors import from_validation
from api.pages.rendering import given_filters, query, redirect, render
from api.pages.routes import PageRoute
from api.routes import suppressions as api
from api.routes.suppressions import KnownAddress, SuppressionView

router = APIRouter(prefix="/suppressions", include_in_schema=False, route_class=PageRoute)
ADDRESSES_ON_PAGE = 50
ADDRESS: TypeAdapter[str] = TypeAdapter(KnownAddress)


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
    found, end = await suppressions.page(tenant=tenant, address=address, limit=ADDRESSES_ON_PAGE, cursor=cursor.start)
    page = cursor.page([SuppressionView.of(row) for row in found], end)
    given = given_filters(request)
    given.pop("done", None)
    return await render(
        request,
        "suppressions.html",
        items=page.items,
        older=page.next_cursor and query("/suppressions", **given, cursor=page.next_cursor),
        newest=query("/suppressions", **given),
        is_first=cursor.start is None,
        is_filtered=bool(given),
        given=request.query_params,
        is_done=done == "remove",
    )


@router.post("/remove", dependencies=[needs("webhooks:write")])
async def remove_suppression(
    request: Request, suppressions: SuppressionsDep, caller: CallerDep, tenant: Tenant
) -> Response:
    """Let an address receive emails again."""
    try:
        address = ADDRESS.validate_python(request.state.form.get("address", ""))
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    await api.delete_suppression(address, suppressions, caller, tenant)
    return redirect("/suppressions?done=remove")
