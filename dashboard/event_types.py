"""The catalogue: each event type with its example and its schema, and a form that sends the example."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.deps import CatalogueDep, EventEntryDep
from api.errors import from_validation
from api.routes.event_types import Name, show_event_type
from api.routes.post_events import accept_event
from api.schemas.event_types import EventTypeView
from dashboard.rendering import query, redirect, render
from dashboard.routes import PageRoute
from dashboard.schema_tree import Field, tree
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import EventType
from hookkeeper.services.new_event import NewEvent

router = APIRouter(prefix="/event-types", include_in_schema=False, route_class=PageRoute)
ON_PAGE = 20


class Entry(NamedTuple):
    """An event type, and its schema as a tree."""

    type: EventTypeView
    tree: Field | None


@router.get("", dependencies=[needs("events:read", "webhooks:read")])
async def list_event_types(
    request: Request, catalogue: CatalogueDep, cursor: Annotated[EventType | None, Query()] = None
) -> Response:
    """Show the catalogue by name."""
    found, following = await catalogue.page(archived=None, limit=ON_PAGE, after=cursor)
    types = [EventTypeView.of(row) for row in found]
    return await render(
        request,
        "event_types.html",
        items=[Entry(shown, tree(shown.schema_) if shown.schema_ else None) for shown in types],
        older=following and query("/event-types", cursor=following),
        newest="/event-types",
        is_first=cursor is None,
    )


@router.post("/{name}/send", dependencies=[needs("events:write")])
async def send_example(request: Request, name: Name, catalogue: CatalogueDep, entry: EventEntryDep) -> Response:
    """Post the first example of a type as an event, and show that."""
    shown = await show_event_type(name, catalogue)
    if not shown.examples:
        raise NotFound("This event type has no example.")
    tenant = request.state.form.get("tenant", "").strip()
    try:
        event = NewEvent.model_validate(
            {"type": name, "data": shown.examples[0]} | ({"tenant": tenant} if tenant else {})
        )
    except ValidationError as error:
        raise from_validation(error.errors()) from None
    accepted = await accept_event(event, entry)
    return redirect(query(f"/events/{accepted.id}", tenant=accepted.tenant, sent="example"))
