"""What the routes of Svix's API share: how they are made, models in camel case, pages, what cannot be translated.

Each route calls the service that the route of `/v1` calls. Errors are raised as everywhere; `api.svix.errors` writes
them as Svix does.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from api.access import GuardedRoute
from api.cursors import PageCursor
from api.deps import StoreDep, TenantsDep
from api.state import state_of
from hookkeeper.registry.models import Tenant, Webhook
from hookkeeper.registry.tenants import BEING_DELETED
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_ID, TENANT_PATTERN, GivenTime, RequestModel
from hookkeeper.services.tenants import UNKNOWN
from hookkeeper.services.webhooks import require

PREFIX = "/api/v1"
MAX_LIMIT = 250
ReadModel = TypeVar("ReadModel", bound=BaseModel)
Item = TypeVar("Item")
Ordering = Literal["ascending", "descending"]


class SvixRoute(GuardedRoute):
    """A route of Svix's API. The OpenAPI document is that of `/v1` alone: Svix's is Svix's."""


ROUTES: dict[str, Any] = {"prefix": PREFIX, "route_class": SvixRoute, "include_in_schema": False}
"""How a router of Svix's API is made."""


class In(RequestModel):
    """Base of the models of requests: what they have is checked by the models that they are translated to."""

    model_config = ConfigDict(alias_generator=to_camel)


class Out(BaseModel):
    """Base of the models of answers."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


def untranslatable(reason: str) -> Any:
    """Return the type of a field that has no counterpart. It may be left out, or have a value that means nothing."""

    def refuse(value: Any) -> None:
        if value:
            raise ValueError(reason)

    return Annotated[Any, AfterValidator(refuse)]


def translated(model: type[ReadModel], **fields: Any) -> ReadModel:
    """Make a request of ours. Raises Invalid, which names the fields as we do."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise Invalid.of(error.errors()) from None


class ListResponse(BaseModel, Generic[Item]):
    data: list[Item]
    iterator: str | None
    prevIterator: str | None = None  # noqa: N815 - lists are read in one direction
    done: bool


class Paging(NamedTuple):
    """What a request for a page says."""

    limit: int
    cursor: PageCursor

    def page(self, items: Sequence[Item], end: str | None) -> ListResponse[Item]:
        """Make a page; `end` is where the next one begins."""
        iterator = self.cursor.page((), end).next_cursor
        return ListResponse(data=list(items), iterator=iterator, done=iterator is None)


async def _paging(
    request: Request, limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50, iterator: str | None = None
) -> Paging:
    return Paging(limit, PageCursor(state_of(request).cursor_key, request.url.path, iterator))


PagingDep = Annotated[Paging, Depends(_paging)]


async def _application(app_id: str, tenants: TenantsDep) -> Tenant:
    """Return the application that the path names. Raises NotFound, also for another one than the key's."""
    if not re.fullmatch(TENANT_PATTERN[1:-1], app_id, re.ASCII):
        raise NotFound(UNKNOWN)
    tenant = await tenants.get(app_id)
    if tenant.suspended_at and tenant.reason == BEING_DELETED:
        raise NotFound(UNKNOWN)
    return tenant


Application = Annotated[Tenant, Depends(_application)]


async def find_endpoint(app: Tenant, endpoint_id: str, store: StoreDep) -> Webhook | None:
    """Return an endpoint by its id or uid, or None."""
    if not re.fullmatch(EVENT_ID[1:-1], endpoint_id, re.ASCII):
        return None
    return await store.webhooks.get(endpoint_id, app.id)


async def _endpoint(app: Application, endpoint_id: str, store: StoreDep) -> Webhook:
    return require(await find_endpoint(app, endpoint_id, store))


Endpoint = Annotated[Webhook, Depends(_endpoint)]


class MessageFilter(NamedTuple):
    """Which messages a list has."""

    before: datetime | None
    after: datetime | None
    channel: str | None
    event_types: tuple[str, ...]
    with_content: bool


async def _message_filter(
    before: GivenTime | None = None,
    after: GivenTime | None = None,
    channel: Annotated[str | None, Query(max_length=128)] = None,
    event_types: Annotated[list[str] | None, Query(max_length=100)] = None,
    with_content: bool = True,
) -> MessageFilter:
    """Read the filter. Clients send several event types as one text with commas, or repeat the parameter."""
    types = [name for given in event_types or () for name in given.split(",") if name]
    return MessageFilter(before, after, channel, tuple(types), with_content)


MessageFilterDep = Annotated[MessageFilter, Depends(_message_filter)]


def id_of_key(idempotency_key: str) -> str:
    """Return the id of what a request with this idempotency key makes."""
    return f"msg_{hashlib.sha256(idempotency_key.encode()).hexdigest()[:32]}"


ID_OF_KEY = re.compile(r"msg_[0-9a-f]{32}")
