"""The messages of `activities.alerts`."""

from datetime import datetime

from hookkeeper.content.context import AlertKind
from hookkeeper.messages import Message


class Alert(Message):
    """A delivery has failed, or its failure disabled the webhook, or the webhook works again."""

    token: str
    """Identifies the alert: it is sent once, whichever run or try of an activity sends it."""
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
    """The last response of the receiver or provider."""
    probed: bool = False
    """Found by a probe, whose event has no run."""


class AlertResult(Message):
    """The recipients that were reached, and those that were given up."""

    sent: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    skipped: bool = False
    """Not sent, because of the webhook's earlier alerts."""
