"""Event types of the catalogue and search keys: what one has, and how event types are added, changed and deleted."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from hookkeeper.content.search_terms import KEY_PATH, MAX_PATH, MAX_PATHS
from hookkeeper.links import DEFAULT_TENANT
from hookkeeper.registry import models
from hookkeeper.registry.catalogue import Catalogue
from hookkeeper.sandbox.pool import Sandbox
from hookkeeper.services.caller import Caller
from hookkeeper.services.catalogue.schema_validation import check_event_type
from hookkeeper.services.errors import NotFound
from hookkeeper.services.fields import (
    EventType,
    RequestModel,
    ResponseModel,
    TenantName,
    Text,
    Time,
    with_examples,
)

UNKNOWN = "There is no such event type."
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


@dataclass(frozen=True, slots=True)
class EventTypes:
    """The catalogue of a caller, with an audit entry for each change."""

    caller: Caller
    catalogue: Catalogue
    sandbox: Sandbox

    async def get(self, name: str) -> models.EventType:
        """Return an event type. Raises NotFound."""
        return _found(await self.catalogue.get(name))

    async def add(self, new: NewEventType) -> models.EventType:
        """Add an event type. Raises Invalid and EventTypeExists."""
        await check_event_type(self.sandbox, new.schema_, new.examples)
        given = _given(new)
        event_type = models.EventType(**given)
        await self.catalogue.add(event_type, self.caller.did("event-type.create", new.name, None, given))
        return event_type

    async def change(self, name: str, changes: EventTypeChanges) -> models.EventType:
        """Change the fields that are set. Raises Invalid and NotFound."""
        known = await self.get(name)
        given = _given(changes)
        if given.keys() & {"schema", "examples"}:
            schema, examples = given.get("schema", known.schema), given.get("examples", known.examples)
            await check_event_type(self.sandbox, schema, examples)
        entry = self.caller.did("event-type.update", name, None, given)
        return _found(await self.catalogue.update(name, given, entry))

    async def delete(self, name: str) -> None:
        """Delete an event type. Raises NotFound."""
        if not await self.catalogue.delete(name, self.caller.did("event-type.delete", name, None)):
            raise NotFound(UNKNOWN)


def _given(changes: EventTypeChanges) -> dict[str, Any]:
    """Return the fields that were sent, as the API names them."""
    return changes.model_dump(by_alias=True, exclude_unset=True)


def _found(event_type: models.EventType | None) -> models.EventType:
    if event_type is None:
        raise NotFound(UNKNOWN)
    return event_type
