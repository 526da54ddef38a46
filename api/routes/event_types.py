"""The catalogue of event types, for all tenants, with the schemas of their data."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response

from api.access import GuardedRoute, needs
from api.deps import CatalogueDep, EventTypesDep, Limit
from api.problems import KEYED, responses
from hookkeeper.registry import models
from hookkeeper.services.catalogue_documents import as_asyncapi, as_openapi
from hookkeeper.services.event_types import EventTypeChanges, EventTypeView, NewEventType
from hookkeeper.services.fields import EventType, Page

router = APIRouter(prefix="/v1/event-types", tags=["event types"], route_class=GuardedRoute, responses=KEYED)
export_router = APIRouter(tags=["event types"], route_class=GuardedRoute, responses=KEYED)
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
