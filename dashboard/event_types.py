"""The catalogue: each event type with its example and its schema, and a form that sends the example."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.deps import CatalogueDep, EventEntryDep
from api.errors import from_validation
from dashboard.rendering import query, redirect, render
from dashboard.routes import PageRoute
from dashboard.schema_tree import Field, tree
from hookkeeper.registry import models
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import EventType
from hookkeeper.services.new_event import NewEvent

router = APIRouter(prefix="/event-types", include_in_schema=False, route_class=PageRoute)
ON_PAGE = 20


class Entry(NamedTuple):
    """An event type, and its schema as a tree."""

    type: models.EventType
    tree: Field | None


@router.get("", dependencies=[needs("events:read", "webhooks:read")])
async def list_event_types(
    request: Request, catalogue: CatalogueDep, cursor: Annotated[EventType | None, Query()] = None
) -> Response:
    """Show the catalogue by name."""
    found, following = await catalogue.page(archived=None, limit=ON_PAGE, after=cursor)
    return await render(
        request,
        "event_types.html",
        items=[Entry(row, tree(row.schema) if row.schema else None) for row in found],
        older=following and query("/event-types", cursor=following),
        newest="/event-types",
        is_first=cursor is None,
    )


@router.post("/{name}/send", dependencies=[needs("events:write")])
async def send_example(
    request: Request, name: Annotated[EventType, Path()], catalogue: CatalogueDep, entry: EventEntryDep
) -> Response:
    """Post the first example of a type as an event, and show that."""
    known = await catalogue.get(name)
    if known is None:
        raise NotFound("There is no such event type.")
    if not known.examples:
        raise NotFound("This event type has no example.")
    tenant = request.state.form.get("tenant", "").strip()
    try:
        event = NewEvent.model_validate(
            {"type": name, "data": known.examples[0]} | ({"tenant": tenant} if tenant else {})
        )
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    sent = (await entry.accept(event)).state
    return redirect(query(f"/events/{sent.id}", tenant=sent.tenant, sent="example"))
