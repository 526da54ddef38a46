"""The variables of templates and filters: JSON data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from hookkeeper.times import rfc3339

Context = Mapping[str, Any]
AlertKind = Literal["failed", "failing", "reminder", "disabling", "disabled", "recovered"]
"""A delivery has failed for good; its webhook fails; it still does; it will be disabled soon, or was disabled,
automatically; it works again."""


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event as it is sent."""

    id: str
    type: str
    tenant: str
    timestamp: datetime
    data: Any = None
    channels: Sequence[str] = ()

    def shown(self) -> dict[str, Any]:
        """Return the event as templates and filters see it."""
        return {
            "id": self.id,
            "type": self.type,
            "tenant": self.tenant,
            "timestamp": rfc3339(self.timestamp),
            "channels": [*self.channels],
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class WebhookContext:
    """A webhook as its templates see it, without secrets."""

    id: str
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        return {"id": self.id, "name": self.name, "metadata": dict(self.metadata)}


def context_of(event: OutgoingEvent, webhook: WebhookContext) -> dict[str, Any]:
    """Return the variables of a template: `event.…` and `webhook.…`."""
    return {"event": event.shown(), "webhook": webhook.shown()}
