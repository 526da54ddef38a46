"""Suppressions: addresses that receive no more emails. Hard bounces and spam reports are added automatically."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AfterValidator, Field

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, CallerDep, Cursor, Limit, SettingsDep, SuppressionsDep, Tenant
from api.problems import KEYED, responses
from hookkeeper.content.emails import parse_mailbox
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.models import Suppression
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import Line, Page, RequestModel, ResponseModel, TenantName, Time, with_examples

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"], route_class=GuardedRoute, responses=KEYED)
Reason = Literal["bounced", "spam_report", "manual"]
MAX_ADDRESS = 320
"""Characters: 64 before the @, 255 after it."""


def _normal(address: str) -> str:
    """Return an address as emails have it: the domain in punycode, all in lower case."""
    return parse_mailbox(address).address.lower()


def _known(address: str) -> str:
    """Return an address as emails have it. Accepts invalid ones: a provider may have reported them."""
    try:
        return _normal(address)
    except ValueError:
        return address.lower()


NewAddress = Annotated[str, Field(max_length=MAX_ADDRESS), AfterValidator(_normal)]
KnownAddress = Annotated[str, Field(max_length=MAX_ADDRESS, pattern=r"^[^\x00]+$"), AfterValidator(_known)]
PathAddress = Annotated[KnownAddress, Path(description="The address", examples=["ann@acme.example"])]


class NewSuppression(RequestModel):
    model_config = with_examples({"tenant": "acme", "address": "ann@acme.example", "detail": "Asked by phone."})

    tenant: TenantName = DEFAULT_TENANT
    address: NewAddress
    """The tenant's webhooks send no more emails to this address. Case does not matter."""
    detail: Line = Field("", max_length=256)
    """The reason, in your words."""


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
    fields, new = new.model_fields_set, caller.with_tenant(new)
    suppression = Suppression(tenant=new.tenant, address=new.address, reason="manual", detail=new.detail)
    entry = caller.did("suppression.create", new.address, new.tenant, fields)
    if await suppressions.add(suppression, entry, settings.max_suppressions_per_tenant):
        return SuppressionView.of(suppression)
    response.status_code = 200
    return SuppressionView.of(await suppressions.get(new.tenant, new.address) or suppression)


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
    if not await suppressions.remove(tenant, address, caller.did("suppression.delete", address, tenant)):
        raise NotFound("This address is not suppressed.")
    return Response(status_code=204)
