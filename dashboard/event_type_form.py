"""Add, change, archive and delete event types of the catalogue."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response

from api.access import needs
from api.deps import EventTypesDep
from dashboard import forms
from dashboard.forms import REFUSED, FormRoute
from dashboard.rendering import query, redirect
from hookkeeper.services.catalogue.event_types import EventTypeChanges, EventTypeView, NewEventType
from hookkeeper.services.field_texts import tidied, write_fields
from hookkeeper.services.fields import EventType

router = APIRouter(prefix="/event-types", include_in_schema=False, route_class=FormRoute, dependencies=[needs("admin")])
Name = Annotated[EventType, Path()]
FIRST = ("name", "description")
LIST: dict[str, Any] = {"list": "/event-types", "list_name": "Event types"}


@router.get("/new")
async def show_new(request: Request) -> Response:
    """Show an empty form."""
    return await _show_new(request, {})


@router.post("/new")
async def add_event_type(request: Request, event_types: EventTypesDep) -> Response:
    """Add an event type, and go to it."""
    form = tidied(NewEventType, request.state.form, {})
    try:
        added = await event_types.add(NewEventType(**await forms.read(request, NewEventType, form)))
    except REFUSED as error:
        return await _show_new(request, form, error=error)
    return redirect(_place(added.name, "add"))


@router.get("/{name}/edit")
async def show_edit(request: Request, name: Name, event_types: EventTypesDep) -> Response:
    """Show the form of an event type."""
    return await _show_edit(request, name, _texts_of(await event_types.get(name)))


@router.post("/{name}/edit")
async def change_event_type(request: Request, name: Name, event_types: EventTypesDep) -> Response:
    """Change what differs, and go to the event type."""
    before = _texts_of(await event_types.get(name))
    form = tidied(EventTypeChanges, request.state.form, before)
    try:
        if given := await forms.changes(request, EventTypeChanges, form, before):
            await event_types.change(name, EventTypeChanges(**given))
    except REFUSED as error:
        return await _show_edit(request, name, form, error=error)
    return redirect(_place(name, "change"))


@router.post("/{name}/{command}")
async def command_event_type(
    name: Name, command: Literal["archive", "restore", "delete"], event_types: EventTypesDep
) -> Response:
    """Archive, restore or delete an event type."""
    if command == "delete":
        await event_types.delete(name)
        return redirect("/event-types?done=delete")
    await event_types.change(name, EventTypeChanges(archived=command == "archive"))
    return redirect(_place(name, command))


def _place(name: str, done: str) -> str:
    return query("/event-types", name=name, done=done)


def _texts_of(event_type: Any) -> dict[str, str]:
    return write_fields(EventTypeChanges, EventTypeView.of(event_type).model_dump(by_alias=True))


async def _show_new(request: Request, form: dict[str, str], error: Exception | None = None) -> Response:
    return await forms.show(
        request,
        NewEventType,
        form,
        error=error,
        first=FIRST,
        heading="New event type",
        action="/event-types/new",
        **LIST,
    )


async def _show_edit(request: Request, name: str, form: dict[str, str], error: Exception | None = None) -> Response:
    action = f"/event-types/{name}/edit"
    return await forms.show(
        request, EventTypeChanges, form, error=error, first=FIRST, heading=name, action=action, **LIST
    )
