"""Event types, which are those of our catalogue. Each has one version of its schema."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from api.access import needs
from api.deps import CatalogueDep, EventTypesDep
from extensions.svix.base import ROUTES, In, ListResponse, Ordering, Out, PagingDep
from extensions.svix.errors import translated, untranslatable
from hookkeeper.registry.catalogue import EventTypeExists
from hookkeeper.registry.models import EventType
from hookkeeper.services.catalogue.event_types import EventTypeChanges, NewEventType
from hookkeeper.services.errors import Invalid, NotFound
from hookkeeper.services.fields import EVENT_TYPE, MAX_EVENT_TYPE, Time

router = APIRouter(**ROUTES)
ANY_READ = needs("events:read", "webhooks:read")
VERSION = "1"
"""The name of a schema's version in answers."""
Flags = Annotated[Any, untranslatable("event types have no feature flags")]
Name = Annotated[str, Path(alias="event_type_name", pattern=EVENT_TYPE, max_length=MAX_EVENT_TYPE)]


class EventTypePatch(In):
    description: Any = None
    archived: bool | None = None
    schemas: dict[str, Any] | None = None
    deprecated: Annotated[Any, untranslatable("archive the event type, or describe it as deprecated")] = None
    feature_flag: Flags = None
    feature_flags: Flags = None
    group_name: Annotated[Any, untranslatable("names form groups: order.* has order.paid")] = None


class EventTypeUpdate(EventTypePatch):
    description: str
    name: Any = None
    """Ignored: the name is that in the path."""


class EventTypeIn(EventTypeUpdate):
    name: str


class EventTypeOut(Out):
    name: str
    description: str
    archived: bool
    deprecated: bool = False
    feature_flag: str | None = None
    schemas: dict[str, Any] | None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, row: EventType, with_content: bool = True) -> "EventTypeOut":
        return cls(
            name=row.name,
            description=row.description,
            archived=row.archived,
            schemas=({VERSION: row.schema} if row.schema else row.schema) if with_content else None,
            created_at=row.created_at,
            updated_at=row.updated_at,
        )


def _fields(given: EventTypePatch) -> dict[str, Any]:
    """Return the sent fields as fields of our event types. A schema's examples become those of the event type."""
    sent = {name: getattr(given, name) for name in given.model_fields_set & {"name", "description", "archived"}}
    if sent.get("archived", False) is None:
        del sent["archived"]
    if "schemas" in given.model_fields_set:
        versions = given.schemas or {}
        if len(versions) > 1:
            raise Invalid.field("schema", "an event type has one schema: send one version")
        schema: Any = next(iter(versions.values()), None if given.schemas is None else {})  # both take any data
        examples = schema.get("examples") if isinstance(schema, dict) else None
        sent |= {"schema": schema, "examples": examples if isinstance(examples, list) else []}
    return sent


@router.get("/event-type", dependencies=[ANY_READ])
async def list_event_types(
    catalogue: CatalogueDep,
    paging: PagingDep,
    order: Ordering = "ascending",
    include_archived: bool = False,
    with_content: bool = False,
) -> ListResponse[EventTypeOut]:
    """List event types by name."""

    async def read(limit: int, cursor: str | None, first_first: bool) -> tuple[list[EventType], str | None]:
        archived = None if include_archived else False
        return await catalogue.page(archived=archived, limit=limit, after=cursor, last_first=not first_first)

    return await paging.by_cursor(order, read, lambda row: row.name, lambda row: EventTypeOut.of(row, with_content))


@router.post("/event-type", status_code=201, dependencies=[needs("admin")])
async def create_event_type(new: EventTypeIn, event_types: EventTypesDep) -> EventTypeOut:
    """Add an event type, or restore an archived one."""
    fields = _fields(new)
    try:
        return EventTypeOut.of(await event_types.add(translated(NewEventType, **fields)))
    except EventTypeExists:
        if not (await event_types.get(new.name)).archived:
            raise
    del fields["name"]
    changes = translated(EventTypeChanges, **{"archived": False} | fields)
    return EventTypeOut.of(await event_types.change(new.name, changes))


@router.get("/event-type/{event_type_name}", dependencies=[ANY_READ])
async def show_event_type(event_type_name: Name, event_types: EventTypesDep) -> EventTypeOut:
    """Show an event type."""
    return EventTypeOut.of(await event_types.get(event_type_name))


@router.put("/event-type/{event_type_name}", dependencies=[needs("admin")])
async def put_event_type(
    event_type_name: Name, given: EventTypeUpdate, event_types: EventTypesDep, response: Response
) -> EventTypeOut:
    """Replace an event type, or add it."""
    fields = {"archived": False, "schema": None, "examples": []} | _fields(given)
    fields.pop("name", None)
    try:
        return EventTypeOut.of(await event_types.change(event_type_name, translated(EventTypeChanges, **fields)))
    except NotFound:
        response.status_code = 201
        new = translated(NewEventType, name=event_type_name, **fields)
        return EventTypeOut.of(await event_types.add(new))


@router.patch("/event-type/{event_type_name}", dependencies=[needs("admin")])
async def change_event_type(event_type_name: Name, given: EventTypePatch, event_types: EventTypesDep) -> EventTypeOut:
    """Change the fields that are sent."""
    return EventTypeOut.of(await event_types.change(event_type_name, translated(EventTypeChanges, **_fields(given))))


@router.delete("/event-type/{event_type_name}", status_code=204, dependencies=[needs("admin")])
async def delete_event_type(event_type_name: Name, event_types: EventTypesDep, expunge: bool = False) -> None:
    """Archive an event type; with `expunge`, delete it."""
    if expunge:
        await event_types.delete(event_type_name)
    else:
        await event_types.change(event_type_name, EventTypeChanges(archived=True))
