"""Suppressions: addresses that receive no more emails. Hard bounces and spam reports are added automatically."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, CallerDep, Cursor, Limit, SettingsDep, SuppressionsDep, Tenant
from api.problems import KEYED, responses
from hookkeeper.services.fields import Page, ResponseModel, Time
from hookkeeper.services.mail.suppressions import KnownAddress, NewSuppression, allow, suppress

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], route_class=GuardedRoute, responses=KEYED)
Reason = Literal["bounced", "spam_report", "manual"]
PathAddress = Annotated[KnownAddress, Path(description="The address", examples=["ann@acme.example"])]


class SuppressionView(ResponseModel):
    tenant: str
    address: str
    reason: Reason
    """`bounced`: the mailbox does not exist. `spam_report`: the recipient marked an email as spam. `manual`: added
    by a request."""
    detail: str
    """The provider's message, or the `detail` that was posted."""
    created_at: Time


@router.post(
    "",
    status_code=201,
    responses={
        200: {"model": SuppressionView, "description": "The address was suppressed before"},
        **responses(409),
    },
    dependencies=[needs("webhooks:write")],
)
async def create_suppression(
    new: NewSuppression,
    suppressions: SuppressionsDep,
    caller: CallerDep,
    settings: SettingsDep,
    response: Response,
) -> SuppressionView:
    """Suppress an address: it receives no more emails. An existing suppression does not change (200).

    409 means that the tenant has added the maximum number of addresses.
    """
    suppression, is_new = await suppress(new, suppressions, caller, settings)
    if not is_new:
        response.status_code = 200
    return SuppressionView.of(suppression)


@router.get("", dependencies=[needs("webhooks:read")])
async def list_suppressions(
    cursor: Cursor,
    suppressions: SuppressionsDep,
    tenant: AnyTenant,
    address: Annotated[KnownAddress | None, Query(description="Only this address")] = None,
    limit: Limit = 50,
) -> Page[SuppressionView]:
    """List suppressed addresses, newest first."""
    found, next_cursor = await suppressions.page(tenant=tenant, address=address, limit=limit, cursor=cursor.start)
    return cursor.page([SuppressionView.of(row) for row in found], next_cursor)


@router.delete("/{address:path}", status_code=204, responses=responses(404), dependencies=[needs("webhooks:write")])
async def delete_suppression(
    address: PathAddress, suppressions: SuppressionsDep, caller: CallerDep, tenant: Tenant
) -> Response:
    """Let an address receive emails again.

    If the provider has a suppression list too, remove the address there as well.
    """
    await allow(tenant, address, suppressions, caller)
    return Response(status_code=204)
