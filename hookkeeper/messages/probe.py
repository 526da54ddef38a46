"""The messages of probes (`workflows.probe`)."""

from datetime import datetime
from typing import Literal

from hookkeeper.messages import Message
from hookkeeper.outcomes import Outcome

PROBE_EVENT_TYPE = "hookkeeper.test"
ProbeState = Literal["failing", "recovered", "obsolete"]
"""`obsolete`: no more probes are needed: the webhook is deleted, enabled, disabled by request, or answered 410."""


class ProbeInput(Message):
    """What starts the probing of a webhook."""

    webhook_id: str
    tenant: str
    interval: float
    """Seconds before the first probe; each result has those before the next."""


class ProbeRequest(Message):
    """One test event. It has no run: its outcome is in the history of the probe."""

    webhook_id: str
    tenant: str
    event_id: str
    at: datetime


class ProbeResult(Message):
    event_id: str
    state: ProbeState
    interval: float = 0.0
    """Seconds until the next probe."""
    outcome: Outcome | None = None
