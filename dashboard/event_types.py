"""The catalogue: each event type with its example, a form that sends it, and its schema as a tree of fields.

The tree shows what a sender has to know, not every keyword: the schema itself is beside it. References into the schema
are followed, a recursive one only once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from api.access import needs
from api.deps import EventEntryDep, EventTypesDep
from dashboard.rendering import problem_of, query, redirect, render
from dashboard.routes import PageRoute
from hookkeeper.registry import models
from hookkeeper.services.errors import NotFound
from hookkeeper.services.events.new_event import NewEvent
from hookkeeper.services.fields import EventType

router = APIRouter(prefix="/event-types", include_in_schema=False, route_class=PageRoute)
ON_PAGE = 20
DONE = {
    "add": "The event type is in the catalogue.",
    "change": "The event type was changed.",
    "archive": "The event type is archived: new events of this type are refused.",
    "restore": "The event type is in use again.",
    "delete": "The event type is deleted. Events of this type are accepted, without validation.",
}
"""What the page says after a change."""
MAX_FIELDS = 300
MAX_STEPS = 3000
"""Schemas and references that are followed for one tree: a short schema can branch without end."""
MAX_SHOWN_VALUES = 10
"""Values of an enumeration that are shown."""
MAX_TEXT = 200
"""Characters of a value, a pattern or a description."""
ALTERNATIVES = ("anyOf", "oneOf")
RANGES = (("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items"), ("minimum", "maximum", ""))
NOTES = {
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
    "pattern": "matches",
    "default": "default",
}
KINDS = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", None: "null"}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the data. `path` is its name with those of the fields around it: `customer.address.city`."""

    name: str
    path: str
    kind: str
    """`string (date-time)`, `array of object`, `integer or null`."""
    required: bool
    notes: tuple[str, ...]
    """What values it may have: `1 to 64 characters`, `one of: "eur", "usd"`."""
    description: str
    fields: tuple["Field", ...]


class Entry(NamedTuple):
    """An event type, and its schema as a tree."""

    type: models.EventType
    tree: Field | None


@router.get("", dependencies=[needs("events:read", "webhooks:read")])
async def list_event_types(
    request: Request,
    event_types: EventTypesDep,
    cursor: Annotated[EventType | None, Query()] = None,
    name: Annotated[EventType | None, Query()] = None,
    done: str = "",
) -> Response:
    """Show the catalogue by name, or one event type."""
    if name:
        found, following = [await event_types.get(name)], None
    else:
        found, following = await event_types.catalogue.page(archived=None, limit=ON_PAGE, after=cursor)
    return await render(
        request,
        "event_types.html",
        items=[Entry(row, tree(row.schema) if row.schema else None) for row in found],
        older=following and query("/event-types", cursor=following),
        newest="/event-types",
        is_first=cursor is None and name is None,
        notice=DONE.get(done, ""),
    )


@router.post("/{name}/send", dependencies=[needs("events:write")])
async def send_example(
    request: Request, name: Annotated[EventType, Path()], event_types: EventTypesDep, entry: EventEntryDep
) -> Response:
    """Post the first example of a type as an event, and show that."""
    known = await event_types.get(name)
    if not known.examples:
        raise NotFound("This event type has no example.")
    tenant = request.state.form.get("tenant", "").strip()
    try:
        event = NewEvent.model_validate(
            {"type": name, "data": known.examples[0]} | ({"tenant": tenant} if tenant else {})
        )
    except ValidationError as error:
        raise problem_of(error) from None
    sent = (await entry.accept(event)).state
    return redirect(query(f"/events/{sent.id}", tenant=sent.tenant, sent="example"))


def tree(schema: Mapping[str, Any]) -> Field:
    """Return the fields of a schema; the root has no name."""
    return _Tree(schema).field(schema, "", "", True, ())


class _Tree:
    """Follows one schema, and counts the fields that are shown."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._count = self._steps = 0

    def field(self, schema: Any, name: str, path: str, required: bool, above: tuple[str, ...]) -> Field:
        schema, above, is_repeated = self._resolved(schema, above)
        inner, inner_above = self._items(schema, above)
        fields = () if is_repeated else tuple(self._fields(inner, path, inner_above))
        kind = self._kind(schema, above)
        notes = [
            *_notes(schema),
            *(_notes(inner) if inner is not schema else ()),
            *(["as above"] if is_repeated else []),
        ]
        return Field(name, path, kind, required, tuple(notes), _text(schema.get("description", "")), fields)

    def _fields(self, schema: Mapping[str, Any], path: str, above: tuple[str, ...]) -> Iterator[Field]:
        required = _texts(schema.get("required"))
        for name, inner in _mapping(schema.get("properties")).items():
            if self._is_full():
                return
            yield self.field(inner, name, f"{path}.{name}" if path else name, name in required, above)
        for part in _list(schema.get("allOf")):
            resolved, above_part, is_repeated = self._resolved(part, above)
            if not is_repeated:
                yield from self._fields(resolved, path, above_part)
        for keyword in ALTERNATIVES:
            for number, inner in enumerate(_list(schema.get(keyword)), start=1):
                if self._is_full():
                    return
                alternative = self.field(inner, f"alternative {number}", f"{path}|{number}", False, above)
                if alternative.fields:
                    yield alternative

    def _is_full(self) -> bool:
        self._count += 1
        return self._count > MAX_FIELDS

    def _resolved(self, schema: Any, above: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...], bool]:
        """Follow references. Return the schema, the references around what is in it, and whether it is one of them."""
        self._steps += 1
        schema = _mapping(schema) if self._steps <= MAX_STEPS else {}
        while isinstance(reference := schema.get("$ref"), str):
            if reference in above:
                return schema, above, True
            above = (*above, reference)
            schema = _mapping(self._target(reference)) | {key: schema[key] for key in ("description",) if key in schema}
        return schema, above, False

    def _target(self, reference: str) -> Any:
        found: Any = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
        return found if reference.startswith("#") else None

    def _items(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """Return the schema of an array's items, for it is their fields that are shown; else the schema itself."""
        if not isinstance(schema.get("items"), Mapping) or "properties" in schema:
            return schema, above
        resolved, above, is_repeated = self._resolved(schema["items"], above)
        return ({}, above) if is_repeated else (resolved, above)

    def _kind(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> str:
        kinds = _texts(schema.get("type")) or self._guess(schema, above)
        words = []
        for kind in kinds:
            word = kind
            if kind == "array" and isinstance(schema.get("items"), Mapping):
                inner, inner_above, is_repeated = self._resolved(schema["items"], above)
                word = "array" if is_repeated else f"array of {self._kind(inner, inner_above)}"
            elif kind == "string" and isinstance(schema.get("format"), str):
                word = f"string ({_text(schema['format'])})"
            words.append(word)
        return " or ".join(words)

    def _guess(self, schema: Mapping[str, Any], above: tuple[str, ...]) -> list[str]:
        """Return the types of a schema that names none."""
        if "properties" in schema or "allOf" in schema:
            return ["object"]
        for keyword in ALTERNATIVES:
            if parts := _list(schema.get(keyword)):
                resolved = [self._resolved(part, above) for part in parts[:MAX_SHOWN_VALUES]]
                return list(
                    dict.fromkeys(self._kind(part, inner) for part, inner, repeated in resolved if not repeated)
                )
        values = [*_list(schema.get("enum")), *([schema["const"]] if "const" in schema else [])]
        return list(dict.fromkeys(KINDS[value if value is None else type(value)] for value in values)) or ["any"]


def _notes(schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a schema says of the values, in words."""
    if "const" in schema:
        yield f"always {_value(schema['const'])}"
    if values := _list(schema.get("enum")):
        more = f" and {len(values) - MAX_SHOWN_VALUES} more" if len(values) > MAX_SHOWN_VALUES else ""
        yield f"one of: {', '.join(_value(value) for value in values[:MAX_SHOWN_VALUES])}{more}"
    for lowest, highest, unit in RANGES:
        low, high = schema.get(lowest), schema.get(highest)
        if low is not None and high is not None:
            yield f"{_value(low)} to {_value(high)}{unit}"
        elif low is not None or high is not None:
            yield f"at least {_value(low)}{unit}" if high is None else f"at most {_value(high)}{unit}"
    for keyword, words in NOTES.items():
        if keyword in schema:
            yield f"{words} {_text(schema[keyword]) if keyword == 'pattern' else _value(schema[keyword])}"
    if schema.get("deprecated") is True:
        yield "deprecated"


def _value(value: Any) -> str:
    return _text(json.dumps(value, ensure_ascii=False))


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"


def _texts(value: Any) -> list[str]:
    """Return the texts of a keyword that takes one or several."""
    return [value] if isinstance(value, str) else [each for each in _list(value) if isinstance(each, str)]


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
