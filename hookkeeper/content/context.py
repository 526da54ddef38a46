"""What templates and filters see: JSON data only, none of our objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from hookkeeper.times import rfc3339

Context = Mapping[str, Any]
AlertKind = Literal["failed", "disabled", "recovered"]
"""A delivery has failed for good; its webhook has been disabled by nobody; it works again."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it is sent."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None

    def shown(self) -> dict[str, Any]:
        """Give the event as templates and filters see it."""
        return {
            "id": self.id,
            "type": self.type,
            "tenant": self.tenant,
            "timestamp": rfc3339(self.timestamp),
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class About:
    """A webhook as its templates see it: nothing of it is a secret."""

    id: str
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "metadata": dict(self.metadata)}


def context_of(event: Event, webhook: About) -> dict[str, Any]:
    """Give the variables of a template: `event.…` and `webhook.…`."""
    return {"event": event.shown(), "webhook": webhook.shown()}
