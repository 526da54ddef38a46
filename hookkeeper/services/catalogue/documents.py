"""The catalogue as OpenAPI 3.1 webhooks and as AsyncAPI 3, and back from OpenAPI. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line reads documents without a database
    from hookkeeper.registry.models import EventType

JSON = "application/json"
COMPONENTS, DEFINITIONS = "#/components/schemas/", "#/$defs/"


@dataclass(frozen=True, slots=True)
class Imported:
    """An event type that a document describes."""

    name: str
    description: str = ""
    schema: dict[str, Any] | None = None
    examples: list[Any] = field(default_factory=list)


def body_schema(event_type: EventType) -> dict[str, Any]:
    """Return the schema of what a receiver gets: the standard body around the type's own data."""
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "type": {"const": event_type.name},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": _rooted_at(event_type.schema or {}, event_type.name),
        },
        "required": ["id", "type", "timestamp", "data"],
    }


def as_openapi(types: Iterable[EventType]) -> dict[str, Any]:
    """Write OpenAPI 3.1 with one webhook an event type."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Webhooks", "version": "1"},
        "webhooks": {event_type.name: {"post": _operation(event_type)} for event_type in types},
    }


def as_asyncapi(types: Iterable[EventType]) -> dict[str, Any]:
    """Write AsyncAPI 3.0 with one message an event type, all sent on one channel."""
    messages = {
        event_type.name: {
            "name": event_type.name,
            "summary": event_type.description,
            "contentType": JSON,
            "payload": body_schema(event_type),
            "examples": [{"payload": _body(event_type, example)} for example in event_type.examples],
        }
        for event_type in types
    }
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Webhooks", "version": "1"},
        "channels": {"webhooks": {"address": None, "messages": messages}},
        "operations": {"send": {"action": "send", "channel": {"$ref": "#/channels/webhooks"}}},
    }


def from_openapi(document: Any) -> Iterator[Imported]:
    """Read the `webhooks` of an OpenAPI 3.1 document; ValueError where there are none.

    A schema of our standard body is taken for its `data`; any other for the data itself. `$ref`s to the document's
    components become definitions of the schema.
    """
    webhooks = document.get("webhooks") if isinstance(document, dict) else None
    if not isinstance(webhooks, dict) or not webhooks:
        raise ValueError("has no webhooks: it must be an OpenAPI 3.1 document with a webhooks section")
    components = document.get("components", {}).get("schemas", {})
    for name, item in webhooks.items():
        operation = item.get("post", {})
        media = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
        schema = media.get("schema")
        whole = _is_standard_body(schema)
        yield Imported(
            name=name,
            description=operation.get("description") or operation.get("summary") or "",
            schema=_closed(schema["properties"]["data"] if whole else schema, components) if schema else None,
            examples=[_data(example, whole) for example in _examples(media)],
        )


def _body(event_type: EventType, data: Any) -> dict[str, Any]:
    """Return an example of the standard body."""
    return {"id": "evt_1", "type": event_type.name, "timestamp": "2026-01-01T00:00:00.000Z", "data": data}


def _operation(event_type: EventType) -> dict[str, Any]:
    examples = {
        f"example {number}": {"value": _body(event_type, example)}
        for number, example in enumerate(event_type.examples, start=1)
    }
    return {
        "operationId": event_type.name,
        "description": event_type.description,
        "requestBody": {"content": {JSON: {"schema": body_schema(event_type), "examples": examples}}},
        "responses": {"2XX": {"description": "Received. After any other response, the event is sent again."}},
    }


def _rooted_at(schema: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the schema with an id of its own, so that its `#/$defs/…` still point into it."""
    return schema if "$id" in schema or not schema.get("$defs") else {"$id": f"urn:event-type:{name}", **schema}


def _is_standard_body(schema: Any) -> bool:
    return isinstance(schema, dict) and {"type", "data"} <= set(schema.get("properties", {}))


def _closed(schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with the components that it refers to."""
    needed: dict[str, Any] = {}
    pending = list(_references(schema))
    while pending:
        name = pending.pop()
        if name not in needed and name in components:
            needed[name] = _moved(components[name])
            pending += _references(components[name])
    moved: dict[str, Any] = _moved(schema)
    moved.pop("$id", None)
    return {**moved, "$defs": {**moved.get("$defs", {}), **needed}} if needed else moved


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and reference.startswith(COMPONENTS):
            yield reference.removeprefix(COMPONENTS)
        for child in value.values():
            yield from _references(child)
    elif isinstance(value, list):
        for child in value:
            yield from _references(child)


def _moved(value: Any) -> Any:
    """Return the schema with its references to components changed to definitions."""
    if isinstance(value, dict):
        return {
            key: child.replace(COMPONENTS, DEFINITIONS) if key == "$ref" and isinstance(child, str) else _moved(child)
            for key, child in value.items()
        }
    return [_moved(child) for child in value] if isinstance(value, list) else value


def _examples(media: dict[str, Any]) -> list[Any]:
    if "example" in media:
        return [media["example"]]
    return [example["value"] for example in media.get("examples", {}).values() if "value" in example]


def _data(example: Any, whole: bool) -> Any:
    return example["data"] if whole and isinstance(example, dict) and "data" in example else example
