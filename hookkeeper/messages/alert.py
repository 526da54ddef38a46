"""The messages of `activities.alerts` and of incidents (`workflows.incident`)."""

from datetime import datetime

from hookkeeper.content.context import AlertKind
from hookkeeper.messages import Message


class FailingTarget(Message):
    """A target of a webhook whose latest attempt has failed."""

    target: str
    failures: int
    since: datetime
    status_code: int | None = None
    error: str | None = None
    text: str = ""


class IncidentFacts(Message):
    """What an incident knew of its webhook when it decided to alert."""

    key: str
    """The same for all alerts of the incident."""
    at: datetime
    since: datetime | None = None
    """When the failures began."""
    failures: int = 0
    """Failed attempts in a row."""
    also_failing: tuple[FailingTarget, ...] = ()
    """Further targets, without the one that the alert names."""
    waiting: int = 0
    """Deliveries that are held, or wait for a retry, at most 1,000."""
    next_attempt_at: datetime | None = None
    disable_at: datetime | None = None
    """A failure after this time disables the webhook; None: none does."""
    unreported: int = 0
    """What has failed since the alert before without an alert of its own."""


class Alert(Message):
    """A delivery has failed for good, or an incident of a webhook has something to tell."""

    token: str
    """Identifies the alert: it is sent once, whichever run or try of an activity sends it."""
    kind: AlertKind
    id: str
    type: str
    tenant: str
    timestamp: datetime
    channels: tuple[str, ...] = ()
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
    incident: IncidentFacts | None = None
    """The alert is that of an incident, which has claimed it, and is about no event."""


class AlertResult(Message):
    """The recipients that were reached, and those that were given up."""

    sent: tuple[str, ...] = ()
    given_up: tuple[str, ...] = ()
    skipped: bool = False
    """Not sent, because of the webhook's earlier alerts."""


class IncidentInput(Message):
    """What starts the incident of a webhook."""

    webhook_id: str
    tenant: str
    wait: float
    """Seconds until it first looks at the webhook."""


class IncidentLook(Message):
    """A look at the webhook of an incident."""

    webhook_id: str
    tenant: str
    token: str
    """Identifies the look: its alert is claimed once, whichever try of the activity claims it."""


class IncidentStep(Message):
    """What a look has found."""

    alert: Alert | None = None
    wait: float | None = None
    """Seconds until the next look; None: the incident is over."""
