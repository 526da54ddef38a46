"""Suppress addresses, which then receive no more emails, and allow them again."""

from typing import Annotated

from pydantic import AfterValidator, Field

from hookkeeper.content.emails import parse_mailbox
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry.models import Suppression
from hookkeeper.registry.suppressions import Suppressions
from hookkeeper.services.caller import Caller
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import Line, RequestModel, TenantName, with_examples
from hookkeeper.settings import Settings

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


class NewSuppression(RequestModel):
    model_config = with_examples({"tenant": "acme", "address": "ann@acme.example", "detail": "Asked by phone."})

    tenant: TenantName = DEFAULT_TENANT
    address: NewAddress
    """The tenant's webhooks send no more emails to this address. Case does not matter."""
    detail: Line = Field("", max_length=256)
    """The reason, in your words."""


async def suppress(
    new: NewSuppression, suppressions: Suppressions, caller: Caller, settings: Settings
) -> tuple[Suppression, bool]:
    """Suppress an address; return its suppression, and whether it is new. Raises NotAllowed, TooManySuppressions."""
    fields, new = new.model_fields_set, caller.with_tenant(new)
    suppression = Suppression(tenant=new.tenant, address=new.address, reason="manual", detail=new.detail)
    entry = caller.did("suppression.create", new.address, new.tenant, fields)
    if await suppressions.add(suppression, entry, settings.max_suppressions_per_tenant):
        return suppression, True
    return await suppressions.get(new.tenant, new.address) or suppression, False


async def allow(tenant: str, address: str, suppressions: Suppressions, caller: Caller) -> None:
    """Let an address receive emails again. Raises NotFound."""
    if not await suppressions.remove(tenant, address, caller.did("suppression.delete", address, tenant)):
        raise NotFound("This address is not suppressed.")
