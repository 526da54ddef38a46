"""Requests and answers about event types."""

from typing import Any

from pydantic import Field

from hookkeeper.services.fields import EventType, RequestModel, ResponseModel, Text, Time, with_examples


class EventTypeChanges(RequestModel):
    """Only the fields that are sent are changed."""

    model_config = with_examples({"description": "A customer has paid an order."}, {"archived": True})

    description: Text = Field("", max_length=4096)
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    """JSON Schema 2020-12 of the event's data; null allows any data. References to other documents are not fetched."""
    examples: list[Any] = Field(default_factory=list, max_length=20)
    """Examples of the data. They must be valid against the schema."""
    archived: bool = Field(False, strict=True)
    """New events of an archived type are refused."""


class NewEventType(EventTypeChanges):
    model_config = with_examples(
        {
            "name": "order.paid",
            "description": "A customer has paid.",
            "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
            "examples": [{"order": 4711}],
        }
    )

    name: EventType


class EventTypeView(ResponseModel):
    name: str
    description: str
    schema_: dict[str, Any] | None = Field(alias="schema")
    examples: list[Any]
    archived: bool
    created_at: Time
    updated_at: Time
