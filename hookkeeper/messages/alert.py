"""What is to be told of a delivery, and who was. Pure: the messages of `activities.alerts`."""

from datetime import datetime

from hookkeeper.content.context import AlertKind
from hookkeeper.outcomes import Message


class Alert(Message):
    """A delivery has failed for good, or was one failure too many for its webhook, or works again."""

    token: str
    """Names the alert: it is told once, whatever run or try of an activity does it."""
    kind: AlertKind
    id: str
    type: str
    tenant: str
    timestamp: datetime
    webhook_id: str
    delivery: str
    channel: str
    target: str
    reason: str | None = None
    attempts: int = 0
    status_code: int | None = None
    error: str | None = None
    text: str = ""
    """What the receiver or provider said last."""
    probed: bool = False
    """A probe has found it out: no run delivers this event."""


class AlertResult(Message):
    """Who was told, and who never will be; nobody where the alert was folded into the next one."""

    told: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    folded: bool = False
