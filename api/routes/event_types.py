"""The catalogue of event types, for all tenants, with the schemas of their data, and the search keys of each tenant."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from api.access import GuardedRoute, needs
from api.deps import AnyTenant, CallerDep, CatalogueDep, EventTypesDep, Limit
from api.problems import KEYED, responses
from hookkeeper.registry import models
from hookkeeper.services.catalogue.documents import as_asyncapi, as_openapi
from hookkeeper.services.catalogue.event_types import (
    EventTypeChanges,
    EventTypeView,
    NewEventType,
    TenantSearchKeys,
    TenantSearchKeysView,
)
from hookkeeper.services.fields import TENANT_PATTERN, EventType, Page

router = APIRouter(prefix="/v1/event-types", tags=["event types"], route_class=GuardedRoute, responses=KEYED)
export_router = APIRouter(tags=["event types"], route_class=GuardedRoute, responses=KEYED)
search_keys_router = APIRouter(prefix="/v1/search-keys", tags=["events"], route_class=GuardedRoute, responses=KEYED)
ANY_READ = needs("events:read", "webhooks:read")
EXPORTED: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"examples": {"openapi": {"value": as_openapi([])}}}}}
}
Name = Annotated[EventType, Path(description="The event type", examples=["order.paid"])]


@router.post("", status_code=201, responses=responses(409), dependencies=[needs("admin")])
async def create_event_type(new: NewEventType, event_types: EventTypesDep) -> EventTypeView:
    """Add an event type. New events of this type are validated against its schema."""
    return EventTypeView.of(await event_types.add(new))


@router.get("", dependencies=[ANY_READ])
async def list_event_types(
    catalogue: CatalogueDep,
    archived: bool | None = None,
    limit: Limit = 50,
    cursor: Annotated[EventType | None, Query(description="`next_cursor` of the previous page")] = None,
) -> Page[EventTypeView]:
    """List event types by name.

    A page ends after about 1 MiB of schemas and examples, so it can have fewer items than `limit` without being the
    last one: only `next_cursor` tells.
    """
    found, next_cursor = await catalogue.page(archived=archived, limit=limit, after=cursor)
    return Page(items=[EventTypeView.of(row) for row in found], next_cursor=next_cursor)


@router.get("/{name}", responses=responses(404), dependencies=[ANY_READ])
async def show_event_type(name: Name, event_types: EventTypesDep) -> EventTypeView:
    """Show an event type."""
    return EventTypeView.of(await event_types.get(name))


@router.patch("/{name}", responses=responses(404), dependencies=[needs("admin")])
async def change_event_type(name: Name, changes: EventTypeChanges, event_types: EventTypesDep) -> EventTypeView:
    """Change the fields that are sent. New events of an archived type are refused."""
    return EventTypeView.of(await event_types.change(name, changes))


@router.delete("/{name}", status_code=204, responses=responses(404), dependencies=[needs("admin")])
async def delete_event_type(name: Name, event_types: EventTypesDep) -> Response:
    """Remove an event type from the catalogue. Events of the type are still accepted, without validation."""
    await event_types.delete(name)
    return Response(status_code=204)


@export_router.get("/v1/catalogue", responses=EXPORTED, dependencies=[ANY_READ])
async def export_catalogue(
    catalogue: CatalogueDep,
    format: Annotated[
        Literal["openapi", "asyncapi"], Query(description="`openapi`: OpenAPI 3.1 webhooks. `asyncapi`: AsyncAPI 3")
    ] = "openapi",
) -> dict[str, Any]:
    """Export the catalogue as an OpenAPI 3.1 or AsyncAPI 3 document, for the tools of your customers."""
    types: list[models.EventType] = []
    after: str | None = None
    while True:
        page, after = await catalogue.page(archived=False, limit=100, after=after)
        types += page
        if after is None:
            return as_openapi(types) if format == "openapi" else as_asyncapi(types)


@search_keys_router.get("", dependencies=[needs("events:read")])
async def list_search_keys(
    catalogue: CatalogueDep,
    tenant: AnyTenant,
    limit: Limit = 50,
    cursor: Annotated[
        str | None, Query(pattern=TENANT_PATTERN, description="`next_cursor` of the previous page")
    ] = None,
) -> Page[TenantSearchKeysView]:
    """List the search keys of tenants, by tenant. Those of event types are in `GET /v1/event-types`."""
    found, next_cursor = await catalogue.search_keys_page(tenant, limit=limit, after=cursor)
    return Page(items=[TenantSearchKeysView.of(row) for row in found], next_cursor=next_cursor)


@search_keys_router.put("", dependencies=[needs("events:write")])
async def set_search_keys(new: TenantSearchKeys, catalogue: CatalogueDep, caller: CallerDep) -> TenantSearchKeysView:
    """Replace the search keys of a tenant: paths in the data of its events, of all types.

    Events that are accepted from now on are found by the values there: `GET /v1/events?q=data.order_id:4711`.
    """
    new = caller.with_tenant(new)
    entry = caller.did("search-keys.update", new.tenant, new.tenant, ["paths"])
    await catalogue.set_search_keys(new.tenant, new.paths, entry)
    return TenantSearchKeysView.of(new)
