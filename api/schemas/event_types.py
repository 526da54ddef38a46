"""Requests and answers about event types."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hookkeeper.content.search_terms import KEY_PATH, MAX_PATH, MAX_PATHS
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.services.fields import EventType, RequestModel, ResponseModel, TenantName, Text, Time, with_examples

SearchKeys = Annotated[
    list[Annotated[str, Field(pattern=KEY_PATH, max_length=MAX_PATH)]],
    Field(max_length=MAX_PATHS, examples=[["order_id", "customer.id"]]),
]


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
    search_keys: SearchKeys = Field(default_factory=list)
    """Up to five paths in the data, such as `order_id` or `customer.id`. New events are found by the values there:
    `GET /v1/events?q=data.order_id:4711`."""


class NewEventType(EventTypeChanges):
    model_config = with_examples(
        {
            "name": "order.paid",
            "description": "A customer has paid.",
            "schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}},
            "examples": [{"order": 4711}],
            "search_keys": ["order"],
        }
    )

    name: EventType


class EventTypeView(ResponseModel):
    name: str
    description: str
    schema_: dict[str, Any] | None = Field(alias="schema")
    examples: list[Any]
    archived: bool
    search_keys: Annotated[list[str], BeforeValidator(lambda paths: paths or [])]
    created_at: Time
    updated_at: Time


class TenantSearchKeys(RequestModel):
    """All search keys of a tenant."""

    model_config = with_examples({"tenant": "acme", "paths": ["order_id", "customer.id"]})

    tenant: TenantName = DEFAULT_TENANT
    paths: SearchKeys
    """Up to five paths in the data of events of all types. An empty list removes the keys."""


class TenantSearchKeysView(ResponseModel):
    tenant: str
    paths: list[str]
